"""Fields of forms in unusual spellings."""

from server.parameters import from_json
from server.uploads import _form


def test_a_field_sent_with_and_without_brackets_is_one_list() -> None:
    assert _form([("a", "1"), ("a[]", "2"), ("a[]", "3"), ("b[]", "4")]).fields == {"a": ["1", "2", "3"], "b": ["4"]}


def test_json_that_is_nested_too_deeply_is_left_a_text() -> None:
    deep = "[" * 100_000
    assert from_json(deep) == deep
    assert from_json('{"type": "auto"}') == {"type": "auto"}

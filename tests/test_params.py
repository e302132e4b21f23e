"""`param` of an error names a field of the request, never a pydantic type."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from pipeline.errors import BadInput
from server.errors import BadField, bad_field
from server.http.uploads import parse
from server.openai.fields import TranscriptionFields, TranslationFields
from server.openai.speech import SpeechRequest
from server.transcribe.services import WhisperXFields

JUNK = st.recursive(
    st.sampled_from(
        [None, 5, -1, 1e9, True, "", "x", "auto", "server_vad", "{", "[]", '["x", 5]', '{"type": "x"}', "y" * 9000]
    ),
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(["type", "id", "threshold", "x"]), inner)
    ),
    max_leaves=5,
)
KINDS = (
    "function",
    "constrained",
    "tagged",
    "union",
    "list[",
    "literal",
    "nullable",
    "ServerVad",
    "VoiceId",
    "str",
    "int",
)


def bodies(model: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(sorted(model.model_fields)), JUNK, max_size=4)


def check(model: type[BaseModel], body: dict[str, Any], error: BadField) -> None:
    """Check that `param` is a field, optionally followed by a path within it."""
    assert error.param is not None
    field, *within = error.param.split(".")
    names = {field.alias or name for name, field in model.model_fields.items()} | set(model.model_fields) | {"body"}
    assert field in names, error.param
    sent = json.dumps(body)
    for part in within:
        assert part in sent or part.isdigit() or part in ("type", "id"), error.param
    assert not any(kind in part for part in within for kind in KINDS), error.param


@given(st.data())
def test_param_of_form_errors_names_a_field(data: st.DataObject) -> None:
    models: list[type[BaseModel]] = [TranscriptionFields, TranslationFields, WhisperXFields]
    model = data.draw(st.sampled_from(models))
    body = data.draw(bodies(model))
    try:
        parse(model, body)
    except BadField as error:
        check(model, body, error)
    except BadInput as error:
        pytest.fail(str(error))


@given(bodies(SpeechRequest))
@example({"input": "a", "voice": [-1, None]})
def test_param_of_body_errors_names_a_field(body: dict[str, Any]) -> None:
    try:
        TypeAdapter(SpeechRequest).validate_python(body)
    except ValidationError as error:
        check(SpeechRequest, body, bad_field(error.errors(include_url=False), body))


def test_a_list_for_a_field_of_several_types_names_the_field() -> None:
    body = {"chunking_strategy": ["server_vad", "x", None]}
    with pytest.raises(BadField) as refused:
        parse(TranscriptionFields, body)
    check(TranscriptionFields, body, refused.value)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "a", "voice": 5}, "voice"),
        ({"input": "a", "voice": {"id": 5}}, "voice"),
        ({"input": "a", "voice": {}}, "voice"),
        ({"input": "a", "voice": "man", "speed": "x"}, "speed"),
        ({"voice": "man"}, "input"),
        ({"input": "a", "voice": "man", "model": 5}, "model"),
    ],
)
def test_param_of_speech_errors_names_the_wrong_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(ValidationError) as refused:
        SpeechRequest.model_validate(body)
    assert bad_field(refused.value.errors(include_url=False), body).param.split(".")[0] == param  # type: ignore[union-attr]

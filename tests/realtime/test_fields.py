"""Every field that a client of the Realtime API can send, in the types of the installed `openai` package: the table in
docs/openai-fields.md has each, and each has its documented effect."""

from collections.abc import Iterator

import pytest

from pipeline.listening import noise
from tests.in_process import in_process
from tests.realtime.document_part import read
from tests.realtime.fields import BEGIN, DOCUMENT, END, REFUSED, TABLE, all_fields, render, types
from tests.server_process import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with in_process(tmp_path_factory.mktemp("fields")) as running:
        yield running


def test_the_table_has_every_field_of_the_sdk() -> None:
    told = types()
    assert len(told) > 70
    assert set(TABLE) == set(told), "the openai package has changed: tell in tests/realtime/fields.py"
    for name, fields in told.items():
        assert set(TABLE[name]) == fields, f"the openai package has changed {name}: tell in tests/realtime/fields.py"


def test_the_document_contains_the_table() -> None:
    assert read(DOCUMENT, BEGIN, END) == render().strip(), "python -m tests.realtime.fields"


@pytest.mark.parametrize(("name", "field"), all_fields())
def test_each_field_has_its_documented_effect(
    name: str, field: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise, "available", lambda: True)
    told = TABLE[name][field]
    found = told.trial(service)
    assert found.effect == told.effect, found
    if told.effect == REFUSED:
        assert found.code == told.code

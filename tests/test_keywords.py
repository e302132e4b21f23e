"""Keywords and languages of a transcription request, in each form in which clients send lists."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest

from pipeline.audio.clip import encode_wav
from server.parameters import MAX_KEYWORD_CHARS, MAX_KEYWORDS
from tests.clips import recording
from tests.in_process import in_process
from tests.jobs.test_endpoints import done
from tests.scripted import ScriptedSTT
from tests.server_process import Service
from tests.stt.conftest import unspoken


@dataclass
class Door:
    """A service with HOTWORDS, and what its recogniser is asked for."""

    client: httpx.Client
    stt: ScriptedSTT

    def post(self, *fields: tuple[str, str], path: str = "/v1/audio/transcriptions") -> httpx.Response:
        """Send a form with these fields in this order."""
        parts: list[Any] = [(name, (None, value)) for name, value in fields]
        return self.client.post(path, files=[*parts, ("file", ("a.wav", recording(0)[0]))])

    def error(self, *fields: tuple[str, str]) -> dict[str, Any]:
        answer = self.post(*fields)
        assert answer.status_code == 400, answer.text
        told: dict[str, Any] = answer.json()["error"]
        return told


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, ScriptedSTT]]:
    stt = ScriptedSTT("hello", seconds=0)
    with in_process(tmp_path_factory.mktemp("keywords"), heard=stt, HOTWORDS="Parley, Ana Sofia") as running:
        yield running, stt


@pytest.fixture
def door(service: tuple[Service, ScriptedSTT]) -> Iterator[Door]:
    with httpx.Client(base_url=service[0].url, timeout=60) as client:
        yield Door(client, service[1])


@pytest.mark.parametrize(
    "form",
    [
        [("{}[]", "one"), ("{}[]", "two")],
        [("{}", "one"), ("{}", "two")],
        [("{}[1]", "two"), ("{}[0]", "one")],
        [("{}", '["one", "two"]')],
        [("{}[]", '["one", "two"]')],
        [("{}[]", " one "), ("{}[]", ""), ("{}[]", "two"), ("{}[]", "one")],
    ],
)
def test_lists_are_read_in_every_form(form: list[tuple[str, str]], door: Door) -> None:
    for name, values in (("keywords", {"one": "Ana", "two": "Bo Li"}), ("languages", {"one": "pt", "two": "en"})):
        fields = []
        for field, value in form:
            for short, long in values.items():
                value = value.replace(short, long)
            fields.append((field.format(name), value))
        assert door.post(*fields).status_code == 200
        assert getattr(door.stt.requests[-1], name) == tuple(values.values())


@pytest.mark.parametrize("name", ["timestamp_granularities", "timestamp_granularities[]", "timestamp_granularities[0]"])
def test_granularities_are_read_in_every_form(name: str, door: Door) -> None:
    told = door.post((name, "word"), ("response_format", "verbose_json")).json()
    assert ("words" in told, "segments" in told) == (True, False)


@pytest.mark.parametrize(
    ("fields", "language", "languages"),
    [
        ([("languages", "pt")], "pt", ()),
        ([("languages", "pt-BR, English")], None, ("pt", "en")),
        ([("languages[]", "por"), ("languages[]", "pt")], "pt", ()),
        ([("language", "pt"), ("languages[]", "en"), ("languages[]", "pt")], "pt", ()),
        ([("languages", "")], None, ()),
    ],
)
def test_languages_restrict_the_detection(
    fields: list[tuple[str, str]], language: str | None, languages: tuple[str, ...], door: Door
) -> None:
    assert door.post(*fields).status_code == 200
    asked = door.stt.requests[-1]
    assert (asked.language, asked.languages) == (language, languages)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ([("languages[]", "en"), ("languages[]", "12")], "languages"),
        ([("language", "de"), ("languages[]", "en"), ("languages[]", "pt")], "languages"),
        ([("language", "12")], "language"),
        ([("keywords[]", "x" * (MAX_KEYWORD_CHARS + 1))], "keywords"),
        ([("keywords", json.dumps([str(n) for n in range(MAX_KEYWORDS + 1)]))], "keywords"),
        ([("keywords", "[[1]]")], "keywords"),
    ],
)
def test_bad_keywords_and_languages_are_refused(fields: list[tuple[str, str]], param: str, door: Door) -> None:
    assert door.error(*fields)["param"] == param


def test_as_many_keywords_as_are_allowed_arrive(door: Door) -> None:
    names = [f"name {n}" for n in range(MAX_KEYWORDS)]
    assert door.post(*(("keywords[]", name) for name in names)).status_code == 200
    assert door.stt.requests[-1].keywords == tuple(names)


def test_the_response_names_the_spoken_languages(door: Door) -> None:
    assert door.post().json()["languages"] == [{"code": "en"}]
    events = [line.removeprefix("data: ") for line in door.post(("stream", "true")).text.splitlines() if "done" in line]
    assert json.loads(events[-1])["languages"] == [{"code": "en"}]
    with openai.OpenAI(base_url=f"{door.client.base_url}/v1", api_key="none") as client:
        silence = client.audio.transcriptions.create(file=("a.wav", encode_wav(unspoken("silence"))), model="")
    assert (silence.text, silence.languages) == ("", [])


def test_hints_without_effect_are_named_in_a_header(door: Door) -> None:
    hints = [("keywords[]", "Ana"), ("prompt", "A talk.")]
    assert door.post(*hints).headers["Parley-Ignored"] == "prompt, keywords"  # the scripted recogniser takes none
    assert door.post(*hints, ("stream", "true")).headers["Parley-Ignored"] == "prompt, keywords"
    assert "Parley-Ignored" not in door.post(("language", "en")).headers
    translated = door.post(("prompt", "A talk."), path="/v1/audio/translations")
    assert translated.headers["Parley-Ignored"] == "prompt"


@pytest.mark.parametrize("path", ["/jobs", "/api/v1/upload/file"])
def test_jobs_accept_keywords_and_languages(path: str, door: Door) -> None:
    hints = [("keywords[]", "Ana"), ("keywords[]", path), ("languages", '["pt", "en"]')]
    answer = door.post(*hints, path=path)
    assert answer.status_code == 202, answer.text
    made = answer.json()
    done(door.client, made["jobs"][0]["job_id"] if "jobs" in made else made["job_id"])
    asked = door.stt.requests[-1]
    assert asked.keywords == ("Ana", path, "Parley", "Ana Sofia")
    assert asked.languages == ("pt", "en")


def test_other_keywords_are_another_result_of_a_job(door: Door) -> None:
    def statuses(keyword: str) -> str:
        [made] = door.post(("keywords", keyword), ("session_id", "s"), path="/jobs").json()["jobs"]
        done(door.client, made["job_id"])
        return str(made["status"])

    assert [statuses(word) for word in ("Xu", "Xu", "Yu")] == ["queued", "completed", "queued"]

"""Every field of the installed OpenAI client's parameters for speech, voices and consents: what it does here.

A new version of the client that adds a field fails `test_table_has_every_field_of_the_client`. docs/speech.md shows the
table.
"""

import base64
import importlib
import io
import json
import pkgutil
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, is_typeddict

import httpx
import openai
import pytest
from openai.types import audio
from openai.types.audio import (
    speech_create_params,
    voice_consent_create_params,
    voice_consent_list_params,
    voice_consent_update_params,
    voice_create_params,
)

from pipeline.audio.clip import encode_wav
from pipeline.settings import HOME
from tests.clips import hearing
from tests.server_process import Service
from tests.strict_client import strict_client
from tests.stt.recordings import spliced
from tests.test_openai_fields import TYPES as TRANSCRIPTION

USED, REFUSED, NO_EFFECT = "used", "refused", "no effect"
TYPES: dict[str, Any] = {
    "POST /v1/audio/speech": speech_create_params.SpeechCreateParams,
    "POST /v1/audio/speech (voice)": speech_create_params.VoiceID,
    "POST /v1/audio/voices": voice_create_params.CreateVoiceRequestAudioSample,
    "POST /v1/audio/voices (prompt)": voice_create_params.CreateVoiceRequestPrompt,
    "POST /v1/audio/voice_consents": voice_consent_create_params.VoiceConsentCreateParams,
    "GET /v1/audio/voice_consents": voice_consent_list_params.VoiceConsentListParams,
    "POST /v1/audio/voice_consents/{id}": voice_consent_update_params.VoiceConsentUpdateParams,
}
"""Request → the client's type of its parameters."""


@dataclass(frozen=True)
class Field:
    """Outcome of a field of a request."""

    outcome: str
    told: str
    """Explanation for docs/speech.md."""


TABLE: dict[str, dict[str, Field]] = {
    "POST /v1/audio/speech": {
        "input": Field(USED, "1 to 4,096 characters"),
        "model": Field(USED, "the loaded model, under its own or OpenAI's names; empty: the same; unknown: 404"),
        "voice": Field(USED, "a name, or an object with an `id`; OpenAI's names mean the default voice"),
        "instructions": Field(NO_EFFECT, "told in `Parley-Ignored`; passed on with `TTS_ENGINE=openai`"),
        "response_format": Field(USED, "all six"),
        "speed": Field(USED, "0.25 to 4"),
        "stream_format": Field(USED, "`sse` with every model"),
    },
    "POST /v1/audio/speech (voice)": {"id": Field(USED, "a name")},
    "POST /v1/audio/voices": {
        "audio_sample": Field(USED, "2 to 60 s of speech, up to 10 MB"),
        "consent": Field(USED, "the id of a consent, or a sentence that says how the speaker has agreed"),
        "name": Field(USED, "also the voice's id"),
        "type": Field(USED, "`audio_sample`"),
    },
    "POST /v1/audio/voices (prompt)": {
        "name": Field(REFUSED, "with `type`"),
        "prompt": Field(REFUSED, "with `type`"),
        "type": Field(REFUSED, "`prompt`: no engine makes voices from a description"),
        "model": Field(REFUSED, "with `type`"),
        "script_hint": Field(REFUSED, "with `type`"),
    },
    "POST /v1/audio/voice_consents": {
        "language": Field(USED, "a BCP 47 tag, kept"),
        "name": Field(USED, "kept"),
        "recording": Field(USED, "1 to 60 s of speech, up to 10 MB, kept"),
    },
    "GET /v1/audio/voice_consents": {
        "after": Field(USED, "the last id of the previous page"),
        "limit": Field(USED, "1 to 100"),
    },
    "POST /v1/audio/voice_consents/{id}": {"name": Field(USED, "the new label")},
}


def test_every_type_of_the_client_has_a_table() -> None:
    """Those of transcriptions are in `tests.test_openai_fields`."""
    names = [one.name for one in pkgutil.iter_modules(audio.__path__) if one.name.endswith("_params")]
    modules = [importlib.import_module(f"{audio.__name__}.{name}") for name in names]
    types = [
        one for each in modules for one in vars(each).values() if is_typeddict(one) and one.__module__ == each.__name__
    ]
    fields = {frozenset(typing.get_type_hints(one)): one.__name__ for one in types}
    known = {frozenset(typing.get_type_hints(one)) for one in TYPES.values()}
    known |= {
        frozenset(typing.get_type_hints(one)) for kind in TRANSCRIPTION.values() for one in get_args(kind) or (kind,)
    }
    bases = {name for name in fields.values() if name.endswith("Base")}
    assert {name for found, name in fields.items() if found not in known} == bases


def test_table_has_every_field_of_the_client() -> None:
    for request, parameters in TYPES.items():
        assert set(typing.get_type_hints(parameters)) == set(TABLE[request]), request


def test_documentation_shows_the_table() -> None:
    shown = (HOME / "docs" / "speech.md").read_text("utf-8")
    for request, fields in TABLE.items():
        for name, field in fields.items():
            assert f"| `{request}` | `{name}` | {field.outcome} | {field.told} |" in shown


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("service")
    with hearing(folder, VOICES_DIR=str(folder / "voices")) as server:
        yield server


@pytest.fixture(scope="module")
def client(running: Service) -> Iterator[openai.OpenAI]:
    with strict_client(running) as client:
        yield client


@pytest.fixture(scope="module")
def sample() -> tuple[str, io.BytesIO, str]:
    return ("a.wav", io.BytesIO(encode_wav(spliced([(0.5, 0), (0.5, 1), (0.5, 2)])[0])), "audio/wav")


SPEECH: dict[str, Any] = {"input": "Good morning.", "model": "tts-1", "voice": "alloy", "response_format": "pcm"}
"""A request; each test below changes one field."""


def spoken(client: openai.OpenAI, **changed: Any) -> bytes:
    return client.audio.speech.create(**{**SPEECH, **changed}).read()


@pytest.mark.parametrize(
    ("field", "other", "wrong", "error"),
    [
        ("input", "Good morning, and good night.", "", openai.BadRequestError),
        ("model", "gpt-4o-mini-tts-2025-12-15", "nothing", openai.NotFoundError),
        ("voice", {"id": "woman"}, "absent", openai.BadRequestError),
        ("response_format", "wav", "mp2", openai.BadRequestError),
        ("speed", 2.0, 5.0, openai.BadRequestError),
        ("stream_format", "sse", "video", openai.BadRequestError),
    ],
)
def test_used_field_of_speech(client: openai.OpenAI, field: str, other: Any, wrong: Any, error: type) -> None:
    assert TABLE["POST /v1/audio/speech"][field].outcome == USED
    changed = spoken(client, **{field: other})
    assert changed
    if field not in ("model", "voice"):  # the scripted engine has one voice
        assert changed != spoken(client)
    with pytest.raises(error) as refused:
        spoken(client, **{field: wrong})
    assert refused.value.param == field  # type: ignore[attr-defined]


def test_absent_and_empty_model_is_the_loaded_one(client: openai.OpenAI, running: Service) -> None:
    assert spoken(client, model="") == spoken(client)
    body = {name: value for name, value in SPEECH.items() if name != "model"}
    assert httpx.post(f"{running.url}/v1/audio/speech", json=body).content == spoken(client)


def test_instructions_have_no_effect_and_the_header_says_so(client: openai.OpenAI) -> None:
    answer = client.audio.speech.with_raw_response.create(**SPEECH, instructions="Whisper.")
    assert answer.headers["parley-ignored"] == "instructions"
    assert answer.content == spoken(client)


@pytest.mark.parametrize("speed", [1.0, 2.0])
def test_times_of_words_come_with_the_speech(client: openai.OpenAI, running: Service, speed: float) -> None:
    text = "Good morning to you all. It is 3 o'clock."
    wanted = {"timestamp_granularities": ["word"], "speed": speed}
    told = httpx.post(f"{running.url}/v1/audio/speech", json={**SPEECH, **wanted, "input": text}).json()
    assert told["audio_format"] == "audio/pcm"
    assert base64.b64decode(told["audio"]) == spoken(client, input=text, speed=speed)
    assert " ".join(word["word"] for word in told["timestamps"]) == text
    times = [time for word in told["timestamps"] for time in (word["start_time"], word["end_time"])]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(len(base64.b64decode(told["audio"])) / 48_000, abs=0.1)
    streamed = spoken(client, input=text, stream_format="sse", extra_body=wanted).decode()
    events = [json.loads(line.removeprefix("data: ")) for line in streamed.splitlines() if line]
    words = [word for event in events for word in event.get("timestamps", ())]
    assert words == told["timestamps"]
    assert events[-1]["type"] == "speech.audio.done"


def test_fields_of_a_prompt_are_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.voices.create(
            name="New", prompt="A calm man.", type="prompt", model="auto", script_hint="Hello there."
        )
    assert refused.value.param == "type"


def test_fields_of_voices_and_consents_are_used(client: openai.OpenAI, sample: Any) -> None:
    given = client.audio.voice_consents.create(language="pt-PT", name="Maria", recording=sample)
    assert (given.language, given.name) == ("pt-PT", "Maria")
    sample[1].seek(0)
    voice = client.audio.voices.create(audio_sample=sample, consent=given.id, name="Maria", type="audio_sample")
    assert voice.type == "audio_sample"
    assert client.audio.voice_consents.update(given.id, name="Ana").name == "Ana"
    assert client.audio.voice_consents.list(limit=1).data[0].id == given.id
    assert client.audio.voice_consents.list(after=given.id).data == []
    for wrong in ({"after": "cons_x"}, {"limit": 0}, {"limit": 101}):
        with pytest.raises(openai.BadRequestError) as refused:
            client.audio.voice_consents.list(**wrong)
        assert refused.value.param == next(iter(wrong))

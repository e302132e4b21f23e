"""Model names as OpenAI's clients send them: missing, empty, or with a date."""

from collections.abc import Iterator
from typing import Any, get_args

import httpx
import pytest
from openai.types import AudioModel, ChatModel
from openai.types.audio.speech_model import SpeechModel
from openai.types.realtime import RealtimeSessionCreateRequest

from pipeline.support.openai_names import MODELS, known_as
from tests.clips import hearing, recording
from tests.server_process import Service

HEARING = [
    "whisper-1", "gpt-4o-mini-transcribe-2025-12-15", "GPT-4o-transcribe-2025-03-20", "whisper-1-20240930",
    "gpt-transcribe", "gpt-live-transcribe-2026-07-28", "gpt-realtime-whisper", "gpt-4o-transcribe-latest",
]  # fmt: skip
SPEAKING = ["tts-1", "tts-1-1106", "tts-1-hd-1106", "gpt-4o-mini-tts-2025-03-20", "GPT-4o-mini-tts-2025-12-15"]
DATED = ["whisper-1-2025-12-15", "tts-1-hd-1106", "gpt-realtime-2025-08-28", "gpt-realtime-mini-2025-10-06"]


def texts(kind: Any) -> set[str]:
    """Return all strings in a type of literals."""
    return {name for one in get_args(kind) for name in ({one} if isinstance(one, str) else texts(one))}


def test_every_model_for_sound_in_openais_package_is_known() -> None:
    realtime = RealtimeSessionCreateRequest.model_fields["model"].annotation
    named = {
        "stt": texts(AudioModel), "tts": texts(SpeechModel),
        "llm": {*texts(realtime), *(name for name in texts(ChatModel) if "audio" in name)},
    }  # fmt: skip
    for stage, names in named.items():
        assert names
        assert [name for name in names if known_as(name, MODELS[stage]) is None] == []


@pytest.fixture(scope="module")
def hears(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with hearing(tmp_path_factory.mktemp("names")) as running:
        yield running


@pytest.fixture
def client(hears: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=hears.url, timeout=60) as opened:
        yield opened


def test_list_begins_with_a_model_that_chats(client: httpx.Client) -> None:
    """Chat programs such as Open WebUI choose the first name for new users."""
    [first, *rest] = [one["id"] for one in client.get("/v1/models").json()["data"]]
    asked = {"model": first, "messages": [{"role": "user", "content": "hello"}]}
    assert client.post("/v1/chat/completions", json=asked).status_code == 200
    assert {"whisper-1", "tts-1", "gpt-audio"} <= {*rest}


@pytest.mark.parametrize("model", [None, "", " ", *HEARING])
def test_recordings_are_transcribed_with_any_known_model_name(client: httpx.Client, model: str | None) -> None:
    fields = {} if model is None else {"model": model}
    files = {"file": ("a.wav", recording(0)[0])}
    told = client.post("/v1/audio/transcriptions", files=files, data=fields)
    assert (told.status_code, told.json().get("text")) == (200, "what time is it")
    told = client.post("/v1/audio/translations", files=files, data=fields)
    assert (told.status_code, "text" in told.json()) == (200, True)
    named = {} if model is None else {"model_id": model}
    assert client.post("/jobs", files={"files": recording(0)[0]}, data=named).status_code == 202


@pytest.mark.parametrize("model", ["nothing", "nothing-2025-12-15", "whisper-1-2025", "whisper-1-2025-12-15-x"])
def test_transcription_with_an_unknown_model_name_is_rejected(client: httpx.Client, model: str) -> None:
    for kind in ("transcriptions", "translations"):
        files = {"file": ("a.wav", recording(0)[0])}
        told = client.post(f"/v1/audio/{kind}", files=files, data={"model": model})
        assert (told.status_code, told.json()["error"]["code"]) == (404, "model_not_found")
        assert told.json()["error"]["param"] == "model"


@pytest.mark.parametrize("given", [{}, {"model": ""}, {"model": None}, *({"model": name} for name in SPEAKING)])
def test_speech_is_synthesised_with_any_known_model_name(client: httpx.Client, given: dict[str, Any]) -> None:
    told = client.post("/v1/audio/speech", json={"input": "Hi.", "voice": "alloy", "response_format": "wav", **given})
    assert (told.status_code, told.content[:4]) == (200, b"RIFF")


@pytest.mark.parametrize("model", ["nothing-1106", "tts-1-11", "tts-1-9999", "whisper-1-1106"])
def test_speech_with_an_unknown_model_name_is_rejected(client: httpx.Client, model: str) -> None:
    told = client.post("/v1/audio/speech", json={"input": "Hi.", "voice": "alloy", "model": model})
    assert (told.status_code, told.json()["error"]["param"]) == (404, "model")


@pytest.mark.parametrize("name", DATED)
def test_dated_model_name_finds_the_undated_model(client: httpx.Client, name: str) -> None:
    told = client.get(f"/v1/models/{name}").json()
    plain = known_as(name, ["whisper-1", "tts-1-hd", "gpt-realtime", "gpt-realtime-mini"])
    assert plain is not None
    assert told["id"] == plain
    assert told == client.get(f"/v1/models/{plain}").json()
    assert client.get("/v1/models/nothing-2025-12-15").status_code == 404


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("tts-1", "tts-1"), ("TTS-1-1106", "tts-1"), (" tts-1 ", "tts-1"), ("tts-1-2025-12-15", "tts-1"),
        ("tts-1-20251215", "tts-1"), ("tts-1-1", None), ("tts-1-1306", None), ("tts", None), ("", None),
        ("tts-1-latest", "tts-1"), ("tts-1-2025-12", None), ("tts-1-2025-12-15-2025-12-15", None),
        ("x" * 100_000 + "-1106", None),
    ],
)  # fmt: skip
def test_model_names_are_matched_with_and_without_dates(asked: str, found: str | None) -> None:
    assert known_as(asked, ["tts-1"]) == found

"""OpenAI's client for Node, unmodified, from npm: every method for sound, models, chat and Realtime."""

import asyncio
import base64
import json
import shutil
import subprocess
from typing import Any

import pytest
from openai.types import Model
from openai.types.audio import (
    Transcription,
    TranscriptionStreamEvent,
    TranscriptionVerbose,
    Translation,
    Voice,
    VoiceConsent,
    VoiceConsentDeleted,
    VoiceDeleted,
)
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.realtime import ClientSecretCreateResponse, RealtimeTranslationClientSecretCreateResponse
from pydantic import BaseModel, TypeAdapter

from pipeline.settings import HOME
from tests import npm
from tests.chat.conftest import REPLY
from tests.clips import recording
from tests.in_process import with_llm
from tests.realtime.client import SERVER_EVENTS
from tests.sdk.calls import MOOD, NOT_SERVED, OTHER_RESOURCES, Mood, reply
from tests.servers.chat import FakeChat
from tests.stt.recordings import TRAINED
from tests.translation.client import SERVER_EVENTS as LIVE_EVENTS
from tests.webrtc.caller import offer

CLIENT, SOCKETS = "openai@7.59.0", "ws@8.23.0"
KEY = "a-key-of-thirty-two-characters-01"
TEXTS = ["what time is it", "what day is it today", "what is the date today"]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The output of the program."""
    folder = tmp_path_factory.mktemp("node")
    npm.install(folder, CLIENT, SOCKETS)
    program = folder / "program.mjs"
    shutil.copy(HOME / "tests" / "openai_node.mjs", program)
    sound, sdp = folder / "recording.wav", folder / "offer.sdp"
    sound.write_bytes(recording(0, 1, 2)[0])
    sdp.write_text(asyncio.run(offer()), newline="")
    llm = FakeChat(reply_to=reply, calls=[("light", {"on": True})])
    with with_llm(folder, llm, **TRAINED, API_KEYS=KEY, VOICES_DIR=str(folder / "voices")) as service:
        command = ["node", str(program), service.url, KEY, str(sound), str(sdp)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def strict(model: type[BaseModel], told: object) -> Any:
    """Parse an object as its class in OpenAI's Python package. Fail for a field that OpenAI's API does not have."""
    parsed = model.model_validate(told, strict=True)
    assert set(parsed.model_extra or ()) <= {"task"}, parsed.model_extra  # of verbose_json
    return parsed


def test_every_method_of_the_client_is_called(told: dict[str, Any]) -> None:
    assert told["called"] == told["methods"]
    assert len(told["methods"]) >= 43
    resources = {"".join(f"_{char.lower()}" if char.isupper() else char for char in one) for one in told["resources"]}
    assert resources == {"audio", "chat", "graders", "models", "realtime"} | OTHER_RESOURCES


def test_methods_that_are_not_served_tell_the_reason(told: dict[str, Any]) -> None:
    assert set(told["unserved"]) == set(NOT_SERVED)
    for method, (error, message) in told["unserved"].items():
        assert error == "NotFoundError", method
        assert NOT_SERVED[method][1] in message


def test_chats_have_the_types_of_the_client(told: dict[str, Any]) -> None:
    assert [strict(ChatCompletion, told[one]).choices[0].message.content for one in ("chat", "heard")] == [REPLY] * 2
    audio = strict(ChatCompletion, told["spoken"]).choices[0].message.audio
    assert (audio.transcript, base64.b64decode(audio.data)[:4]) == (REPLY, b"RIFF")
    chunks = [strict(ChatCompletionChunk, one) for one in told["chunks"]]
    assert "".join(one.choices[0].delta.content or "" for one in chunks) == REPLY
    assert Mood.model_validate_json(told["parsed"]) == MOOD
    assert told["streamed"] == REPLY
    assert told["ran"] == [REPLY, "on: true"]


def test_realtime_has_the_types_of_the_client(told: dict[str, Any]) -> None:
    assert strict(ClientSecretCreateResponse, told["secret"]).session.instructions == "Be brief."
    assert strict(RealtimeTranslationClientSecretCreateResponse, told["live_secret"]).value.startswith("ek_")
    assert told["answer"].startswith("v=0")
    assert told["pending"] == []
    for name, events, last in (
        ("talk", SERVER_EVENTS, "response.done"),
        ("interpreter", LIVE_EVENTS, "session.closed"),
    ):
        kinds = [event["type"] for event in told[name]]
        assert {"session.created", "session.updated", "once", last} <= set(kinds)
        assert not {"removed", "error"} & set(kinds)
        for event in told[name]:
            if event["type"] != "once":
                strict(events[event["type"]], event)


def test_transcripts_have_the_types_of_the_client(told: dict[str, Any]) -> None:
    text = " ".join(TEXTS)
    plain = strict(Transcription, told["json"])
    assert plain.text == text
    assert all(one.logprob <= 0 for one in plain.logprobs)
    named = strict(Transcription, told["names"])
    assert (named.text, [one.code for one in named.languages]) == (text, ["en"])
    verbose = strict(TranscriptionVerbose, told["verbose"])
    assert [segment.text.strip() for segment in verbose.segments] == TEXTS
    assert [word.word for word in verbose.words] == text.split()
    assert all(line in told["srt"] for line in TEXTS)
    events = [TypeAdapter[Any](TranscriptionStreamEvent).validate_python(event) for event in told["events"]]
    assert [event.type for event in events] == ["transcript.text.delta"] * 3 + ["transcript.text.done"]
    assert events[-1].text == text
    assert strict(Translation, told["translation"]).text


def test_speech_is_read_in_every_format(told: dict[str, Any]) -> None:
    assert set(told["speech"]) == {"mp3", "opus", "aac", "flac", "wav", "pcm", "own"}
    assert all(size > 500 for size in told["speech"].values()), told["speech"]


def test_models_are_listed(told: dict[str, Any]) -> None:
    listed = {strict(Model, one).id for one in told["models"]}
    assert strict(Model, told["model"]).id == "whisper-1"
    assert {"whisper-1", "gpt-transcribe", "tts-1"} <= listed


def test_voice_is_made_after_its_consent_and_deleted_before_it(told: dict[str, Any]) -> None:
    given = strict(VoiceConsent, told["consent"])
    assert (given.name, given.language) == ("Maria", "pt-PT")
    assert told["retrieved"] == told["consent"]
    assert strict(VoiceConsent, told["renamed"]).name == "Maria João"
    assert told["consents"] == [told["renamed"]]
    voice = strict(Voice, told["voice"])
    assert (voice.id, voice.name) == ("Maria", "Maria")
    assert strict(VoiceDeleted, told["voice_deleted"]).deleted
    assert strict(VoiceConsentDeleted, told["consent_deleted"]).id == given.id


def test_errors_become_the_classes_of_the_client(told: dict[str, Any]) -> None:
    assert told["refused"] == [
        ["AuthenticationError", 401, None, "invalid_api_key"],
        ["NotFoundError", 404, None, "model_not_found"],
        ["NotFoundError", 404, "model", "model_not_found"],
        ["BadRequestError", 400, "voice", "unknown_voice"],
        ["BadRequestError", 400, "speed", "bad_parameter"],
        ["NotFoundError", 404, "consent", "consent_not_found"],
        ["BadRequestError", 400, None, "bad_audio"],
    ]

"""OpenAI's client for Node, unmodified, from npm: every method for audio, models, voices and consents."""

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
from pydantic import BaseModel, TypeAdapter

from pipeline.settings import HOME
from tests import npm
from tests.clips import hearing, recording

CLIENT = "openai@7.59.0"
KEY = "a-key-of-thirty-two-characters-01"
TEXTS = ["what time is it", "what day is it today", "what is the date today"]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The output of the program."""
    folder = tmp_path_factory.mktemp("node")
    npm.install(folder, CLIENT)
    program = folder / "program.mjs"
    shutil.copy(HOME / "tests" / "openai_node.mjs", program)
    sound = folder / "recording.wav"
    sound.write_bytes(recording(0, 1, 2)[0])
    with hearing(folder, API_KEYS=KEY, VOICES_DIR=str(folder / "voices")) as service:
        command = ["node", str(program), service.url, KEY, str(sound)]
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
    assert [one for one in told["methods"] if one not in told["called"]] == ["models.delete"]
    assert len(told["methods"]) >= 13


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

"""A call of every method of the `openai` package that the service serves, and the methods that it does not."""

import base64
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import openai
from pydantic import BaseModel

from tests.chat.conftest import REPLY, SPOKEN

HEARD = "what does the heron do"
ASK: Any = [{"role": "user", "content": "Hello."}]
ASK_JSON: Any = [{"role": "user", "content": "Hello. Reply in JSON."}]
CHAT: Any = {"model": "gpt-audio", "messages": ASK}
STREAMED: Any = {**SPOKEN, "audio": {"voice": "alloy", "format": "pcm16"}, "stream": True}
ABSENT = "absent"


class Mood(BaseModel):
    """Reply of the language model to a request for JSON."""

    mood: str
    degrees: int


MOOD = Mood(mood="sunny", degrees=21)


def reply(messages: list[dict[str, Any]]) -> str:
    """Return the reply of the chat server."""
    return MOOD.model_dump_json() if "JSON" in messages[-1]["content"] else REPLY


@dataclass
class Things:
    """Arguments of calls: files, and objects that exist on the service."""

    client: openai.OpenAI
    sentence: bytes
    """A recording of one sentence, as WAV."""
    sentences: bytes
    """A recording that is long enough for a voice."""
    offer: str
    """An SDP offer."""
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def file(self) -> tuple[str, bytes, str]:
        return "recording.wav", self.sentence, "audio/wav"

    @property
    def sample(self) -> tuple[str, bytes, str]:
        return "sample.wav", self.sentences, "audio/wav"

    @property
    def name(self) -> str:
        """A new name."""
        return f"Maria {next(self.numbers)}"

    def consent(self) -> str:
        """The id of a new consent."""
        given = self.client.audio.voice_consents.create(name=self.name, language="pt-PT", recording=self.sample)
        return given.id

    def voice(self) -> str:
        """The id of a new voice."""
        made = self.client.audio.voices.create(name=self.name, audio_sample=self.sample, consent=self.consent())
        return made.id

    def call(self) -> str:
        """The id of a new call."""
        answered = self.client.realtime.calls.with_raw_response.create(sdp=self.offer)
        return answered.headers["location"].rpartition("/")[2]


@dataclass(frozen=True)
class Call:
    """A call of a method: its arguments, and whether its result is right."""

    method: str
    sent: Callable[[Things], dict[str, Any]]
    right: Callable[[Any], bool]
    about: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.about}".strip()


def _content(chunks: Any) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def _spoken(chunks: Any) -> str:
    sounds = [choice.delta.audio for chunk in chunks for choice in chunk.choices if choice.delta.audio]
    return "".join(one.transcript or "" for one in sounds) if any(one.data for one in sounds) else ""


def _listen(things: Things) -> dict[str, Any]:
    part = {"type": "input_audio", "input_audio": {"data": base64.b64encode(things.sentence).decode(), "format": "wav"}}
    return {**CHAT, "messages": [{"role": "user", "content": [part]}]}


def _pages(things: Things) -> dict[str, Any]:
    things.consent()
    things.consent()
    return {"limit": 1}


CALLS = (
    Call(
        "audio.transcriptions.create",
        lambda things: {"file": things.file, "model": "gpt-transcribe", "keywords": ["heron"], "languages": ["en"]},
        lambda found: found.text == HEARD and [one.code for one in found.languages] == ["en"],
    ),
    Call(
        "audio.transcriptions.create",
        lambda things: {"file": things.file, "model": "whisper-1", "response_format": "verbose_json"},
        lambda found: found.text == HEARD and found.segments[0].text.strip() == HEARD,
        "as verbose_json",
    ),
    Call(
        "audio.transcriptions.create",
        lambda things: {"file": things.file, "model": "whisper-1", "response_format": "srt"},
        lambda found: found.splitlines()[2] == HEARD,
        "as srt",
    ),
    Call(
        "audio.transcriptions.create",
        lambda things: {"file": things.file, "model": "gpt-4o-transcribe", "stream": True},
        lambda found: [one.type for one in found][-1] == "transcript.text.done" and found[-1].text == HEARD,
        "as a stream",
    ),
    Call(
        "audio.translations.create",
        lambda things: {"file": things.file, "model": "whisper-1"},
        lambda found: found.text == HEARD,
    ),
    Call(
        "audio.translations.create",
        lambda things: {"file": things.file, "model": "whisper-1", "response_format": "verbose_json"},
        lambda found: found.language == "english" and bool(found.segments),
        "as verbose_json",
    ),
    Call(
        "audio.speech.create",
        lambda things: {"model": "tts-1", "voice": "alloy", "input": "Hello.", "response_format": "wav"},
        lambda found: found[:4] == b"RIFF" and len(found) > 1000,
    ),
    Call(
        "audio.voices.create",
        lambda things: {"name": things.name, "audio_sample": things.sample, "consent": things.consent()},
        lambda found: found.object == "audio.voice" and found.name.startswith("Maria"),
    ),
    Call("audio.voices.delete", lambda things: {"voice_id": things.voice()}, lambda found: found.deleted is True),
    Call(
        "audio.voice_consents.create",
        lambda things: {"name": things.name, "language": "pt-PT", "recording": things.sample},
        lambda found: (found.object, found.language) == ("audio.voice_consent", "pt-PT"),
    ),
    Call(
        "audio.voice_consents.retrieve",
        lambda things: {"consent_id": things.consent()},
        lambda found: found.name.startswith("Maria"),
    ),
    Call(
        "audio.voice_consents.update",
        lambda things: {"consent_id": things.consent(), "name": "Ana Sofia"},
        lambda found: found.name == "Ana Sofia",
    ),
    Call(
        "audio.voice_consents.list",
        _pages,
        lambda found: len(found) >= 2 and all(one.object == "audio.voice_consent" for one in found),
    ),
    Call(
        "audio.voice_consents.delete",
        lambda things: {"consent_id": things.consent()},
        lambda found: found.deleted is True,
    ),
    Call("models.list", lambda things: {}, lambda found: {"whisper-1", "tts-1"} <= {one.id for one in found}),
    Call("models.retrieve", lambda things: {"model": "gpt-transcribe"}, lambda found: found.id == "gpt-transcribe"),
    Call("chat.completions.create", lambda things: CHAT, lambda found: found.choices[0].message.content == REPLY),
    Call("chat.completions.create", _listen, lambda found: found.choices[0].message.content == REPLY, "with sound"),
    Call(
        "chat.completions.create",
        lambda things: {**CHAT, "stream": True, "stream_options": {"include_usage": True}},
        lambda found: _content(found) == REPLY and found[-1].usage.total_tokens > 0,
        "as a stream",
    ),
    Call(
        "chat.completions.create",
        lambda things: {**CHAT, **SPOKEN},
        lambda found: found.choices[0].message.audio.transcript == REPLY,
        "spoken",
    ),
    Call(
        "chat.completions.create",
        lambda things: {**CHAT, **STREAMED},
        lambda found: _spoken(found) == REPLY,
        "spoken as a stream",
    ),
    Call(
        "chat.completions.parse",
        lambda things: {**CHAT, "messages": ASK_JSON, "response_format": Mood},
        lambda found: found.choices[0].message.parsed == MOOD,
    ),
    Call(
        "chat.completions.stream",
        lambda things: {**CHAT, "messages": ASK_JSON, "response_format": Mood},
        lambda found: [one.parsed for one in found if one.type == "content.done"] == [MOOD],
    ),
    Call(
        "realtime.client_secrets.create",
        lambda things: {
            "expires_after": {"anchor": "created_at", "seconds": 60},
            "session": {"type": "realtime", "instructions": "Be brief."},
        },
        lambda found: found.value.startswith("ek_") and found.session.instructions == "Be brief.",
    ),
    Call(
        "realtime.client_secrets.create",
        lambda things: {"session": {"type": "transcription"}},
        lambda found: found.session.type == "transcription",
        "for transcription",
    ),
    Call(
        "realtime.translations.client_secrets.create",
        lambda things: {
            "session": {"model": "gpt-realtime-translate", "audio": {"output": {"language": "es"}}},
        },
        lambda found: found.value.startswith("ek_") and found.session.audio.output.language == "es",
    ),
    Call(
        "realtime.calls.create",
        lambda things: {"sdp": things.offer, "session": {"type": "realtime", "instructions": "Be brief."}},
        lambda found: found.startswith(b"v=0") and b"m=audio" in found,
    ),
    Call("realtime.calls.hangup", lambda things: {"call_id": things.call()}, lambda found: found is None),
)

CONNECTING = {"realtime.connect", "realtime.translations.connect"}
"""Methods that open a WebSocket: `tests/sdk/test_connections.py`."""

NOT_STORED, NO_SIP = "not stored", "SIP"
NOT_SERVED: dict[str, tuple[dict[str, Any], str]] = {
    "chat.completions.retrieve": ({"completion_id": ABSENT}, NOT_STORED),
    "chat.completions.update": ({"completion_id": ABSENT, "metadata": {"a": "b"}}, NOT_STORED),
    "chat.completions.list": ({}, NOT_STORED),
    "chat.completions.delete": ({"completion_id": ABSENT}, NOT_STORED),
    "chat.completions.messages.list": ({"completion_id": ABSENT}, NOT_STORED),
    "models.delete": ({"model": "whisper-1"}, "MODELS_DIR"),
    "realtime.calls.accept": ({"call_id": ABSENT, "type": "realtime"}, NO_SIP),
    "realtime.calls.refer": ({"call_id": ABSENT, "target_uri": "tel:+14155550123"}, NO_SIP),
    "realtime.calls.reject": ({"call_id": ABSENT}, NO_SIP),
}
"""Methods that are refused → their arguments, and words of the reason."""

OTHER_RESOURCES = {
    "admin", "batches", "beta", "completions", "containers", "content_provenance_checks", "conversations", "decisions",
    "embeddings", "evals", "files", "fine_tuning", "images", "live", "moderations", "responses", "safety", "skills",
    "uploads", "vector_stores", "videos", "webhooks",
}  # fmt: skip
"""Resources of which the service serves nothing: they are not about speech, or belong to OpenAI's accounts."""

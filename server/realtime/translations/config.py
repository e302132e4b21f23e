"""The configuration of a translation session."""

import copy
import json
import secrets
import time
from typing import Literal, TypedDict

from openai.types.realtime import RealtimeTranslationClientEvent, RealtimeTranslationSessionUpdateEvent

from pipeline.errors import BadInput
from pipeline.languages import language_code
from pipeline.support.json_types import JsonObject
from server.realtime.errors import RealtimeError
from server.realtime.noise_reduction import NoiseReduction, default_noise_reduction, noise_reduction_of
from server.realtime.parsing import check_known, events_of, parse

EVENTS = events_of(RealtimeTranslationClientEvent)
"""The client events of a translation session."""
DEFAULT_LANGUAGE = "en"
"""The target language until the client sets one."""
FIXED = ("type", "model")
"""Fields that cannot be changed; a client may send them back as they are."""
SERVERS_OWN = frozenset({"id", "expires_at", *FIXED})
"""Fields of a session that a client cannot change."""
LANGUAGE = "session.audio.output.language"


class Transcription(TypedDict):
    model: str


class AudioInput(TypedDict):
    transcription: Transcription | None
    noise_reduction: NoiseReduction | None
    """None also where RNNoise is not installed."""


class AudioOutput(TypedDict):
    language: str


class Audio(TypedDict):
    input: AudioInput
    output: AudioOutput


class SessionJson(TypedDict):
    """The session as the client sees it."""

    id: str
    type: Literal["translation"]
    model: str
    expires_at: int
    audio: Audio


class TranslationConfig:
    """One session's configuration."""

    def __init__(self, *, model: str, lives_s: float, noise_reduction: float) -> None:
        """model: the model name that the client requested; it is only echoed. lives_s: seconds until the session
        expires. noise_reduction: the deployment's."""
        self.json: SessionJson = {
            "id": f"sess_{secrets.token_hex(10)}",
            "type": "translation",
            "model": model,
            "expires_at": int(time.time() + lives_s),
            "audio": {
                "input": {"transcription": None, "noise_reduction": default_noise_reduction(noise_reduction)},
                "output": {"language": DEFAULT_LANGUAGE},
            },
        }

    @property
    def language(self) -> str:
        """The target language, as an ISO 639-1 code."""
        return self.json["audio"]["output"]["language"]

    @property
    def transcribes(self) -> bool:
        """Whether the client wants the speaker's words."""
        return self.json["audio"]["input"]["transcription"] is not None

    @property
    def noise_reduction(self) -> float:
        """Share of the filtered sound in which speech is detected; 0: noise is not reduced."""
        reduction = self.json["audio"]["input"]["noise_reduction"]
        return reduction["strength"] if reduction is not None else 0.0

    def update(self, event: RealtimeTranslationSessionUpdateEvent) -> None:
        """Apply the whole event, or nothing if any part is invalid. Raises RealtimeError."""
        check_known(event.session, "session", passed_over=SERVERS_OWN)
        sent = event.session.model_dump(mode="json", exclude_unset=True)
        for field in FIXED:
            if field in sent and sent[field] != self.json[field]:  # type: ignore[literal-required]
                raise RealtimeError(
                    f"'session.{field}' is set at the connection and cannot be changed.",
                    code="invalid_value",
                    param=f"session.{field}",
                )
        changed = copy.deepcopy(self.json)
        audio = sent.get("audio") or {}
        if "transcription" in (heard := audio.get("input") or {}):
            changed["audio"]["input"]["transcription"] = heard["transcription"]
        if "noise_reduction" in heard:
            changed["audio"]["input"]["noise_reduction"] = noise_reduction_of(
                heard["noise_reduction"], self.json["audio"]["input"]["noise_reduction"]
            )
        if (wanted := (audio.get("output") or {}).get("language")) is not None:
            changed["audio"]["output"]["language"] = _language(wanted)
        self.json = changed

    def begin_with(self, session: JsonObject) -> None:
        """Begin with the configuration of a client secret. Raises BadInput."""
        try:
            event, _ = parse(json.dumps({"type": "session.update", "session": session}), EVENTS)
            assert isinstance(event, RealtimeTranslationSessionUpdateEvent)  # noqa: S101  # by its type
            self.update(event)
        except RealtimeError as error:
            raise BadInput(error.message, code=error.code, param=error.param) from None


def _language(wanted: str) -> str:
    """Raises RealtimeError."""
    try:
        code = language_code(wanted)
    except BadInput as error:
        raise RealtimeError(error.message, code="invalid_value", param=LANGUAGE) from None
    if code is None:
        raise RealtimeError(f"'{LANGUAGE}' must be a language code like es.", code="invalid_value", param=LANGUAGE)
    return code

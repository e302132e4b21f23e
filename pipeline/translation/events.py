"""Events of a translation. `until_ms` is always a position in the speaker's sound."""

from dataclasses import dataclass

from pipeline.audio.clip import Clip


@dataclass(frozen=True, slots=True)
class SourceDelta:
    """The next words of the speaker, with the space before them. They never change."""

    text: str
    until_ms: float


@dataclass(frozen=True, slots=True)
class TranslationDelta:
    """The next chunk of the translation, with the space before it."""

    text: str
    until_ms: float
    """End of the clause that it translates."""


@dataclass(frozen=True, slots=True)
class SpeechDelta:
    """The next sound of the translation."""

    clip: Clip
    until_ms: float


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """No more sound of this part of the translation comes."""

    until_ms: float


@dataclass(frozen=True, slots=True)
class Failed:
    """A clause has no text, or a translation has no sound; the session goes on."""

    code: str
    """stt_failed, llm_unavailable, tts_failed, timeout, overloaded."""
    message: str


TranslationEvent = SourceDelta | TranslationDelta | SpeechDelta | SpeechPaused | Failed

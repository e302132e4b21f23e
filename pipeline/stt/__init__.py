"""Speech to text: the Protocol and the table of its engines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.audio import Clip


@dataclass(frozen=True, slots=True)
class Word:
    """One word and when it was said, in seconds from the start of the clip."""

    text: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in one clip."""

    text: str
    """Stripped; empty when nothing was said."""
    language: str | None
    """ISO 639-1 code of what was spoken (detected, or as asked for); None if the engine cannot know."""
    duration_s: float
    """Length of the clip in seconds."""
    language_probability: float = 1.0
    words: Sequence[Word] = ()
    """Only when asked for."""


class SpeechToText(Protocol):
    """One resident recogniser, shared by all sessions."""

    async def transcribe(self, clip: Clip, *, language: str | None, prompt: str | None, words: bool) -> Transcript:
        """Transcribe a whole utterance.

        clip: float32 mono at any rate. language: ISO 639-1 or None to detect. prompt: text that came before, a hint.
        Raises EngineError when it cannot, Overloaded when too many wait.
        """
        ...


ENGINES: dict[str, str] = {
    "whisper": "pipeline.stt.whisper",
    "sphinx": "pipeline.stt.sphinx",
    "openai": "pipeline.stt.openai",
}
"""Engine name → module; see `pipeline.engines` for what a module provides."""

AUTO_ORDER = ("whisper", "sphinx")
"""What `auto` tries, best first; the last one always works."""

"""Text to speech: the Protocol and the table of its engines."""

from collections.abc import AsyncGenerator
from typing import Protocol

from pipeline.audio import Clip
from pipeline.voices import Voice


class TextToSpeech(Protocol):
    """One synthesiser, shared by all sessions."""

    def speak(self, text: str, *, voice: Voice, language: str | None) -> AsyncGenerator[Clip, None]:
        """Speak one clause, already normalised for the voice (`pipeline.spoken`), as clips in order.

        language: ISO 639-1 of the text; None: the voice's first. Closing the generator stops the
        synthesis. All clips of an engine have one rate. Raises EngineError when it cannot.
        """
        ...

    def speaks(self, language: str) -> bool:
        """Whether `speak` takes this language: an ISO 639-1 code, lower case, a region may follow after "-"."""
        ...


ENGINES: dict[str, str] = {
    "xtts": "pipeline.tts.xtts",
    "pocket": "pipeline.tts.pocket",
    "espeak": "pipeline.tts.espeak",
    "openai": "pipeline.tts.openai",
}
"""Engine name → module; see `pipeline.engines` for what a module provides."""

AUTO_ORDER = ("xtts", "pocket", "espeak")
"""What `auto` tries, best first; the last one always works."""

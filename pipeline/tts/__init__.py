"""Text to speech: the Protocol and the table of its engines."""

from collections.abc import AsyncGenerator
from typing import Protocol

from pipeline.audio.clip import Clip
from pipeline.voices.catalogue import Voice


class TextToSpeech(Protocol):
    """A synthesiser, shared by all sessions."""

    @property
    def follows_instructions(self) -> bool:
        """Whether `speak` follows the voice's `instructions`."""
        ...

    @property
    def reads_ipa(self) -> bool:
        """Whether `speak` reads IPA that `pipeline.tts.phonemes.as_ipa` has marked."""
        ...

    def speak(self, text: str, *, voice: Voice, language: str | None) -> AsyncGenerator[Clip, None]:
        """Speak one clause, already normalised for the voice (`pipeline.speech.normalise`), as clips in order.

        language: ISO 639-1 code of the text; None: the voice's first. Closing the generator stops the
        synthesis. All clips of an engine have the same rate. Raises EngineError when synthesis fails.
        """
        ...

    def speaks(self, language: str) -> bool:
        """Whether `speak` accepts this language: a lower-case ISO 639-1 code, optionally with "-" and a region."""
        ...


TIMEOUT_S = 30.0
"""Timeout from a clause to its first sound, and between two chunks, in seconds. A worker that gives nothing for this
time hangs, and is ended."""

ENGINES: dict[str, str] = {
    "xtts": "pipeline.tts.xtts",
    "pocket": "pipeline.tts.pocket",
    "kokoro": "pipeline.tts.kokoro",
    "piper": "pipeline.tts.piper",
    "espeak": "pipeline.tts.espeak",
    "openai": "pipeline.tts.openai",
}
"""Engine name → module; see `pipeline.engines` for what a module provides."""

AUTO_ORDER = ("xtts", "pocket", "kokoro", "espeak")
"""Engines that `auto` tries, best first; the last one always works."""

"""Speech to text: the Protocol and the table of its engines.

One recogniser is always loaded: `Assistant.stages.stt`, that of conversations. Recordings may be heard by others, by
the name of a model (`pipeline.stt.recognisers`, in a deployment `Assistant.recognisers`):

    recognisers.find(name)                         # is there such a model? UnknownModel (model_not_found) if not
    recognisers.engine_of(name)                    # what its results are made by: part of the key of a stored result
    async with recognisers.using(name) as running: # loaded now if it is not, held while the block runs
        transcribe_file(running.engine, …)

`None` is what is loaded, and ids of `GET /models`, sizes of Whisper, folders in MODELS_DIR and OpenAI's names work. Who
has no Assistant opens them with `open_recognisers(settings, running, hardware)`.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pipeline.audio import Clip
from pipeline.errors import StageFailed


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


@dataclass(frozen=True, slots=True)
class FileRequest:
    """What is wanted of a recording; the same for each of its windows."""

    language: str | None = None
    """ISO 639-1; None: found out from the first speech."""
    prompt: str | None = None
    """A hint at names and style."""
    words: bool = False
    """With the times of words."""
    translate: bool = False
    """Into English."""
    temperature: float = 0.0
    """Of sampling; 0 takes the likeliest words."""
    batch_size: int | None = None
    """Windows that are decoded together at most; None: as many as pay."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A sentence or so of a recording. What an engine cannot know has the neutral value."""

    start_s: float
    end_s: float
    text: str
    """Stripped."""
    language: str | None = None
    words: Sequence[Word] = ()
    """Only when asked for."""
    speaker: str | None = None
    id: int = 0
    """Counts from 0 in a recording."""
    seek: int = 0
    """Where the window began that it was found in, in frames of 10 ms."""
    tokens: Sequence[int] = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 1.0
    no_speech_prob: float = 0.0
    language_probability: float = 1.0


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """How an engine wants a long recording cut."""

    max_s: float = 30.0
    pause_s: float = 2.0
    pad_s: float = 0.4
    batch: int = 1
    """So many at a time are as quick as it gets."""
    pack: bool = False
    """A short one costs what a long one costs: several short ones should share one."""


class SpeechToText(Protocol):
    """One resident recogniser, shared by all sessions."""

    @property
    def limits(self) -> WindowLimits:
        """The windows that `segments` takes."""
        ...

    def segments(self, window: Clip, request: FileRequest) -> AsyncGenerator[Segment, None]:
        """One window of a long recording (`pipeline.stt.files` makes them), segment by segment as they are found.

        Times count from the window's start. Closing the generator stops the work at the next segment. Raises as
        `transcribe` does.
        """
        ...

    async def transcribe(self, clip: Clip, *, language: str | None, prompt: str | None, words: bool) -> Transcript:
        """Transcribe a whole utterance.

        clip: float32 mono at any rate. language: ISO 639-1 or None to detect. prompt: text that came before, a hint.
        Raises EngineError when it cannot, Overloaded when too many wait.
        """
        ...


@runtime_checkable
class TellsLanguage(Protocol):
    """A recogniser that names a language for any sound."""

    async def language_of(self, clip: Clip) -> tuple[str, float]:
        """The likeliest (ISO 639-1) and its probability, also where nobody speaks. Raises as `transcribe` does."""
        ...


async def in_time(
    stt: SpeechToText, clip: Clip, *, language: str | None, prompt: str | None, limit_s: float, words: bool = False
) -> Transcript:
    """The transcript of a whole utterance. Raises what `transcribe` does, and StageFailed (timeout)."""
    try:
        async with asyncio.timeout(limit_s):
            return await stt.transcribe(clip, language=language, prompt=prompt, words=words)
    except TimeoutError:
        raise StageFailed("Speech recognition took too long.", code="timeout") from None


ENGINES: dict[str, str] = {
    "whisper": "pipeline.stt.whisper",
    "sphinx": "pipeline.stt.sphinx",
    "openai": "pipeline.stt.openai",
}
"""Engine name → module; see `pipeline.engines` for what a module provides."""

AUTO_ORDER = ("whisper", "sphinx")
"""What `auto` tries, best first; the last one always works."""

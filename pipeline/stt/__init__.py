"""Speech to text: the Protocol and the table of its engines.

One recogniser is always loaded: `Assistant.stages.stt`, which conversations use. Recordings can use others, by the name
of a model (`pipeline.stt.recognisers`, in a deployment `Assistant.recognisers`):

    recognisers.find(name)                         # look a model up; raises UnknownModel (model_not_found)
    recognisers.engine_of(name)                    # the engine of its results: part of the key of a stored result
    async with recognisers.using(name) as running: # load it if necessary, hold it while the block runs
        transcribe_file(running.engine, …)      # `pipeline.transcripts.transcriber` does both

`None` means the loaded model. Other names are ids of `GET /models`, sizes of Whisper, folders in MODELS_DIR and
OpenAI's names (`pipeline.support.openai_names`).
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pipeline.audio.clip import Clip
from pipeline.errors import StageFailed

Spoken = str | tuple[str, ...] | None
"""Language of the speech: a code of ISO 639-1; several possible ones; or None to detect any."""


@dataclass(frozen=True, slots=True)
class Hints:
    """Keywords and a prompt, as hints about the speech."""

    keywords: tuple[str, ...]
    """Names and words, the most important first."""
    prompt: str | None = None
    """A preceding text, or the style."""

    @staticmethod
    def of(hinted: "Hinted") -> "Hints":
        return hinted if isinstance(hinted, Hints) else Hints((), hinted)


Hinted = str | Hints | None
"""Hints about the speech, or only a prompt."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word and its times, in seconds from the start of the clip."""

    text: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """The words spoken in one clip."""

    text: str
    """Stripped; empty when no words were recognised."""
    language: str | None
    """ISO 639-1 code of the spoken language (detected, or as requested); None if the engine cannot know it."""
    duration_s: float
    """Length of the clip in seconds."""
    language_probability: float = 1.0
    words: Sequence[Word] = ()
    """Only when requested."""


@dataclass(frozen=True, slots=True)
class FileRequest:
    """The options for transcribing a recording; the same for each of its windows."""

    language: str | None = None
    """ISO 639-1; None: detected in each window."""
    prompt: str | None = None
    """A hint for names and style."""
    words: bool = False
    """Whether to return the times of words."""
    translate: bool = False
    """Whether to translate into English."""
    temperature: float = 0.0
    """Sampling temperature; 0 takes the likeliest words."""
    batch_size: int | None = None
    """Maximum number of windows decoded together; None: as many as are efficient."""
    expected: str | None = None
    """Language (ISO 639-1) of windows in which no language is detected with certainty; None: the likeliest."""
    keywords: tuple[str, ...] = ()
    """Names and words that may be spoken, the most important first."""
    languages: tuple[str, ...] = ()
    """Languages (ISO 639-1) that can be detected if `language` is None; empty: all."""

    @staticmethod
    def of(language: Spoken, prompt: Hinted, words: bool) -> "FileRequest":
        """Return the options of `SpeechToText.transcribe`."""
        code, several = (None, language) if isinstance(language, tuple) else (language, ())
        hints = Hints.of(prompt)
        return FileRequest(code, hints.prompt, words, keywords=hints.keywords, languages=several)


@dataclass(frozen=True, slots=True)
class Segment:
    """About a sentence of a recording. A field that an engine cannot know has its neutral value."""

    start_s: float
    end_s: float
    text: str
    """Stripped."""
    language: str | None = None
    words: Sequence[Word] = ()
    """Only when requested."""
    speaker: str | None = None
    id: int = 0
    """Counted from 0 in a recording."""
    seek: int = 0
    """Start of the window in which the segment was found, in frames of 10 ms."""
    tokens: Sequence[int] = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 1.0
    no_speech_prob: float = 0.0
    language_probability: float = 1.0
    paragraph: bool = False
    """Whether a user began a paragraph here."""


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """How to cut a long recording for an engine."""

    max_s: float = 30.0
    pause_s: float = 2.0
    pad_s: float = 0.4
    batch: int = 1
    """Number of windows decoded together beyond which the engine gets no faster."""
    parallel: int = 1
    """Number of batches decoded at the same time."""
    pack: bool = False
    """Whether a short window costs as much as a long one, so that several short stretches should share a window."""


class SpeechToText(Protocol):
    """One loaded recogniser, shared by all sessions."""

    @property
    def limits(self) -> WindowLimits:
        """Limits for the windows that `segments` accepts."""
        ...

    def segments(self, window: Clip, request: FileRequest) -> AsyncGenerator[Segment, None]:
        """Transcribe one window of a long recording (made by `transcripts.long_files`); yield each segment once it is
        found.

        Times count from the window's start. Closing the generator stops the work at the next segment. Raises the same
        errors as `transcribe`.
        """
        ...

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool) -> Transcript:
        """Transcribe a whole utterance.

        clip: float32 mono at any rate. prompt: keywords and preceding text, as a hint.
        Raises EngineError when it fails, Overloaded when too many calls wait.
        """
        ...


@runtime_checkable
class TellsLanguage(Protocol):
    """A recogniser that names a language for any sound."""

    async def language_of(self, clip: Clip) -> tuple[str, float]:
        """Return the likeliest language (ISO 639-1) and its probability, even without speech. Raises the same errors as
        `transcribe`."""
        ...


TIMEOUT_S = 60.0
"""Timeout for the transcript of one utterance, and for each step of a recording's, in seconds: longer than the slowest
supported model takes for MAX_AUDIO_SECONDS. A worker that gives nothing for this time hangs, and is ended."""


async def in_time(
    stt: SpeechToText, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool = False
) -> Transcript:
    """Transcribe a whole utterance within TIMEOUT_S. Raises the errors of `transcribe`, and StageFailed (timeout)."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await stt.transcribe(clip, language=language, prompt=prompt, words=words)
    except TimeoutError:
        raise StageFailed("Speech recognition took too long.", code="timeout") from None


ENGINES: dict[str, str] = {
    "whisper": "pipeline.stt.whisper",
    "sphinx": "pipeline.stt.sphinx",
    "parakeet": "pipeline.stt.parakeet",
    "openai": "pipeline.stt.openai",
}
"""Engine name → module; see `pipeline.engines` for what a module provides."""

TAKES_HINTS = frozenset({"whisper", "openai"})
"""Engines that use prompts and keywords; the others have no input for them."""

AUTO_ORDER = ("whisper", "sphinx")
"""The engines that `auto` tries, best first; the last one always works."""

"""The speaker lock: of all that is said, hear only one voice: the one that began the conversation, or an enrolled one.

`SpeakerLock` stands before the recogniser of a conversation. It compares the voice of each stretch of sound with the
owner's, and cuts off what others say before and after the owner. Sound without the owner has no words for the
conversation, so it neither interrupts nor is answered, as any other noise.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.audio.clip import Clip, Samples
from pipeline.audio.decode import decode
from pipeline.listening.interruption import is_command
from pipeline.stt import FileRequest, Hinted, Segment, SpeechToText, Spoken, Transcript, WindowLimits

FIRST = "first"
"""Name of the lock on the voice that begins the conversation."""
RATE_HZ = 16_000
FRAME = 160
QUIET_DB = 30.0
"""Frames this far below the loud ones are pauses."""
SLICE_S, STEP_S = 1.6, 0.8
"""Length of the stretches whose voices are compared, and the step between them, in seconds of speech."""
OWNER_S = 1.0
"""Speech that the conversation's first voice needs to become its owner, in seconds. Until then every voice is heard."""
SHORTEST_S = 0.3
"""Less speech than this does not tell a voice: it is not heard once there is an owner."""
SHORT_S = 1.0
"""Speech that is shorter is hardly the owner's for sure, so that a command ("stop", "yes") needs only be likely."""
LENGTHS_S = (0.4, 0.6, 0.85, 1.6)
SURE = (0.68, 0.72, 0.74, 0.74)
"""Cosine from which speech of these lengths is the owner's for sure, if the owner is known from one sentence. Of people
(13 speakers of five languages), 1.4 % of other voices reached it somewhere in a sentence, and 85 % of the owners did in
the first 2.6 s."""
LIKELY = (0.62, 0.65, 0.67, 0.68)
"""Cosine from which speech of these lengths is likely the owner's; 3 % of other people reach it."""
KNOWN_S, KNOWN = (3.0, 6.0, 9.0), (0.0, 0.03, 0.04)
"""Speech from which the owner is known, in seconds, and how much higher the cosines must be: every voice is more
similar to a mean of several sentences. The share of other voices stays the same, and 5 % of owners are refused."""
NEAR_DB, FARTHER, FARTHEST = 3.0, 0.015, 0.1
"""How much higher the cosines must be for speech that is quieter than the owner's: 0.015 for each dB from 3 dB on, at
most 0.1. A television is usually farther away than the user."""
MOVED = 3
"""Utterances in a row that only their level speaks against, of which the last is heard: the owner is there now. Those
that are so similar that they are heard anyway count, too. Of owners' sentences, 79 % pass without the level if one
sentence is known, and 95 % if three are; of other people's 0.5 %, so that 0.4 % of series of ten sentences of another
person have three in a row."""
LEVEL_SHARE = 0.3
"""Share of each utterance in the owner's level."""
OTHER = 0.6
"""Cosine of a whole slice below which another voice speaks; 5 % of the owner's slices have less than 0.66, and half of
the others' 0.53 or less."""
SAMPLE_S, LONGEST_S = 30.0, 600.0
"""Speech of an enrolled owner that is used, and the limit for the recording, in seconds."""
MORE_S = 10.0
"""Speech from which the owner's voice is known well enough."""

Vectors = npt.NDArray[np.float32]


class Encoder(Protocol):
    """Tells voices apart."""

    async def embed(self, clips: Sequence[Samples]) -> Vectors:
        """Return unit vectors, shape (clips, n), that are the more similar the more the voices are. clips: speech at
        16 kHz. Raises EngineError, EngineUnavailable, Overloaded."""
        ...


@dataclass
class Owner:
    """The voice that a conversation listens to."""

    vector: Vectors | None = None
    """None until it is known."""
    seconds: float = 0.0
    """Speech from which it is known."""
    enrolled: bool = False
    """Whether it is known from a recording, however short. Then the conversation adds nothing to it."""
    level_db: float | None = None
    """Level of its speech in dBFS; None until it was heard by this microphone."""
    quieter: int = 0
    """Last utterances in a row that only their level spoke against."""
    _before: int = 0
    """`quieter` before that utterance."""
    _start: Samples | None = None
    """First sound of the last utterance that was refused or quieter."""

    def learn(self, vector: Vectors, seconds: float, level_db: float | None = None) -> None:
        """Learn from more speech of the owner. level_db: None for a recording, which says nothing about the microphone
        of this conversation."""
        if level_db is not None and (self.level_db is None or self.quieter >= MOVED):
            self.level_db = level_db
            self.is_near()
        elif level_db is not None and self.level_db is not None:
            self.level_db += LEVEL_SHARE * (level_db - self.level_db)
        if self.seconds < MORE_S and not self.enrolled:
            known = vector * seconds if self.vector is None else self.vector * self.seconds + vector * seconds
            self.vector, self.seconds = known / (np.linalg.norm(known) + 1e-9), self.seconds + seconds

    def is_near(self) -> None:
        """Note that the owner was heard at a usual level."""
        self.quieter = self._before = 0

    def has_moved(self, start: Samples, similar: bool) -> bool:
        """Count an utterance that is refused or quieter, and return whether the owner speaks at its level now. start:
        its first sound; an utterance is transcribed several times while it grows, and counts once, by its last
        transcript. similar: whether all of it would be the owner's if it were louder."""
        if self._start is None or not np.array_equal(start, self._start):
            self._start, self._before = start.copy(), self.quieter
        self.quieter = self._before + 1 if similar else 0
        return self.quieter >= MOVED

    def change_microphone(self) -> None:
        """Forget the level: the next speech can come from another microphone."""
        self.level_db = None
        self.is_near()

    @property
    def known_caution(self) -> float:
        """How much more similar than usual speech of every level must be, as a difference of cosines."""
        return float(np.interp(self.seconds, KNOWN_S, KNOWN))

    def is_quieter(self, level_db: float) -> bool:
        """Return whether speech of this level must be more similar than usual."""
        return self.level_db is not None and level_db < self.level_db - NEAR_DB

    def caution(self, levels_db: Vectors) -> Vectors:
        """Return how much more similar than usual speech of these levels must be, as a difference of cosines."""
        below_db = np.zeros_like(levels_db) if self.level_db is None else self.level_db - levels_db - NEAR_DB
        return np.asarray(self.known_caution + np.clip(FARTHER * below_db, 0.0, FARTHEST), np.float32)


@dataclass(frozen=True, slots=True)
class Part:
    """The owner's part of a clip."""

    clip: Clip
    vector: Vectors | None = None
    """Its voice, if there is enough speech to learn from it."""
    seconds: float = 0.0
    """Duration of the speech in it."""
    level_db: float | None = None
    """Level of the speech in it, if there is enough to learn from it."""
    only_commands: bool = False
    """Whether it is so short that it counts only as a command."""


class SpeakerLock:
    """A recogniser that hears only the owner's voice; see `SpeechToText`."""

    def __init__(self, stt: SpeechToText, encoder: Encoder, owner: Owner, sample: Path | None = None) -> None:
        """owner: the voice so far; learned from the first speech if it is not known. sample: a recording of the
        enrolled owner."""
        self._stt, self._encoder, self._owner, self._sample = stt, encoder, owner, sample
        self._enrolling = asyncio.Lock()
        self._learns, self._expects = True, False
        self.is_echo: Callable[[str], bool] = lambda text: False
        """Whether a transcript repeats the assistant, whose voice must not be learned."""

    def judging(self) -> "SpeakerLock":
        """Return a recogniser with the same owner that does not learn: for sound during a reply."""
        other = copy(self)
        other._learns = False
        return other

    def expecting(self) -> "SpeakerLock":
        """Return a recogniser with the same owner for an utterance in which the owner was recognised already, when a
        part of it was judged: where no voice is surely the owner's, it hears all of the utterance."""
        other = copy(self)
        other._expects = True
        return other

    @property
    def limits(self) -> WindowLimits:
        """See `SpeechToText`."""
        return self._stt.limits

    def segments(self, window: Clip, request: FileRequest) -> AsyncGenerator[Segment, None]:
        """See `SpeechToText`. Recordings are not a part of the conversation, so all voices are heard."""
        return self._stt.segments(window, request)

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool) -> Transcript:
        """See `SpeechToText`. Empty if the owner does not speak."""
        async with self._enrolling:
            await self._enrol()
        part = await self._owners_part(clip.at(RATE_HZ))
        nothing = Transcript("", language if isinstance(language, str) else None, clip.seconds)
        if part is None:
            return nothing
        found = await self._stt.transcribe(part.clip, language=language, prompt=prompt, words=words)
        if part.only_commands and not is_command(found.text):
            return nothing
        if self._learns and part.vector is not None and found.text and not self.is_echo(found.text):
            self._owner.learn(part.vector, part.seconds, part.level_db)
        return replace(found, duration_s=clip.seconds)

    async def prepare(self) -> None:
        """Load the encoder, and learn the enrolled owner's voice. Raises EngineError, EngineUnavailable, Overloaded."""
        async with self._enrolling:
            await self._enrol()
            if self._sample is None:
                await self._encoder.embed([np.zeros(RATE_HZ, np.float32)])

    async def _enrol(self) -> None:
        if self._sample is not None and self._owner.vector is None:
            clip = await decode(await asyncio.to_thread(self._sample.read_bytes), max_seconds=LONGEST_S)
            speech = spoken(clip.at(RATE_HZ).samples)[0][: int(SAMPLE_S * RATE_HZ)]
            vectors = await self._encoder.embed([speech])
            self._owner.learn(vectors[0], len(speech) / RATE_HZ)
            self._owner.enrolled = True

    async def _owners_part(self, clip: Clip) -> Part | None:
        speech, places = spoken(clip.samples)
        seconds, owner = len(speech) / RATE_HZ, self._owner.vector
        if owner is None:
            if seconds < OWNER_S:
                return Part(clip)
            return Part(clip, (await self._encoder.embed([speech]))[0], seconds, level(speech))
        if seconds < SHORTEST_S:
            return None
        size, starts = int(SLICE_S * RATE_HZ), slices(len(speech))
        parts = [speech[start : start + size] for start in starts]
        likeness = (vectors := await self._encoder.embed(parts)) @ owner
        caution = self._owner.caution(np.array([level(part) for part in parts]))
        found = owned(likeness, caution, min(seconds, SLICE_S))
        if found is not None and not self._owner.is_quieter(level(speech)):
            self._owner.is_near()
        elif self._learns and seconds >= OWNER_S:
            louder = owned(likeness, np.full_like(caution, self._owner.known_caution), min(seconds, SLICE_S))
            if self._owner.has_moved(clip.samples[: int(OWNER_S * RATE_HZ)], louder == (0, len(starts) - 1)):
                found = louder
        if found is None:
            likely = np.interp(seconds, LENGTHS_S, LIKELY) + caution[0]
            if seconds < SHORT_S and likeness[0] >= likely:
                return Part(clip, only_commands=not self._expects)
            return Part(clip) if self._expects else None
        first, last = found
        start = 0 if first == 0 else places[starts[first] // FRAME]
        end = len(clip.samples)
        if last < len(starts) - 1:
            end = places[(starts[last] + size) // FRAME - 1] + FRAME
        own = Clip(clip.samples[start:end], RATE_HZ)
        whole = len(starts) == last - first + 1 and seconds >= OWNER_S
        return Part(own, vectors.mean(axis=0), seconds, level(speech)) if whole else Part(own)


def owned(likeness: Vectors, caution: Vectors, seconds: float) -> tuple[int, int] | None:
    """Return the first and the last slice of the owner; None without the owner. likeness: cosine of each slice.
    caution: how much more it must be than usual. seconds: length of a slice.

    A slice is surely the owner's only beside one that is likely so. The owner's speech extends from there until another
    voice begins.
    """
    sure, likely = (likeness - caution >= np.interp(seconds, LENGTHS_S, least) for least in (SURE, LIKELY))
    if len(likeness) > 1:
        sure &= np.append(likely[1:], False) | np.append(False, likely[:-1])
    if not sure.any():
        return None
    first, last = int(np.argmax(sure)), len(sure) - 1 - int(np.argmax(sure[::-1]))
    while first > 0 and likeness[first - 1] >= OTHER:
        first -= 1
    while last < len(sure) - 1 and likeness[last + 1] >= OTHER:
        last += 1
    return first, last


def slices(length: int) -> list[int]:
    """Return the starts of the slices of this many samples of speech, in steps of at most STEP_S. All are whole: a
    shorter one would tell a voice less surely."""
    size, step = int(SLICE_S * RATE_HZ), int(STEP_S * RATE_HZ)
    steps = max(1, -(-(length - size) // step))
    return [(length - size) * number // steps for number in range(steps + 1)] if length > size else [0]


def level(speech: Samples) -> float:
    """Return the level of speech without pauses in dBFS."""
    return float(10 * np.log10(np.square(speech).mean() + 1e-12))


def spoken(samples: Samples) -> tuple[Samples, Sequence[int]]:
    """Return the sound without pauses, and the start in `samples` of each of its frames of FRAME samples."""
    whole = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    if not len(whole):
        return np.zeros(0, np.float32), []
    level = 10 * np.log10(np.square(whole).mean(axis=1) + 1e-12)
    loud = level > np.percentile(level, 95) - QUIET_DB
    return whole[loud].reshape(-1), [int(place) for place in np.flatnonzero(loud) * FRAME]

"""The voices of a transcript's speakers: samples of their speech from the recording, compared with known voices."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from pipeline.audio.clip import Samples
from pipeline.audio.decode import RATE_HZ, Recording
from pipeline.stt import Segment
from pipeline.support.threads import in_threads
from pipeline.transcripts.speakers.clustering import Matrix

ENOUGH_S = 20.0
"""Seconds of speech that are compared of each speaker, the first ones of the recording."""
SHORTEST_S = 0.5
"""Shorter segments are left out: other voices and pauses are a large part of them."""
LEAST_S = 3.0
"""A speaker with less speech in such segments has no voice that can be compared."""

Span = tuple[float, float]
"""Start and end of speech in a recording, in seconds."""


@dataclass(frozen=True, slots=True)
class Match:
    """A speaker whose voice is like a known one."""

    speaker: str
    known: int
    """Index of the known voice."""
    likeness: float
    """Cosine of both voices, up to 1."""


def spans_of(segments: Sequence[Segment], speakers: Sequence[str]) -> dict[str, list[Span]]:
    """Return the speech to compare of each of these speakers who has enough of it."""
    found: dict[str, list[Span]] = {speaker: [] for speaker in speakers}
    seconds = dict.fromkeys(speakers, 0.0)
    for segment in segments:
        speaker = segment.speaker
        lasts_s = segment.end_s - segment.start_s
        if speaker is None or speaker not in found or lasts_s < SHORTEST_S or seconds[speaker] >= ENOUGH_S:
            continue
        used_s = min(lasts_s, ENOUGH_S - seconds[speaker])
        found[speaker].append((segment.start_s, segment.start_s + used_s))
        seconds[speaker] += used_s
    return {speaker: spans for speaker, spans in found.items() if seconds[speaker] >= LEAST_S}


async def samples_of(recording: Recording, wanted: Mapping[str, Sequence[Span]]) -> dict[str, Samples]:
    """Return the sound of these spans at 16 kHz, joined for each speaker. Reads the recording as far as needed; raises
    what `Recording.blocks` raises."""
    found: dict[str, list[Samples]] = {speaker: [] for speaker in wanted}
    async with aclosing(in_threads(_cut(recording, wanted), recording.stop)) as parts:
        async for speaker, samples in parts:
            found[speaker].append(samples)
    return {speaker: np.concatenate(parts) for speaker, parts in found.items() if parts}


def _cut(recording: Recording, wanted: Mapping[str, Sequence[Span]]) -> Generator[tuple[str, Samples], None, None]:
    """Yield the parts of each block that belong to a speaker. Blocks."""
    spans = sorted((int(start * RATE_HZ), int(end * RATE_HZ), who) for who, of in wanted.items() for start, end in of)
    last = max((end for _, end, _ in spans), default=0)
    at = 0
    for block in recording.blocks():
        end = at + len(block)
        for start, stop, who in spans:
            if start >= end:
                break
            if stop > at:
                yield who, block[max(0, start - at) : stop - at]
        at = end
        if at >= last:
            return


def matches(found: Mapping[str, Matrix], known: Sequence[Matrix], least: float) -> list[Match]:
    """Return who is like which known voice: the most similar pairs first, each speaker and each voice once.

    found, known: unit vectors. least: cosine from which a voice counts as a known one.
    """
    pairs = [
        Match(speaker, index, float(vector @ other))
        for speaker, vector in found.items()
        for index, other in enumerate(known)
    ]
    chosen: list[Match] = []
    for pair in sorted(pairs, key=lambda one: -one.likeness):
        taken = any(pair.speaker == one.speaker or pair.known == one.known for one in chosen)
        if pair.likeness >= least and not taken:
            chosen.append(pair)
    return chosen

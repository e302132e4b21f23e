"""The outline of a recording, as a player draws it."""

from collections.abc import Generator
from contextlib import aclosing

import numpy as np

from pipeline.audio.clip import Samples
from pipeline.audio.decode import Recording
from pipeline.support.threads import in_threads

STEP = 1_600
"""Samples at 16 kHz of which the loudest one is kept at first: a recording of a day has 864,000 steps."""


async def waveform(recording: Recording, most: int) -> list[int]:
    """Return the loudest samples of up to `most` equal parts of a recording, from 0 to 100 for the loudest of all.
    Raises what `Recording.blocks` raises."""
    parts: list[Samples] = []
    async with aclosing(in_threads(_peaks(recording), recording.stop)) as found:
        async for part in found:
            parts.append(part)
    return _scaled(np.concatenate(parts), most)


def _peaks(recording: Recording) -> Generator[Samples, None, None]:
    """Yield the loudest sample of each step. Blocks."""
    rest = np.zeros(0, np.float32)
    for block in recording.blocks():
        samples = np.concatenate([rest, np.abs(block)])
        whole = len(samples) // STEP * STEP
        rest = samples[whole:]
        yield samples[:whole].reshape(-1, STEP).max(axis=1, initial=0.0)
    if len(rest):
        yield rest.max(keepdims=True)


def _scaled(peaks: Samples, most: int) -> list[int]:
    edges = np.linspace(0, len(peaks), min(most, len(peaks)) + 1).astype(int)[:-1]
    loudest = np.maximum.reduceat(peaks, edges)
    shown: list[int] = np.rint(100 * loudest / max(float(loudest.max()), 1e-9)).astype(int).tolist()
    return shown

"""Resampling of live sound with a delay of some 2 ms.

soxr's stream computes in large blocks: at 8 kHz it keeps up to 115 ms back, and then returns them at once, which delays
what a telephone says and hears.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pipeline.audio.clip import Samples

CROSSINGS = 16
"""Zero crossings of the sinc on each side: the delay in samples, at the lower one of the rates."""
CUTOFF = 0.92
"""End of the pass band, as a share of the lower rate's Nyquist frequency."""
BETA = 8.0
"""Shape of the Kaiser window: side lobes below -80 dB."""


class StreamResampler:
    """Converts a stream of chunks to another rate, by a windowed sinc for each position between two input samples."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        common = math.gcd(from_hz, to_hz)
        self._up, self._down = to_hz // common, from_hz // common
        self._table = _filters(self._up, self._down)
        self._half = self._table.shape[1] // 2
        self._sound = np.zeros(self._half - 1, np.float32)
        """Input that is still needed."""
        self._next = 0
        """Position of the next output, in 1/up samples of `_sound`."""

    def take(self, samples: Samples) -> Samples:
        """Return the next output."""
        self._sound = np.concatenate([self._sound, samples])
        last = len(self._sound) - 2 * self._half
        count = max(0, ((last + 1) * self._up - 1 - self._next) // self._down + 1)
        if not count:
            return np.zeros(0, np.float32)
        positions = self._next + np.arange(count) * self._down
        windows = sliding_window_view(self._sound, 2 * self._half)[positions // self._up]
        out: Samples = np.einsum("ij,ij->i", windows, self._table[positions % self._up])
        self._next += count * self._down
        done = min(self._next // self._up, len(self._sound))
        self._sound, self._next = self._sound[done:], self._next - done * self._up
        return out

    def end(self) -> Samples:
        """Return the rest, after which the stream is over."""
        return self.take(np.zeros(self._half, np.float32))


@lru_cache(maxsize=32)
def _filters(up: int, down: int) -> Samples:
    """Return the filter for each position between two input samples: shape (up, taps), with an even number of taps."""
    stretch = max(1.0, down / up)
    half = math.ceil(CROSSINGS * stretch)
    distance = (np.arange(1 - half, half + 1) - np.arange(up)[:, np.newaxis] / up) / stretch
    inside = np.sqrt(np.clip(1 - (distance / CROSSINGS) ** 2, 0, None))
    table = np.sinc(distance * CUTOFF) * np.i0(BETA * inside)
    filters: Samples = (table / table.sum(axis=1, keepdims=True)).astype(np.float32)
    return filters

"""Resampling of live sound with a delay of some 2 ms.

soxr's stream computes in large blocks: at 8 kHz it keeps up to 115 ms back, and then returns them at once, which delays
what a client says and hears.
"""

import math
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt

from pipeline.audio.clip import Clip, Samples

CROSSINGS = 16
"""Zero crossings of the sinc on each side: the delay in samples, at the lower one of the rates."""
CUTOFF = 0.92
"""End of the pass band, as a share of the lower rate's Nyquist frequency."""
BETA = 8.0
"""Shape of the Kaiser window: side lobes below -80 dB."""
FINENESS = 1024
"""Points of the kernel between two zero crossings; linear interpolation between them is exact to -110 dB."""
MAX_TABLE = 2**16
"""Maximum number of coefficients in a table with a filter for each position; for a ratio that needs more, filters are
interpolated (a client chooses its rate)."""
PHASES = 128
"""Filters between two input samples that are interpolated: exact to -80 dB."""
MAX_STRIDES = 8
"""Maximum number of filters that are applied one after the other: 2 to 8 times as fast for the usual rates."""
BLOCK = 4096
"""Samples converted at a time, which bounds the memory."""


class StreamResampler:
    """Converts a stream of chunks to another rate, by a windowed sinc for each position between two input samples."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        common = math.gcd(from_hz, to_hz)
        self._up, self._down = to_hz // common, from_hz // common
        self._filters = _filters(self._up, self._down)
        self._half = self._filters.shape[1] // 2
        self._sound = np.zeros(self._half - 1, np.float32)
        """Input that is still needed."""
        self._next = 0
        """Position of the next output, in 1/up samples of `_sound`."""

    def take(self, samples: Samples) -> Samples:
        """Return the next output."""
        if len(samples) <= BLOCK:
            return self._taken(samples)
        return np.concatenate([self._taken(samples[at : at + BLOCK]) for at in range(0, len(samples), BLOCK)])

    def end(self) -> Samples:
        """Return the rest, after which the stream is over."""
        return self.take(np.zeros(self._half, np.float32))

    def _taken(self, samples: Samples) -> Samples:
        self._sound = np.concatenate([self._sound, samples])
        last = len(self._sound) - 2 * self._half
        count = max(0, ((last + 1) * self._up - 1 - self._next) // self._down + 1)
        if not count:
            return np.zeros(0, np.float32)
        windows = np.ndarray((last + 1, 2 * self._half), np.float32, self._sound, strides=(4, 4))
        out = self._by_filter(windows, count) if self._up <= MAX_STRIDES else self._by_position(windows, count)
        self._next += count * self._down
        done = min(self._next // self._up, len(self._sound))
        self._sound, self._next = self._sound[done:], self._next - done * self._up
        return out

    def _by_filter(self, windows: Samples, count: int) -> Samples:
        """Return the next outputs: those of one filter from equally spaced windows, which need no copy."""
        out = np.empty(count, np.float32)
        for first in range(min(self._up, count)):
            at, position = divmod(self._next + first * self._down, self._up)
            with_filter = out[first :: self._up]
            np.einsum(
                "ij,j->i", windows[at :: self._down][: len(with_filter)], self._filters[position], out=with_filter
            )
        return out

    def _by_position(self, windows: Samples, count: int) -> Samples:
        """Return the next outputs, each with a copy of its window and of its filter."""
        positions = self._next + np.arange(count) * self._down
        out: Samples = np.einsum("ij,ij->i", windows[positions // self._up], self._between(positions % self._up))
        return out

    def _between(self, positions: npt.NDArray[np.int64]) -> Samples:
        """Return the filters for these positions between two samples, in 1/up samples."""
        phases = len(self._filters) - 1
        if phases == self._up:
            return self._filters[positions]
        rows, rest = np.divmod(positions * phases, self._up)
        share = (rest / self._up).astype(np.float32)[:, np.newaxis]
        between: Samples = self._filters[rows] * (1 - share) + self._filters[rows + 1] * share
        return between


class RateConverter:
    """Converts a stream of clips, whose rate can change, to one rate."""

    def __init__(self, rate_hz: int) -> None:
        """rate_hz: rate of the output."""
        self._rate_hz = rate_hz
        self._from_hz = 0
        self._stream: StreamResampler | None = None

    def take(self, clip: Clip) -> Samples:
        """Return the next samples; some 2 ms are kept back until `end`."""
        before = np.zeros(0, np.float32)
        if clip.rate_hz != self._from_hz:
            before = self.end()
            self._from_hz = clip.rate_hz
            self._stream = StreamResampler(clip.rate_hz, self._rate_hz) if clip.rate_hz != self._rate_hz else None
        samples = clip.samples if self._stream is None else self._stream.take(clip.samples)
        return np.concatenate([before, samples]) if len(before) else samples

    def end(self) -> Samples:
        """Return what was kept back, and begin another stream."""
        rest = np.zeros(0, np.float32) if self._stream is None else self._stream.end()
        self._stream, self._from_hz = None, 0
        return rest


@lru_cache(maxsize=32)
def _filters(up: int, down: int) -> Samples:
    """Return filters for equally spaced positions from one input sample to the next: shape (positions, taps), with an
    even number of taps."""
    stretch = max(1.0, down / up)
    half = math.ceil(CROSSINGS * stretch)
    phases = up if up * 2 * half <= MAX_TABLE else PHASES
    distance = np.abs(np.arange(1 - half, half + 1) - np.arange(phases + 1)[:, np.newaxis] / phases) / stretch
    at, share = np.divmod(np.minimum(distance, CROSSINGS) * FINENESS, 1)
    kernel, index = _kernel(), at.astype(np.int64)
    table = kernel[index] * (1 - share) + kernel[index + 1] * share
    filters: Samples = (table / table.sum(axis=1, keepdims=True)).astype(np.float32)
    return filters


@cache
def _kernel() -> npt.NDArray[np.float64]:
    """Return the windowed sinc from its middle to its end, and one point after it."""
    distance = np.minimum(np.arange(CROSSINGS * FINENESS + 2) / FINENESS, CROSSINGS)
    window = np.i0(BETA * np.sqrt(1 - (distance / CROSSINGS) ** 2))
    kernel: npt.NDArray[np.float64] = np.sinc(distance * CUTOFF) * window
    return kernel

"""Mixing of channels into one: removes NaN and infinite samples and offsets, and keeps sound that would cancel out."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import soxr

from pipeline.audio.clip import Samples
from pipeline.audio.stream_resampler import StreamResampler

Frames = npt.NDArray[np.float32]
"""Shape (n, channels)."""

BLOCK_S = 0.25
"""Minimum length of the blocks that are mixed, in seconds."""
PIECE_S = 0.05
"""Length of the chunks for which the mixer decides whether the channels cancel, in seconds."""
CANCELS, MIXES = 0.1, 0.3
"""Energy of the mix, relative to the mix of uncorrelated channels. Below the first value one channel is used, above the
second the mix again. Opposite channels have 0, equal ones the number of channels."""
MEMORY = 0.05
"""Weight of the earlier energies in the energies that decide for a chunk, so that a pause decides nothing."""
FADE_S = 0.01
"""Length of the fade from one choice to the next."""
OFFSET_S = 1.0
"""Time constant of the mean that counts as the offset, in seconds."""
DEAD = 0.004
"""An offset up to this (-48 dB) is kept: it does no harm, and speech has it for moments."""

_WEIGHTS = {"FC": 1.0, "FL": math.sqrt(0.5), "FR": math.sqrt(0.5), "LFE": 0.0, "LFE2": 0.0}
"""Weights of the channels of a surround layout in the mix, by FFmpeg's names; others have 0.5 (ITU-R BS.775)."""


def weights_of(names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Weight of each channel in the mix; the sum is 1. names: FFmpeg's, such as FL; empty for an unknown layout."""
    plain = [_WEIGHTS.get(name, 0.5) for name in names]
    if len(plain) <= 2 or not sum(plain) or "" in names:
        plain = [1.0] * len(names)
    return (np.array(plain) / sum(plain)).astype(np.float32)


class Mono:
    """Converts sound whose rate and channels can change at any moment to one channel at one rate."""

    def __init__(self, wanted_hz: int, *, block_s: float = BLOCK_S, live: bool = False) -> None:
        """wanted_hz: output rate. block_s: frames are collected for this many seconds before they are mixed. live: do
        not delay the sound: one channel is not collected, and resampled by more work (see `stream_resampler`)."""
        self._wanted_hz = wanted_hz
        self._block_s, self._live = block_s, live
        self._offset = Offset(wanted_hz)
        self._part: _Part | None = None

    def feed(self, rate_hz: int, names: tuple[str, ...], frames: Frames) -> Iterator[Samples]:
        """names: channel names, see `weights_of`. frames: shape (n, channels), in [-1, 1]."""
        part = self._part
        if part is None or (part.rate_hz, part.names) != (rate_hz, names):
            if part is not None:
                yield self._offset.without(part.mixed(last=True))
            part = self._part = _Part(rate_hz, names, self._wanted_hz, live=self._live)
        part.add(frames)
        if part.held >= rate_hz * self._block_s or (self._live and len(names) == 1):
            yield self._offset.without(part.mixed())

    def finish(self) -> Samples:
        """Return the remaining samples."""
        return np.zeros(0, np.float32) if self._part is None else self._offset.without(self._part.mixed(last=True))


class _Part:
    """A stretch with one rate and layout."""

    def __init__(self, rate_hz: int, names: tuple[str, ...], wanted_hz: int, *, live: bool) -> None:
        self.rate_hz, self.names = rate_hz, names
        self.held = 0
        """Number of frames that wait to be mixed."""
        self._mixer = Mixer(rate_hz, weights_of(names))
        self._resampler: StreamResampler | soxr.ResampleStream | None = None
        if rate_hz != wanted_hz:
            kind = StreamResampler if live else _soxr_stream
            self._resampler = kind(rate_hz, wanted_hz)
        self._waiting: list[Frames] = []

    def add(self, frames: Frames) -> None:
        self._waiting.append(frames)
        self.held += len(frames)

    def mixed(self, last: bool = False) -> Samples:
        """Mix the waiting frames. last: also return what the resampler still holds."""
        waiting = self._waiting or [np.zeros((0, len(self.names)), np.float32)]
        mixed = self._mixer.mix(np.concatenate(waiting) if len(waiting) > 1 else waiting[0])
        self._waiting, self.held = [], 0
        if self._resampler is None:
            return mixed
        if isinstance(self._resampler, StreamResampler):
            mixed = self._resampler.take(mixed)
            return np.concatenate([mixed, self._resampler.end()]) if last else mixed
        return np.asarray(self._resampler.resample_chunk(mixed, last=last), np.float32)


def _soxr_stream(from_hz: int, to_hz: int) -> soxr.ResampleStream:
    return soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32")


class Mixer:
    """Mixes blocks of one layout to blocks of one channel."""

    def __init__(self, rate_hz: int, weights: npt.NDArray[np.float32]) -> None:
        """weights: one for each channel; see `weights_of`."""
        self._piece = max(1, int(rate_hz * PIECE_S))
        self._fade = np.float32(rate_hz * FADE_S)
        self._weights = weights
        self._energies = np.zeros(len(weights))
        self._mixed = 0.0
        self._one = False
        self._begun = False
        self._used = weights
        """Weights at the end of the last chunk."""

    def mix(self, frames: Frames) -> Samples:
        """Return one channel of the same length. frames: in [-1, 1]."""
        if len(self._weights) == 1:
            return frames[:, 0]
        if (mixed := self._plain(frames)) is not None:
            return mixed
        pieces = [self._mix(frames[start : start + self._piece]) for start in range(0, len(frames), self._piece)]
        return np.concatenate(pieces or [np.zeros(0, np.float32)])

    def _plain(self, frames: Frames) -> Samples | None:
        """Mix a whole block in one step, if its channels cancel nowhere (which is usual); None: mix it chunk by
        chunk."""
        count = len(frames) // self._piece
        if self._used is not self._weights or count * self._piece != len(frames) or not count:
            return None
        mixed: Samples = frames @ self._weights
        apart = np.ascontiguousarray(frames.T).reshape(len(self._weights), count, self._piece)
        energies = np.einsum("cpn,cpn->pc", apart, apart) / self._piece
        together = np.einsum("pn,pn->p", *2 * [mixed.reshape(count, self._piece)]) / self._piece
        if np.any(together < MIXES * (energies @ self._weights**2)):
            return None
        self._begun, self._energies, self._mixed = True, energies[-1], float(together[-1])
        return mixed

    def _mix(self, frames: Frames) -> Samples:
        mixed: Samples = frames @ self._weights
        common = (frames.T @ frames) / len(frames)
        self._energies = MEMORY * self._energies + common.diagonal()
        self._mixed = MEMORY * self._mixed + float(self._weights @ common @ self._weights)
        alone = float(self._energies @ self._weights**2)
        first, self._begun = not self._begun, True
        if alone > 0:
            self._one = self._mixed < (MIXES if self._one else CANCELS) * alone
        if not self._one and self._used is self._weights:
            return mixed
        wanted = self._weights
        if self._one:
            wanted = np.zeros_like(self._weights)
            # The channel in use stays, unless another one is clearly louder.
            loudness = self._energies * (1 + (self._used == 1.0))
            wanted[int(np.argmax(loudness))] = 1.0
        before, self._used = self._used, wanted
        if first or not np.any(before - wanted):
            return frames @ wanted
        share = np.minimum(np.arange(1, len(frames) + 1, dtype=np.float32) / self._fade, 1)
        faded: Samples = (frames @ before) * (1 - share) + (frames @ wanted) * share
        return faded


class Offset:
    """Removes a constant offset from a stream of samples. Samples without an offset pass unchanged."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._heard_s = 0.0
        self._mean = 0.0
        self._used = 0.0

    def without(self, samples: Samples) -> Samples:
        """Return the samples without the offset, shape (n,). Blocks can have any length; each updates the mean once."""
        if not len(samples):
            return samples
        seconds = len(samples) / self._rate_hz
        first, self._heard_s = not self._heard_s, self._heard_s + seconds
        # The mean of all samples at the beginning, then that of about the last OFFSET_S seconds.
        share = max(seconds / self._heard_s, 1 - math.exp(-seconds / OFFSET_S))
        self._mean += share * (float(samples.sum()) / len(samples) - self._mean)
        wanted = math.copysign(max(0.0, abs(self._mean) - DEAD), self._mean)
        before, self._used = self._used, wanted
        if first:
            before = wanted
        if not before and not wanted:
            return samples
        return samples - np.linspace(before, wanted, len(samples), dtype=np.float32)


def make_finite(values: npt.NDArray[np.float32]) -> None:
    """Replace NaN and infinite samples by silence, and clip the rest to [-1, 1]. In place."""
    if not (good := np.isfinite(values)).all():
        values[~good] = 0
    np.clip(values, -1.0, 1.0, out=values)

"""Detect speech and silence in frames: hysteresis on the VAD's probabilities, counted in samples of one clock."""

from collections.abc import Sequence
from functools import cache
from typing import Protocol, runtime_checkable

import numpy as np

from pipeline.audio.clip import Samples
from pipeline.listening.silero import CONTEXT, STATE, Silero

RATE_HZ = 16_000
FRAME = 512
"""Samples of a VAD frame (32 ms), as Silero v5 and later need at 16 kHz."""
HYSTERESIS = 0.15
"""Speech continues until the probability falls this far below the threshold (Silero's own `neg_threshold`), or to half
of a low threshold: speech would never end below zero."""
CLICK_FRAMES = 1
"""A run of at most this many frames of speech between silence is a click and is ignored."""

NOISE_DB, NOISE_FROM_HZ = -60.0, 3_800
"""Level of the noise of `FullBand` in dBFS, and its lowest frequency."""
NOISE_FRAMES = 64
"""Frames of noise after which it repeats."""


class VoiceActivity(Protocol):
    """Returns the speech probability of the next frame; keeps its state between frames, one object per session."""

    def probability(self, frame: Samples) -> float:
        """Return the probability from 0 to 1. frame: float32, shape (512,), 16 kHz."""
        ...

    def reset(self) -> None:
        """Reset the state."""
        ...


@runtime_checkable
class ManyFrames(Protocol):
    """A voice activity detector that processes many frames in one call at a lower cost."""

    def probabilities(self, frames: Samples) -> Sequence[float]:
        """Return the same values as `probability` for each frame. frames: shape (n, 512), consecutive."""
        ...


def probabilities(activity: VoiceActivity, frames: Samples) -> Sequence[float]:
    """Return the speech probabilities of consecutive frames, shape (n, 512)."""
    if isinstance(activity, ManyFrames):
        return activity.probabilities(frames)
    return [activity.probability(frame) for frame in frames]


class SpeechDetector:
    """Tracks the start and end of speech, on the clock of samples fed so far."""

    def __init__(self, activity: VoiceActivity, threshold: float) -> None:
        self._activity = activity
        self.threshold = threshold
        """Speech probability above which a frame is speech; can be changed at any time."""
        self.now = 0
        """Number of samples fed so far."""
        self.speaking = False
        """Whether the newest frame is speech."""
        self.began = 0
        """First sample of the current (or last) run of speech."""
        self.last_speech = 0
        """End of the last speech except clicks, in samples; it ended somewhere in its frame, so the middle is used."""

    @property
    def run_ms(self) -> float:
        """Length of the current run of speech in ms; 0 in silence."""
        return (self.now - self.began) * 1000 / RATE_HZ if self.speaking else 0.0

    @property
    def silence_ms(self) -> float:
        """Time since the last speech, in ms."""
        return (self.now - self.last_speech) * 1000 / RATE_HZ

    def feed(self, frame: Samples, probability: float | None = None) -> None:
        """Process one frame of FRAME samples. probability: its speech probability, if already known."""
        probability = self._activity.probability(frame) if probability is None else probability
        start, self.now = self.now, self.now + len(frame)
        if not self.speaking and probability >= self.threshold:
            self.speaking, self.began = True, start
        elif self.speaking and probability < max(self.threshold - HYSTERESIS, self.threshold / 2):
            self.speaking = False
        if self.speaking and self.now - self.began > CLICK_FRAMES * FRAME:
            self.last_speech = self.now - FRAME // 2

    def cut(self) -> None:
        """Start a new run of speech here if the user is speaking."""
        self.began = self.now if self.speaking else self.began

    def skip(self, samples: int) -> None:
        """Advance the clock by samples that are ignored; speech before them has ended."""
        self.now += samples
        self.speaking = False
        self._activity.reset()


class SileroActivity:
    """Silero VAD v6 (`silero`): shared weights, own state (the LSTM's, and CONTEXT samples).

    Some 60 µs per frame: cheap enough to run on the event loop.
    """

    def __init__(self) -> None:
        self._network = _network()
        self.reset()

    def reset(self) -> None:
        self._hidden, self._cell = np.zeros((2, STATE), np.float32)
        self._before = np.zeros((1, CONTEXT), np.float32)

    def probability(self, frame: Samples) -> float:
        return self.probabilities(frame[None])[0]

    def probabilities(self, frames: Samples) -> Sequence[float]:
        """See `ManyFrames`. Returns the values of single calls, up to rounding, in half of the time."""
        if not len(frames):
            return []
        before = np.concatenate([self._before, frames[:-1, -CONTEXT:]])
        self._before = frames[-1:, -CONTEXT:]
        inputs = np.concatenate([before, frames], axis=1)
        found, self._hidden, self._cell = self._network.run(inputs, self._hidden, self._cell)
        return found


_network = cache(Silero)


class FullBand:
    """Passes sound of a lower rate on to a voice activity detector, with soft noise in the band that it lacks.

    Silero's training has sound there. Without it the start of speech is found later (at p95 of 124 starts 242 instead
    of 176 ms; 186 ms at 16 kHz), and speech has gaps.
    """

    def __init__(self, activity: VoiceActivity) -> None:
        self._activity, self._frames = activity, 0

    def reset(self) -> None:
        """See `VoiceActivity`."""
        self._activity.reset()

    def probability(self, frame: Samples) -> float:
        """See `VoiceActivity`."""
        self._frames += 1
        return self._activity.probability(frame + _noise()[self._frames % NOISE_FRAMES])


@cache
def _noise() -> Samples:
    """Return noise of NOISE_DB above NOISE_FROM_HZ, shape (NOISE_FRAMES, FRAME): the same each time."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(NOISE_FRAMES * FRAME))
    spectrum[: len(spectrum) * 2 * NOISE_FROM_HZ // RATE_HZ] = 0
    noise = np.fft.irfft(spectrum)
    level = 10 ** (NOISE_DB / 20) / np.sqrt(np.square(noise).mean())
    frames: Samples = (level * noise).astype(np.float32).reshape(NOISE_FRAMES, FRAME)
    return frames

"""Detect speech and silence in frames: hysteresis on the VAD's probabilities, counted in samples of one clock."""

from collections.abc import Sequence
from functools import cache
from typing import Protocol, runtime_checkable

import numpy as np

from pipeline.audio.clip import Samples

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
    """Silero VAD v6, the ONNX model inside faster-whisper: shared weights, own state (LSTM and 64 samples of context).

    Some 60 to 90 µs per frame: cheap enough to run on the event loop.
    """

    def __init__(self) -> None:
        from faster_whisper.vad import get_vad_model  # 0.2 s, once per process

        self._session = get_vad_model().session
        self.reset()

    def reset(self) -> None:
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)
        self._input = np.zeros((1, 64 + FRAME), np.float32)
        """The last 64 samples, and room for a frame: used again, because most calls have one frame."""

    def probability(self, frame: Samples) -> float:
        self._input[0, 64:] = frame
        return self._run(self._input)[0]

    def probabilities(self, frames: Samples) -> Sequence[float]:
        """See `ManyFrames`. Returns exactly the values of single calls, in two thirds of the time, without other
        threads in the interpreter in between."""
        if not len(frames):
            return []
        before = np.concatenate([self._input[:, :64], frames[:-1, -64:]])
        return self._run(np.concatenate([before, frames], axis=1))

    def _run(self, inputs: Samples) -> list[float]:
        """Return the probabilities. inputs: the frames, each with the 64 samples before it."""
        found, self._h, self._c = self._session.run(None, {"input": inputs, "h": self._h, "c": self._c})
        self._input[0, :64] = inputs[-1, -64:]
        probabilities: list[float] = found.ravel().tolist()
        return probabilities


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

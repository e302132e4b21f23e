"""Frames into speech and silence: hysteresis over the VAD's probabilities, counted in samples of one clock."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from pipeline.audio import Samples

RATE_HZ = 16_000
FRAME = 512
"""Samples of a VAD frame (32 ms): what Silero v5 and later take at 16 kHz."""
HYSTERESIS = 0.15
"""Speech goes on until the probability falls this far below the threshold (Silero's own `neg_threshold`), or to half of
a low one: below zero it would never end."""
CLICK_FRAMES = 1
"""So few frames of speech with silence around them are a click and leave no trace."""


class VoiceActivity(Protocol):
    """Speech probability of the next frame; keeps what it needs between frames, one object a session."""

    def probability(self, frame: Samples) -> float:
        """frame: float32, shape (512,), 16 kHz. 0 to 1."""
        ...

    def reset(self) -> None:
        """Forget what was heard."""
        ...


@runtime_checkable
class ManyFrames(Protocol):
    """A voice activity detector that takes many frames at once for less."""

    def probabilities(self, frames: Samples) -> Sequence[float]:
        """frames: shape (n, 512), one after the other; the same as `probability` of each."""
        ...


def probabilities(activity: VoiceActivity, frames: Samples) -> Sequence[float]:
    """Of frames, shape (n, 512), one after the other."""
    if isinstance(activity, ManyFrames):
        return activity.probabilities(frames)
    return [activity.probability(frame) for frame in frames]


class SpeechDetector:
    """Where speech began and where it was last, on the clock of samples fed so far."""

    def __init__(self, activity: VoiceActivity, threshold: float) -> None:
        self._activity = activity
        self.threshold = threshold
        """Speech probability above which a frame is speech; may be changed at any time."""
        self.now = 0
        """Samples fed so far."""
        self.speaking = False
        """Whether the newest frame is speech."""
        self.began = 0
        """First sample of the current (or last) run of speech."""
        self.last_speech = 0
        """The last speech that was no click, in samples; it ended somewhere in its frame: the middle is the guess."""

    @property
    def run_ms(self) -> float:
        """Length of the current run of speech in ms; 0 in silence."""
        return (self.now - self.began) * 1000 / RATE_HZ if self.speaking else 0.0

    @property
    def silence_ms(self) -> float:
        """Since the last speech, in ms."""
        return (self.now - self.last_speech) * 1000 / RATE_HZ

    def feed(self, frame: Samples, probability: float | None = None) -> None:
        """Take one frame of FRAME samples. probability: that it is speech, where that is known already."""
        probability = self._activity.probability(frame) if probability is None else probability
        start, self.now = self.now, self.now + len(frame)
        if not self.speaking and probability >= self.threshold:
            self.speaking, self.began = True, start
        elif self.speaking and probability < max(self.threshold - HYSTERESIS, self.threshold / 2):
            self.speaking = False
        if self.speaking and self.now - self.began > CLICK_FRAMES * FRAME:
            self.last_speech = self.now - FRAME // 2

    def cut(self) -> None:
        """A run of speech that goes on from here is a new one."""
        self.began = self.now if self.speaking else self.began

    def skip(self, samples: int) -> None:
        """These were not listened to; the clock goes on, and speech before them is over."""
        self.now += samples
        self.speaking = False
        self._activity.reset()


class SileroActivity:
    """Silero VAD v6, the ONNX model inside faster-whisper: shared weights, own state (LSTM and 64 samples of context).

    Some 60 to 90 µs a frame: cheap enough to run on the event loop.
    """

    def __init__(self) -> None:
        from faster_whisper.vad import get_vad_model  # 0.2 s, once a process

        self._session = get_vad_model().session
        self.reset()

    def reset(self) -> None:
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros(64, np.float32)

    def probability(self, frame: Samples) -> float:
        return self.probabilities(frame[None])[0]

    def probabilities(self, frames: Samples) -> Sequence[float]:
        """See `ManyFrames`. Exactly what they have one by one, in two thirds of the time, and without others in the
        interpreter in between."""
        if not len(frames):
            return []
        before = np.concatenate([self._context[None], frames[:-1, -64:]])
        inputs = {"input": np.concatenate([before, frames], axis=1), "h": self._h, "c": self._c}
        found, self._h, self._c = self._session.run(None, inputs)
        self._context = frames[-1, -64:]
        return [float(one) for one in np.asarray(found).reshape(-1)]

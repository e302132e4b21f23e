"""Audio buffer of the current utterance and its pre-roll."""

from collections import deque

import numpy as np

from pipeline.audio.clip import Clip, Samples
from pipeline.listening.detector import RATE_HZ


class Utterance:
    """Frames on the session's clock of samples; only the newest are kept until `begin()`."""

    def __init__(self) -> None:
        self._frames: deque[Samples] = deque()
        self._start = 0
        self._end = 0
        self._pauses: list[tuple[int, int]] = []

    @property
    def start(self) -> int:
        """First sample in the buffer."""
        return self._start

    @property
    def seconds(self) -> float:
        return (self._end - self._start) / RATE_HZ

    def add(self, frame: Samples) -> None:
        """Append the next frame."""
        self._frames.append(frame)
        self._end += len(frame)

    def skip(self, samples: int) -> None:
        """Skip samples: neither they nor earlier audio are kept."""
        self._frames.clear()
        self._end += samples
        self._start = self._end

    def begin(self, sample: int) -> None:
        """Start the utterance at this sample and drop earlier audio."""
        self.keep_from(sample)
        self._pauses.clear()

    def keep_from(self, sample: int) -> None:
        """Drop whole frames before `sample` (the clock's start, if negative)."""
        while self._frames and self._start + len(self._frames[0]) <= sample:
            self._start += len(self._frames.popleft())
        self._pauses = [pause for pause in self._pauses if pause[0] >= self._start]

    def note_pause(self, start: int, end: int) -> None:
        """Record a silence inside the utterance."""
        self._pauses.append((start, end))

    def longest_pause(self) -> int:
        """Return the middle of the longest silence, in samples of the clock; the end if there was none."""
        if not self._pauses:
            return self._end
        start, end = max(self._pauses, key=lambda pause: pause[1] - pause[0])
        return (start + end) // 2

    def clip(self, until: int | None = None) -> Clip:
        """Return the audio in the buffer, up to the sample `until` of the clock."""
        samples = np.concatenate([*self._frames]) if self._frames else np.zeros(0, np.float32)
        return Clip(samples if until is None else samples[: max(0, until - self._start)], RATE_HZ)

"""The sound of the utterance being spoken, and always a little of what came before it."""

from collections import deque

import numpy as np

from pipeline.audio import Clip, Samples
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
        """First sample that is kept."""
        return self._start

    @property
    def seconds(self) -> float:
        return (self._end - self._start) / RATE_HZ

    def add(self, frame: Samples) -> None:
        """The next frame."""
        self._frames.append(frame)
        self._end += len(frame)

    def skip(self, samples: int) -> None:
        """These are not kept, nor is anything before them."""
        self._frames.clear()
        self._end += samples
        self._start = self._end

    def begin(self, sample: int) -> None:
        """The utterance begins here: forget what is before."""
        self.keep_from(sample)
        self._pauses.clear()

    def keep_from(self, sample: int) -> None:
        """Forget whole frames before `sample` (the clock's start, if negative)."""
        while self._frames and self._start + len(self._frames[0]) <= sample:
            self._start += len(self._frames.popleft())
        self._pauses = [pause for pause in self._pauses if pause[0] >= self._start]

    def note_pause(self, start: int, end: int) -> None:
        """A silence inside the utterance."""
        self._pauses.append((start, end))

    def longest_pause(self) -> int:
        """The middle of its longest silence, in samples of the clock; its end if there was none."""
        if not self._pauses:
            return self._end
        start, end = max(self._pauses, key=lambda pause: pause[1] - pause[0])
        return (start + end) // 2

    def clip(self, until: int | None = None) -> Clip:
        """The sound kept, up to the sample `until` of the clock."""
        samples = np.concatenate([*self._frames]) if self._frames else np.zeros(0, np.float32)
        return Clip(samples if until is None else samples[: max(0, until - self._start)], RATE_HZ)

"""A telephone for the tests: a user who speaks and hears in real time, 20 ms at a time, at 8 kHz."""

import asyncio
from abc import ABC, abstractmethod

import numpy as np

from pipeline.audio.clip import Clip, Samples
from tests.waiting import eventually

RATE_HZ = 8_000
FRAME = RATE_HZ // 50
FRAME_S = 0.02
LOUD = 0.02
"""Level above which a frame has sound."""


class Phone(ABC):
    """One call. `run` speaks and hears until the call is over."""

    def __init__(self) -> None:
        self.heard: list[Samples] = []
        """Sound that the user has heard, by frames."""
        self.frames = 0
        """Number of frames that were sent."""
        self.spoke_at: float | None = None
        """Time at which the first frame of the last `say` was sent."""
        self.over = asyncio.Event()
        """Set when the other side has ended the call."""
        self._to_say = np.zeros(0, np.float32)

    @abstractmethod
    async def send(self, samples: Samples) -> None:
        """Send a frame of the user's sound."""

    @abstractmethod
    async def tick(self) -> Samples:
        """Return the frame that the user hears now."""

    async def run(self) -> None:
        """Speak and hear, one frame each 20 ms."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while not self.over.is_set():
            await asyncio.sleep(max(0.0, begun + self.frames * FRAME_S - loop.time()))
            part, self._to_say = self._to_say[:FRAME], self._to_say[FRAME:]
            if len(part) and self.spoke_at is None:
                self.spoke_at = loop.time()
            try:
                await self.send(np.pad(part, (0, FRAME - len(part))))
                self.heard.append(await self.tick())
            except OSError:
                self.over.set()
            self.frames += 1

    def say(self, clip: Clip) -> None:
        """Speak a clip, from the next frame on."""
        self._to_say = np.concatenate([self._to_say, clip.at(RATE_HZ).samples])
        self.spoke_at = None

    @property
    def talking(self) -> bool:
        """Whether the user still speaks."""
        return bool(len(self._to_say))

    def sound(self, since: int = 0) -> Clip:
        """Return what the user has heard, from a frame on."""
        return Clip(np.concatenate(self.heard[since:] or [np.zeros(0, np.float32)]), RATE_HZ)

    def loud_s(self, since: int = 0) -> float:
        """Return the seconds in which the user has heard something."""
        return float(sum(len(frame) for frame in self.heard[since:] if np.abs(frame).max() > LOUD)) / RATE_HZ

    async def answered(self, since: int = 0, seconds: float = 30.0) -> None:
        """Wait until a reply was heard, and half a second of silence after it."""

        def silent() -> bool:
            return bool(self.loud_s(since) > 0.3 and len(self.heard) - since > 25 and not self.loud_s(-25))

        await eventually(silent, seconds)

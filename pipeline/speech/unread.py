"""Synthesized sound that its reader has not taken yet."""

import asyncio
from typing import Self

from pipeline.audio.clip import Clip
from pipeline.errors import Overloaded
from pipeline.support.room import Room, Unlimited

AHEAD_S = 10.0
"""Seconds of sound that are made ahead of the reader before the next clause waits for it. A clause takes up to 20 s to
speak, so a stream holds at most 30 s of sound, 3 MB, whatever its reader does."""
RETRY_S = 5.0


class Unread:
    """Counts the sound that waits for its reader, and lets the voice wait for the reader between two clauses: in the
    middle of a clause, a reader that stops would hold the voice, for which others wait."""

    def __init__(self, room: Room | None = None) -> None:
        """room: counts the bytes of the sound; None: they are not limited."""
        self._room = room or Unlimited()
        self._bytes, self._seconds = 0, 0.0
        self._little = asyncio.Event()
        self._little.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._room.give_back(self._bytes)
        self._bytes = 0

    def made(self, clip: Clip) -> None:
        """Count a clip that now waits. Raises Overloaded if the room has no space for it."""
        size = clip.samples.nbytes
        if not self._room.take(size):
            raise Overloaded("Too much speech waits for you to read it; retry soon.", retry_after_s=RETRY_S)
        self._change(size, clip.seconds)

    def taken(self, clip: Clip) -> None:
        """Note that the reader has taken a clip."""
        size = clip.samples.nbytes
        self._room.give_back(size)
        self._change(-size, -clip.seconds)

    async def little(self) -> None:
        """Wait until at most AHEAD_S wait for the reader."""
        await self._little.wait()

    def _change(self, size: int, seconds: float) -> None:
        self._bytes += size
        self._seconds += seconds
        if not self._bytes:
            self._seconds = 0.0
        if self._seconds <= AHEAD_S:
            self._little.set()
        else:
            self._little.clear()

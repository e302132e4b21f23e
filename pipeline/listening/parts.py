"""An utterance in several parts: it was too long to be transcribed at once, or its end was assumed too early."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from pipeline.audio import Clip
from pipeline.stt import Transcript
from pipeline.workers.scheduler import Urgency

MAX_PARTS = 30
"""An utterance that was cut so often ends, however it goes on."""


class Parts:
    """The transcripts of what was said before the part that is being spoken; they are made while the user goes on."""

    def __init__(
        self,
        transcribe: Callable[[Clip], Coroutine[Any, Any, Transcript]],
        start: Callable[[Coroutine[Any, Any, Transcript], Urgency], asyncio.Task[Transcript]],
    ) -> None:
        """start: makes a task of it that ends with the conversation."""
        self._transcribe, self._start = transcribe, start
        self._made: list[asyncio.Task[Transcript]] = []
        self._carried: list[asyncio.Task[Transcript]] = []

    def __len__(self) -> int:
        return len(self._made)

    @property
    def made(self) -> tuple[asyncio.Task[Transcript], ...]:
        """In their order."""
        return tuple(self._made)

    def begin(self) -> None:
        """Another utterance begins, or what was carried over goes on."""
        carried, self._carried = self._carried, []
        self.forget()
        self._made = carried

    def add(self, clip: Clip) -> None:
        """The next part. One at a time is transcribed: however fast it comes in, others find the recogniser free."""
        before = self._made[-1] if self._made else None
        self._made.append(self._start(self._transcribe_after(before, clip), Urgency.AHEAD))

    def carry_over(self, clip: Clip) -> None:
        """The utterance was taken for over, and is not: all that was said, this last, is part of the next one."""
        self._carried, self._made = [*self._made, self._start(self._transcribe(clip), Urgency.NOW)], []

    def take(self) -> tuple[asyncio.Task[Transcript], ...]:
        """They belong to somebody else now, and go on whatever happens here."""
        made, self._made = self.made, []
        return made

    def forget(self) -> None:
        """Nobody wants them any more."""
        made, self._made = [*self._made, *self._carried], []
        self._carried = []
        for part in made:
            part.cancel()

    async def _transcribe_after(self, before: asyncio.Task[Transcript] | None, clip: Clip) -> Transcript:
        if before is not None:
            await asyncio.wait([before])
        return await self._transcribe(clip)

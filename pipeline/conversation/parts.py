"""Utterances in several parts: too long to be transcribed at once, or continued after a premature endpoint."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from pipeline.audio.clip import Clip
from pipeline.stt import Transcript
from pipeline.workers.scheduler import Urgency

MAX_PARTS = 30
"""Limit of parts; the utterance ends at the next cut, even if the user continues."""


class Parts:
    """The transcripts of earlier parts of the current utterance, made while the user continues to speak."""

    def __init__(
        self,
        transcribe: Callable[[Clip], Coroutine[Any, Any, Transcript]],
        start: Callable[[Coroutine[Any, Any, Transcript], Urgency], asyncio.Task[Transcript]],
    ) -> None:
        """start: starts a task that ends with the conversation."""
        self._transcribe, self._start = transcribe, start
        self._made: list[asyncio.Task[Transcript]] = []
        self._carried: list[asyncio.Task[Transcript]] = []

    def __len__(self) -> int:
        return len(self._made)

    @property
    def made(self) -> tuple[asyncio.Task[Transcript], ...]:
        """The transcripts' tasks, in the order of the parts."""
        return tuple(self._made)

    def begin(self) -> None:
        """Start another utterance, or continue with the parts that were carried over."""
        carried, self._carried = self._carried, []
        self.forget()
        self._made = carried

    def add(self, clip: Clip) -> None:
        """Add the next part. One part at a time is transcribed: however fast parts arrive, the recogniser stays free
        for others."""
        before = self._made[-1] if self._made else None
        self._made.append(self._start(self._transcribe_after(before, clip), Urgency.AHEAD))

    def carry_over(self, clip: Clip) -> None:
        """Carry all parts, and this last one, over to the next utterance, because this one ended too early."""
        self._carried, self._made = [*self._made, self._start(self._transcribe(clip), Urgency.NOW)], []

    def take(self) -> tuple[asyncio.Task[Transcript], ...]:
        """Hand the transcripts to the caller; this object no longer cancels them."""
        made, self._made = self.made, []
        return made

    def forget(self) -> None:
        """Cancel all transcripts."""
        made, self._made = [*self._made, *self._carried], []
        self._carried = []
        for part in made:
            part.cancel()

    async def _transcribe_after(self, before: asyncio.Task[Transcript] | None, clip: Clip) -> Transcript:
        if before is not None:
            await asyncio.wait([before])
        return await self._transcribe(clip)

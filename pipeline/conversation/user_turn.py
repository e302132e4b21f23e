"""The current user turn: its audio, its place in the conversation, and its transcript so far."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from pipeline.audio.clip import Clip
from pipeline.conversation.history import item_id
from pipeline.conversation.partials import PartialTranscripts
from pipeline.conversation.reply_options import ReplyOptions
from pipeline.conversation.tasks import Tasks
from pipeline.listening.ear import Ear, milliseconds
from pipeline.stt import Transcript
from pipeline.workers.scheduler import Urgency

MAX_PARTS = 30
"""Limit of parts of one utterance; it ends at the next cut, even if the user continues."""


class UserTurn:
    """Tracks one utterance at a time, from its first sample to its end. Positions are samples received."""

    def __init__(
        self,
        ear: Ear,
        *,
        transcribe: Callable[[Clip], Coroutine[Any, Any, Transcript]],
        tasks: Tasks,
        show: Callable[[str], None],
    ) -> None:
        """show: receives the transcript so far, whenever it has grown."""
        self._ear, self._transcribe, self._tasks = ear, transcribe, tasks
        self._partials = PartialTranscripts(transcribe, show)
        self._began = 0
        self.parts: tuple[asyncio.Task[Transcript], ...] = ()
        """Transcripts of earlier parts, if it is too long to be transcribed at once, or continued after a premature
        endpoint."""
        self._carried: tuple[asyncio.Task[Transcript], ...] = ()
        """Parts of the next utterance."""
        self.item = ""
        """Id of the item that the utterance will get."""
        self.speculations = 0
        """Number of speculative replies prepared for it."""
        self.reply_options: ReplyOptions | None = None
        """How to reply to it; None: the conversation's reply_options."""

    def begin(self, at: int) -> None:
        """Start the next utterance at this sample."""
        self.item, self._began, self.speculations, self.reply_options = item_id(), at, 0, None
        carried, self._carried = self._carried, ()
        self.forget_parts()
        self.parts = carried
        self._partials.begin(at)
        self._ear.begin(at)

    @property
    def spoken(self) -> bool:
        """Whether it has speech: after the press of a push-to-talk key, the user may not have spoken yet."""
        return self._ear.detector.last_speech > self._began

    @property
    def spoke_until(self) -> int:
        """End of its last speech; its start if there was none."""
        return max(self._ear.detector.last_speech, self._began)

    @property
    def silence_ms(self) -> float:
        """Time since `spoke_until`, by all samples received."""
        return milliseconds(self._ear.received - self.spoke_until)

    @property
    def cuts_left(self) -> bool:
        """Whether it can continue in another part."""
        return len(self.parts) < MAX_PARTS

    def cut(self) -> None:
        """Cut off a part of a long utterance and transcribe it while the user continues. One part at a time is
        transcribed: however fast parts arrive, the recogniser stays free for others."""
        before = self.parts[-1] if self.parts else None
        part = self._tasks.start(self._transcribe_after(before, self._ear.cut()), Urgency.AHEAD)
        self.parts = (*self.parts, part)
        self._partials.go_on(self._ear.detector.now)

    def understand(self, every_ms: int) -> None:
        """Make a partial transcript, if one is due. every_ms: interval; 0: none."""
        now = self._ear.detector.now
        if self._partials.due(now, every_ms):
            self._tasks.keep(self._partials.make(self._ear.clip(), now))

    def guess(self, text: str) -> None:
        """Add a transcript of the whole utterance so far that was made for another purpose."""
        if not self.parts:
            self._partials.add(text)

    def take(self) -> tuple[Clip, Sequence[asyncio.Task[Transcript]]]:
        """End the utterance; hand its audio and the transcripts of its earlier parts to the caller."""
        self.pause()
        parts, self.parts = self.parts, ()
        return self._ear.clip(), parts

    def carry_over(self, clip: Clip) -> None:
        """Carry all parts, and this last one, over to the next utterance, because this one ended too early."""
        self._carried, self.parts = (*self.parts, self._tasks.start(self._transcribe(clip))), ()

    def forget_parts(self) -> None:
        """Cancel the transcripts of all parts."""
        for part in (*self.parts, *self._carried):
            part.cancel()
        self.parts = self._carried = ()

    def pause(self) -> None:
        """Stop partial transcripts at a pause or the end, to leave the recogniser free for the whole utterance."""
        self._partials.end()

    async def _transcribe_after(self, before: asyncio.Task[Transcript] | None, clip: Clip) -> Transcript:
        if before is not None:
            await asyncio.wait([before])
        return await self._transcribe(clip)

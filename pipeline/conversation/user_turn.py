"""The current user turn: its audio, its place in the conversation, and its transcript so far."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from pipeline.audio.clip import Clip
from pipeline.conversation.history import item_id
from pipeline.conversation.partials import PartialTranscripts
from pipeline.conversation.parts import MAX_PARTS, Parts
from pipeline.conversation.reply_options import ReplyOptions
from pipeline.conversation.tasks import Tasks
from pipeline.listening.ear import Ear, milliseconds
from pipeline.stt import Transcript


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
        self._ear, self._tasks = ear, tasks
        self._partials = PartialTranscripts(transcribe, show)
        self._began = 0
        self.parts = Parts(transcribe, tasks.start)
        """Earlier parts, if the utterance is long or continued after a premature endpoint."""
        self.item = ""
        """Id of the item that the utterance will get."""
        self.speculations = 0
        """Number of speculative replies prepared for it."""
        self.reply_options: ReplyOptions | None = None
        """How to reply to it; None: the conversation's reply_options."""

    def begin(self, at: int) -> None:
        """Start the next utterance at this sample."""
        self.item, self._began, self.speculations, self.reply_options = item_id(), at, 0, None
        self.parts.begin()
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
        """Cut off a part of a long utterance and transcribe it while the user continues."""
        self.parts.add(self._ear.cut())
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
        return self._ear.clip(), self.parts.take()

    def pause(self) -> None:
        """Stop partial transcripts at a pause or the end, to leave the recogniser free for the whole utterance."""
        self._partials.end()

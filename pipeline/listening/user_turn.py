"""What the user is saying now: its sound, its place in the conversation, and what is understood of it so far."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from pipeline.audio import Clip
from pipeline.conversation import item_id
from pipeline.listening.ear import Ear, milliseconds
from pipeline.listening.partials import PartialTranscripts
from pipeline.listening.parts import MAX_PARTS, Parts
from pipeline.manner import Manner
from pipeline.stt import Transcript
from pipeline.tasks import Tasks


class UserTurn:
    """One utterance after the other, each from its first sample to its end. Positions are samples received."""

    def __init__(
        self,
        ear: Ear,
        *,
        transcribe: Callable[[Clip], Coroutine[Any, Any, Transcript]],
        tasks: Tasks,
        show: Callable[[str], None],
    ) -> None:
        """show: takes what is understood so far, whenever there is more of it."""
        self._ear, self._tasks = ear, tasks
        self._partials = PartialTranscripts(transcribe, show)
        self._began = 0
        self.parts = Parts(transcribe, tasks.start)
        """What it began with, where it is a long one or was taken for over."""
        self.item = ""
        """The place that it will have in the conversation."""
        self.speculations = 0
        """Answers that were prepared for it."""
        self.manner: Manner | None = None
        """How it is to be answered; None: as the others."""

    def begin(self, at: int) -> None:
        """The next one begins there."""
        self.item, self._began, self.speculations, self.manner = item_id(), at, 0, None
        self.parts.begin()
        self._partials.begin(at)
        self._ear.begin(at)

    @property
    def spoken(self) -> bool:
        """Whether there was speech in it: where a key was pressed, it may be yet to come."""
        return self._ear.detector.last_speech > self._began

    @property
    def spoke_until(self) -> int:
        """Its last speech; its beginning when there was none."""
        return max(self._ear.detector.last_speech, self._began)

    @property
    def silence_ms(self) -> float:
        """Since then, by all that was received."""
        return milliseconds(self._ear.received - self.spoke_until)

    @property
    def cuts_left(self) -> bool:
        """Whether it may go on in another part."""
        return len(self.parts) < MAX_PARTS

    def cut(self) -> None:
        """It has become too long: its first part is transcribed now, the user goes on."""
        self.parts.add(self._ear.cut())
        self._partials.go_on(self._ear.detector.now)

    def understand(self, every_ms: int) -> None:
        """Make a partial transcript, if it is time for one. every_ms: 0 for none."""
        now = self._ear.detector.now
        if self._partials.due(now, every_ms):
            self._tasks.keep(self._partials.make(self._ear.clip(), now))

    def guess(self, text: str) -> None:
        """A transcript that somebody else has made of it so far, of all of it."""
        if not self.parts:
            self._partials.add(text)

    def take(self) -> tuple[Clip, Sequence[asyncio.Task[Transcript]]]:
        """It is over, and belongs to somebody else now: its sound, and the transcripts of the parts before that."""
        self.pause()
        return self._ear.clip(), self.parts.take()

    def pause(self) -> None:
        """It pauses or is over: the recogniser is left to whoever transcribes it as a whole."""
        self._partials.end()

"""Dictation: utterances that are transcribed without an automatic reply; the client can ask for one."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Protocol, TypeVar

from pipeline import stt
from pipeline.audio.clip import Clip
from pipeline.conversation import events
from pipeline.conversation.events import Event
from pipeline.conversation.history import Conversation
from pipeline.errors import EngineError, ParleyError
from pipeline.stt import Transcript
from pipeline.support.room import Room

T = TypeVar("T")

MAX_PENDING = 64
"""Limit of utterances of one session that wait for their transcript."""


class Start(Protocol):
    """Starts a task."""

    def __call__(self, work: Coroutine[object, object, T], /) -> asyncio.Task[T]: ...


class Dictation:
    """The pending transcripts of one session, in the order of their utterances."""

    def __init__(
        self,
        conversation: Conversation,
        *,
        transcribe: Callable[[Clip], Coroutine[object, object, Transcript]],
        start: Start,
        emit: Callable[[Event], None],
        room: Room,
    ) -> None:
        """transcribe: transcribes one utterance. start: starts a task of the conversation. emit: receives
        UtteranceTranscribed and UtteranceFailed, in the order of the utterances. room: budget for the audio until
        its transcript is written; an utterance beyond the budget fails."""
        self._conversation = conversation
        self._transcribe, self._start = transcribe, start
        self._emit = emit
        self._room = room
        self._pending: list[asyncio.Task[None]] = []
        self._read: asyncio.Task[Transcript] | None = None

    @property
    def pending(self) -> Sequence[asyncio.Task[None]]:
        """Tasks of the transcripts that are still pending."""
        self._pending = [task for task in self._pending if not task.done()]
        return tuple(self._pending)

    def read(self, clip: Clip) -> asyncio.Task[Transcript]:
        """Transcribe an utterance that may be over; if it is, `write` uses this transcript."""
        self.go_on()
        self._read = self._start(self._transcribe(clip))
        return self._read

    def go_on(self) -> Transcript | None:
        """Cancel the speculative transcript, because the utterance was not over. Returns it if it was finished."""
        reading, self._read = self._read, None
        if reading is not None:
            reading.cancel()
        return _heard(reading)

    @property
    def reading(self) -> bool:
        """Whether a speculative transcript is in progress."""
        return self._read is not None and not self._read.done()

    @property
    def heard(self) -> Transcript | None:
        """The speculative transcript, once it is finished."""
        return _heard(self._read)

    def write(
        self, clip: Clip, item_id: str, before: Sequence[asyncio.Task[Transcript]] = (), *, read: bool = False
    ) -> None:
        """Transcribe the next utterance into its item. before: the transcripts of its earlier parts. read: use the
        speculative transcript from the last `read`."""
        reading, self._read = (self._read if read else None), None
        # A speculative transcript in progress holds the audio a second time.
        held = 2 if reading is not None and not reading.done() else 1
        pending, size = self.pending, held * clip.samples.nbytes
        if len(pending) >= MAX_PENDING or not self._room.take(size):
            if reading is not None:
                reading.cancel()
            self._emit(events.UtteranceFailed(item_id, "overloaded", "Too many utterances wait for transcription."))
            return
        task = self._start(self._write(clip, item_id, before, pending, reading))
        task.add_done_callback(lambda _: self._written(task, size))
        self._pending = [*pending, task]

    def _written(self, task: asyncio.Task[None], size: int) -> None:
        self._room.give_back(size)
        if task in self._pending:
            self._pending.remove(task)

    async def written(self) -> None:
        """Wait for all pending transcripts."""
        if pending := self.pending:
            await asyncio.wait(pending)

    async def _write(
        self,
        clip: Clip,
        item_id: str,
        before: Sequence[asyncio.Task[Transcript]],
        after: Sequence[asyncio.Task[None]],
        reading: asyncio.Task[Transcript] | None,
    ) -> None:
        """after: the earlier utterances, whose transcripts are emitted first. reading: the speculative transcript, if
        one was started; if it fails, the utterance is transcribed again."""
        try:
            async with asyncio.timeout(stt.TIMEOUT_S):
                if reading is not None:
                    await asyncio.wait([reading])
                heard = _heard(reading) or await self._transcribe(clip)
                parts = [*[await asyncio.shield(part) for part in before], heard]
            said = " ".join(part.text for part in parts).strip()
            words = tuple(word for part in parts for word in part.words)
            event: Event = events.UtteranceTranscribed(item_id, said, heard.language, clip.seconds, words)
        except TimeoutError:
            event = events.UtteranceFailed(item_id, "timeout", "Speech recognition took too long.")
        except ParleyError as error:
            code = "stt_failed" if isinstance(error, EngineError) else error.code
            event = events.UtteranceFailed(item_id, code, error.message)
        if after:
            await asyncio.wait(after)
        if isinstance(event, events.UtteranceTranscribed):
            self._conversation.heard(item_id, event.text, event.language)
        self._emit(event)


def _heard(reading: asyncio.Task[Transcript] | None) -> Transcript | None:
    if reading is None or not reading.done() or reading.cancelled() or reading.exception() is not None:
        return None
    return reading.result()

"""Utterances that are written down and not answered by themselves: somebody asks for the answer, or wants none."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from pipeline import events
from pipeline.audio import Clip
from pipeline.conversation import Conversation
from pipeline.errors import EngineError, ParleyError
from pipeline.events import Event
from pipeline.stt import Transcript

MAX_PENDING = 64
"""Utterances of one session that may wait for their transcript."""


class Room(Protocol):
    """Where the bytes of sound that waits are counted; several sessions share one."""

    def take(self, size: int, /) -> bool:
        """Hold so many bytes more, if there is room; whether there was."""
        ...

    def give_back(self, size: int, /) -> None:
        """So many are not held any more."""
        ...


class Unlimited:
    """Room for a session of this process's own."""

    def take(self, size: int, /) -> bool:
        return True

    def give_back(self, size: int, /) -> None:
        pass


class Dictation:
    """The transcripts of one session that are being made, in the order of their utterances."""

    def __init__(
        self,
        conversation: Conversation,
        *,
        transcribe: Callable[[Clip], Coroutine[Any, Any, Transcript]],
        start: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
        emit: Callable[[Event], None],
        limit_s: float,
        room: Room,
    ) -> None:
        """transcribe: for one utterance. start: makes a task of the conversation. emit: takes UtteranceTranscribed and
        UtteranceFailed, in the order of the utterances. limit_s: how long one may take. room: for their sound until
        they are written; one that finds none fails."""
        self._conversation = conversation
        self._transcribe, self._start = transcribe, start
        self._emit = emit
        self._limit_s = limit_s
        self._room = room
        self._pending: list[asyncio.Task[None]] = []
        self._read: asyncio.Task[Transcript] | None = None

    @property
    def pending(self) -> Sequence[asyncio.Task[None]]:
        """What is still being written down."""
        self._pending = [task for task in self._pending if not task.done()]
        return tuple(self._pending)

    def read(self, clip: Clip) -> asyncio.Task[Transcript]:
        """Transcribe an utterance that may be over: if it is, this is written."""
        self.go_on()
        self._read = self._start(self._transcribe(clip))
        return self._read

    def go_on(self) -> Transcript | None:
        """It was not over. Returns what was understood of it."""
        reading, self._read = self._read, None
        if reading is not None:
            reading.cancel()
        return _heard(reading)

    @property
    def reading(self) -> bool:
        """Whether the transcript of the utterance that may be over is being made."""
        return self._read is not None and not self._read.done()

    @property
    def heard(self) -> Transcript | None:
        """That transcript, once it is made."""
        return _heard(self._read)

    def write(
        self, clip: Clip, item_id: str, before: Sequence[asyncio.Task[Transcript]] = (), *, read: bool = False
    ) -> None:
        """Write the next utterance into its item. before: the transcripts of its earlier parts. read: it is the one
        that was read last."""
        reading, self._read = (self._read if read else None), None
        # While the transcript is being made that was begun ahead, its sound is held, too.
        held = 2 if reading is not None and not reading.done() else 1
        pending, size = self.pending, held * clip.samples.nbytes
        if len(pending) >= MAX_PENDING or not self._room.take(size):
            if reading is not None:
                reading.cancel()
            self._emit(events.UtteranceFailed(item_id, "overloaded", "Too many utterances wait to be transcribed."))
            return
        task = self._start(self._write(clip, item_id, before, pending, reading))
        task.add_done_callback(lambda _: self._written(task, size))
        self._pending = [*pending, task]

    def _written(self, task: asyncio.Task[None], size: int) -> None:
        self._room.give_back(size)
        if task in self._pending:
            self._pending.remove(task)

    async def written(self) -> None:
        """Wait until all that was begun is written down."""
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
        """after: the utterances before it, whose words are told first. reading: its transcript, if that was begun;
        where it fails it is made again."""
        try:
            async with asyncio.timeout(self._limit_s):
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

"""Utterances that are written down and not answered by themselves: somebody asks for the answer, or wants none."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from pipeline import events
from pipeline.audio import Clip
from pipeline.conversation import Conversation
from pipeline.errors import EngineError, ParleyError
from pipeline.events import Event
from pipeline.stt import Transcript


class Dictation:
    """The transcripts of one session that are being made, in the order of their utterances."""

    def __init__(
        self,
        conversation: Conversation,
        *,
        transcribe: Callable[[Clip], Coroutine[Any, Any, Transcript]],
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        emit: Callable[[Event], None],
        limit_s: float,
    ) -> None:
        """transcribe: for one utterance. start: makes a task of the conversation. emit: takes UtteranceTranscribed and
        UtteranceFailed, in the order of the utterances. limit_s: how long one may take."""
        self._conversation = conversation
        self._transcribe, self._start = transcribe, start
        self._emit = emit
        self._limit_s = limit_s
        self._pending: list[asyncio.Task[None]] = []

    @property
    def pending(self) -> Sequence[asyncio.Task[None]]:
        """What is still being written down."""
        self._pending = [task for task in self._pending if not task.done()]
        return tuple(self._pending)

    def write(self, clip: Clip, item_id: str, before: Sequence[asyncio.Task[Transcript]] = ()) -> None:
        """Write the next utterance into its item. before: the transcripts of its earlier parts."""
        self._pending = [*self.pending, self._start(self._write(clip, item_id, before, self.pending))]

    async def written(self) -> None:
        """Wait until all that was begun is written down."""
        if pending := self.pending:
            await asyncio.wait(pending)

    async def _write(
        self, clip: Clip, item_id: str, before: Sequence[asyncio.Task[Transcript]], after: Sequence[asyncio.Task[None]]
    ) -> None:
        """after: the utterances before it, whose words are told first."""
        try:
            async with asyncio.timeout(self._limit_s):
                heard = await self._transcribe(clip)
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

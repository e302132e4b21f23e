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
        transcribe: Callable[[Clip], Coroutine[Any, Any, Transcript]],
        emit: Callable[[Event], None],
        *,
        limit_s: float,
    ) -> None:
        """transcribe: for one utterance. limit_s: how long it may take. emit: takes UtteranceTranscribed and
        UtteranceFailed, in the order of the utterances."""
        self._conversation = conversation
        self._transcribe = transcribe
        self._emit = emit
        self._limit_s = limit_s
        self._pending: list[asyncio.Task[None]] = []

    @property
    def pending(self) -> Sequence[asyncio.Task[None]]:
        """What is still being written down."""
        self._pending = [task for task in self._pending if not task.done()]
        return tuple(self._pending)

    async def write(
        self, clip: Clip, item_id: str, before: Sequence[asyncio.Task[Transcript]], after: Sequence[asyncio.Task[None]]
    ) -> None:
        """Write one utterance into its item. before: the transcripts of its earlier parts. after: the utterances before
        it, whose words are told first."""
        try:
            async with asyncio.timeout(self._limit_s):
                heard = await self._transcribe(clip)
                parts = [(await asyncio.shield(part)).text for part in before]
            said = " ".join([*parts, heard.text]).strip()
            event: Event = events.UtteranceTranscribed(item_id, said, heard.language, clip.seconds)
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

    def keep(self, task: asyncio.Task[None]) -> None:
        """A `write` that has begun."""
        self._pending.append(task)

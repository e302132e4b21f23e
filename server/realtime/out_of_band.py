"""Responses outside of the conversation (`"conversation": "none"`), which run beside it."""

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing

from pipeline.conversation import events
from pipeline.conversation.history import item_id
from pipeline.conversation.session import Session
from server.realtime.errors import RealtimeError
from server.realtime.responses import Response, Wanted
from server.realtime.server_events import Translation

MAX_RUNNING = 4
"""Maximum number of simultaneous out-of-band responses of one session."""


class OutOfBand:
    """The out-of-band responses of one session, and other tasks that end with it."""

    def __init__(self, live: Session, translation: Translation) -> None:
        self._live, self._translation = live, translation
        self._running: dict[str, asyncio.Task[None]] = {}

    def respond(self, wanted: Wanted) -> None:
        """Start a response. Raises RealtimeError when too many are in progress."""
        if len(self._running) >= MAX_RUNNING:
            raise RealtimeError(
                f"There are {MAX_RUNNING} out-of-band responses in progress already.",
                code="conversation_already_has_active_response",
            )
        response = Response(wanted.asked, item_id(), lambda _: None)
        self.start(self._respond(response, wanted), response.id)

    def start(self, work: Coroutine[object, object, None], name: str | None = None) -> None:
        """Start a task; name: the ID of its response."""
        task = asyncio.create_task(work)
        known = name or task.get_name()
        self._running[known] = task
        task.add_done_callback(lambda _: self._running.pop(known, None))

    def cancel(self, response_id: str) -> bool:
        """Cancel a response; return whether there was one with this ID."""
        task = self._running.get(response_id)
        return task is not None and task.cancel()

    async def finished(self) -> None:
        """Wait until nothing is running."""
        while self._running:
            await asyncio.wait(self._running.values())

    async def close(self) -> None:
        """Cancel everything, and wait until it has ended."""
        for task in self._running.values():
            task.cancel()
        await self.finished()

    async def _respond(self, response: Response, wanted: Wanted) -> None:
        send = self._translation.send_when_read
        await send(response.created())
        try:
            async with aclosing(self._live.aside(wanted.reply_options, wanted.messages)) as happenings:
                async for event in happenings:
                    match event:
                        case events.ReplyDelta(text):
                            await send(response.said(text))
                        case events.SpeechChunk(clip):
                            await send(response.spoke(clip))
                        case events.ToolStarted():
                            await send(response.started(event))
                        case events.ToolEnded():
                            await send(response.ended(event))
                        case events.ToolCalled():
                            await send(response.called(event))
                        case events.TurnCompleted() | events.TurnFailed():
                            await send(response.finished(event))
                        case _:
                            pass
        except asyncio.CancelledError:
            response.cancelled_by_client = True
            self._translation.send(*response.finished(events.TurnInterrupted(0.0, "")))
            raise

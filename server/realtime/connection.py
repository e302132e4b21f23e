"""One Realtime connection: a reading and a writing task, with the session between them."""

import asyncio
import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from fastapi import WebSocket
from starlette.types import Message

from pipeline.assistant import Assistant
from pipeline.errors import ParleyError
from pipeline.personas import ConversationOptions
from pipeline.support.json_types import Json
from server.access import Revoked, held_of
from server.http.websocket_session import WebSocketSession
from server.realtime.errors import RealtimeError, as_event, error_event
from server.realtime.handlers import handle
from server.realtime.initial import begin_with
from server.realtime.parsing import read
from server.realtime.session import RealtimeSession

CALL_AFTER_S = 0.05
"""Shortest time from `speech_stopped` to a call of the client's function, in seconds. A reply is prepared before the
user's turn has ended, so without it the call comes in the same millisecond, as it cannot from OpenAI's server: pipecat
1.14 then has the result before its own end of the turn, and never requests the response to it."""


class Connection(WebSocketSession):
    """One connection."""

    def __init__(
        self,
        socket: WebSocket,
        assistant: Assistant,
        *,
        model: str,
        transcription: bool,
        record: bool,
        timings: bool,
        lead_ms: int | None = None,
        speaker_lock: str | None = None,
        conversation_options: ConversationOptions | None = None,
    ) -> None:
        """See `RealtimeSession`."""
        self.session = RealtimeSession(
            assistant,
            model=model,
            transcription=transcription,
            record=record,
            timings=timings,
            room=held_of(socket),
            lead_ms=lead_ms,
            speaker_lock=speaker_lock,
            conversation_options=conversation_options,
        )
        super().__init__(socket, ended=self.session.translation.closed)

    @property
    def session_id(self) -> str:
        """ID of the conversation."""
        return self.session.live.conversation.id

    def begin_with(self, session: Json) -> None:
        """Begin with this configuration, that of a client secret or of the request. Raises BadInput."""
        begin_with(self.session.config, session)
        self.session.configure()

    async def run(self) -> None:
        """Run until one side ends the connection. No task is left afterwards."""
        async with self.session as session:
            with expiring(session.lives_s, session.translation.close):
                await super().run()

    async def take(self, message: Message) -> None:
        """Handle a client event."""
        text = text_of(message)
        with self.held.held(len(text)):
            event, sent = await read(text)
            await handle(self.session, event, sent)

    async def work(self) -> None:
        """Write the server events. Raises the reason with which the session has ended."""
        clock = asyncio.get_running_loop().time
        call_from_s = 0.0
        async for event in self.session.outbox:
            if event["type"] == "input_audio_buffer.speech_stopped":
                call_from_s = clock() + CALL_AFTER_S
            elif event["type"] == "response.function_call_arguments.done":
                await asyncio.sleep(call_from_s - clock())
            await self.send(event)

    async def send(self, message: Mapping[str, object] | bytes) -> None:
        """Send a server event; sound in it becomes base64."""
        if isinstance(message, Mapping) and isinstance(sound := message.get("delta"), bytes):
            message = {**message, "delta": base64.b64encode(sound).decode()}
        await super().send(message)

    async def finish(self, reason: ParleyError) -> None:
        """End the session after its current responses."""
        await self.session.out_of_band.finished()
        self.session.live.finish(reason)

    async def end(self, reason: ParleyError) -> None:
        """End the session at once. The writer sends the reason after all events."""
        self.session.translation.close(reason)

    async def send_error(self, error: ParleyError) -> None:
        self.session.translation.send(as_event(error, None))

    def goodbye(self, reason: ParleyError) -> Mapping[str, object]:
        code = reason.openai_code if isinstance(reason, Revoked) else reason.code
        return {"event_id": "event_last", **error_event(reason.message, code)}


class Expired(ParleyError):
    """The session has reached its maximum duration."""

    code = "session_expired"


@contextmanager
def expiring(seconds: float, end: Callable[[Expired], object]) -> Iterator[None]:
    """Call `end` with the reason if the block, a session, lasts this long."""
    expired = Expired(f"Your session hit the maximum duration of {seconds / 60:g} minutes.")
    expiry = asyncio.get_running_loop().call_later(seconds, end, expired)
    try:
        yield
    finally:
        expiry.cancel()


def text_of(message: Message) -> str:
    """Return the text of a client's message. Raises RealtimeError for a binary one."""
    text = message.get("text")
    if text is None:
        raise RealtimeError("Events must be text messages with JSON.", code="unknown_or_invalid_event")
    return str(text)

"""One Realtime connection: a reading and a writing task, with the session between them."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastapi import WebSocket
from openai.types.realtime import ResponseCreateEvent
from starlette.types import Message

from pipeline.assistant import Assistant
from pipeline.conversation import events
from pipeline.conversation.history import item_id
from pipeline.errors import ParleyError
from pipeline.support.channel import Channel
from server.access import Revoked, held_of
from server.http.websocket_session import WebSocketSession
from server.realtime.audio import SoundIn
from server.realtime.config import Config
from server.realtime.errors import RealtimeError, as_event, error_event
from server.realtime.handlers import HANDLERS
from server.realtime.parsing import parse
from server.realtime.requests import Wanted
from server.realtime.responses import Response, ServerEvent
from server.realtime.server_events import OUTBOX, Translation

log = logging.getLogger(__name__)

ASIDES = 4
"""Maximum number of simultaneous out-of-band responses of one session."""
LARGE_CHARS = 2**18
"""Longer messages are parsed in a thread."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """A requested response that cannot begin yet."""

    after: Response | None
    """The response after whose end this one begins. None: it begins after the user's utterance, as the response to
    it."""
    event: ResponseCreateEvent
    sent: dict[str, Any]
    """The event as it was sent."""
    wanted: Wanted

    @property
    def plain(self) -> bool:
        """Whether the response uses the session's own options."""
        return not (self.event.response and self.event.response.model_fields_set - {"conversation"})


class Connection(WebSocketSession):
    """One connection, as the handlers use it."""

    def __init__(
        self,
        socket: WebSocket,
        assistant: Assistant,
        *,
        model: str,
        transcription: bool,
        record: bool,
        timings: bool,
    ) -> None:
        settings = assistant.settings
        self.assistant = assistant
        self.config = Config(
            assistant,
            model=model,
            transcription=transcription,
            lives_s=settings.realtime_session_s,
            timings=timings,
        )
        self.sound = SoundIn(self.config.input_format)
        self._deferred: Deferred | None = None
        self._outbox: Channel[ServerEvent] = Channel(OUTBOX)
        conversation = assistant.conversation()
        self.translation = Translation(conversation, self.config, self._outbox, ended=self._ended)
        self.session = assistant.session(
            self.config.options,
            conversation,
            voice=self.config.voice_now,
            language=self.config.language,
            reply_options=self.config.reply_options,
            sink=self.translation,
            record=record,
            room=held_of(socket),
        )
        self._asides: dict[str, asyncio.Task[None]] = {}
        super().__init__(socket, ended=self.translation.closed)

    async def run(self) -> None:
        """Run until one side ends the connection. No task is left afterwards."""
        limit_s = self.assistant.settings.realtime_session_s
        expired = Expired(f"Your session hit the maximum duration of {limit_s / 60:g} minutes.")
        async with self.session:
            expiry = asyncio.get_running_loop().call_later(limit_s, self.translation.close, expired)
            self.translation.send({"type": "session.created", "session": self.config.json})
            try:
                await super().run()
            finally:
                expiry.cancel()
                for task in (asides := [*self._asides.values()]):
                    task.cancel()
                await asyncio.gather(*asides, return_exceptions=True)

    async def take(self, message: Message) -> None:
        """Handle a client event."""
        await self._obey(message.get("text"))

    async def work(self) -> None:
        """Write the server events. Raises the reason with which the session has ended."""
        async for event in self._outbox:
            await self.send(event)

    async def finish(self, reason: ParleyError) -> None:
        """End the session after its current responses."""
        while self._asides:
            await asyncio.wait(self._asides.values())
        self.session.finish(reason)

    async def end(self, reason: ParleyError) -> None:
        """End the session at once. The writer sends the reason after all events."""
        self.translation.close(reason)

    async def send_error(self, error: ParleyError) -> None:
        self.translation.send(as_event(error, None))

    def goodbye(self, reason: ParleyError) -> Mapping[str, Any]:
        code = reason.openai_code if isinstance(reason, Revoked) else reason.code
        return {"event_id": "event_last", **error_event(reason.message, code)}

    def configure(self) -> None:
        """Apply a changed configuration to the session."""
        config, session = self.config, self.session
        if self.sound.format != config.input_format:
            self.sound = SoundIn(config.input_format)
        if session.options.turn_detection != config.options.turn_detection:
            session.clear()
            self.translation.uncommitted_ms = 0.0
        session.configure(config.options, voice=config.voice_now, language=config.language)
        session.reply_options = config.reply_options
        session.conversation.instruct(config.instructions)

    # --- incoming events ---

    async def _obey(self, text: str | None) -> None:
        """Handle one client event; report its errors to the client."""
        event_id: str | None = None
        try:
            if text is None:
                raise RealtimeError("Events must be text messages with JSON.", code="unknown_or_invalid_event")
            with self.held.held(len(text)):
                event, sent = await asyncio.to_thread(parse, text) if len(text) > LARGE_CHARS else parse(text)
                event_id = getattr(event, "event_id", None)
                await HANDLERS[type(event)](self, event, sent)
        except (RealtimeError, ParleyError) as error:
            self.translation.send(as_event(error, event_id))
        except Exception:
            log.exception("a client event failed")
            told = error_event("Something went wrong inside the service.", "internal", event_id=event_id)
            self.translation.send(told)

    # --- out-of-band and deferred responses ---

    def answer_aside(self, wanted: Wanted) -> None:
        """Start an out-of-band response. Raises RealtimeError when too many are in progress."""
        if len(self._asides) >= ASIDES:
            raise RealtimeError(
                f"There are {ASIDES} out-of-band responses in progress already.",
                code="conversation_already_has_active_response",
            )
        response = Response(wanted.asked, item_id(), lambda _: None)
        task = asyncio.create_task(self._aside(response, wanted))
        self._asides[response.id] = task
        task.add_done_callback(lambda _: self._asides.pop(response.id, None))

    def cancel_aside(self, response_id: str) -> bool:
        """Cancel an out-of-band response; return whether there was one with this ID."""
        task = self._asides.get(response_id)
        return task is not None and task.cancel()

    async def _aside(self, response: Response, wanted: Wanted) -> None:
        send = self.translation.send_when_read
        await send(response.created())
        try:
            async with contextlib.aclosing(self.session.aside(wanted.reply_options, wanted.messages)) as happenings:
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
            self.translation.send(*response.finished(events.TurnInterrupted(0.0, "")))
            raise

    def defer(self, event: ResponseCreateEvent, sent: dict[str, Any], wanted: Wanted) -> bool:
        """Defer this response if it cannot begin now; return whether it was deferred.

        It is deferred while the current response still speaks after handing a function to the client: it then comes
        next. It is also deferred while the user speaks, so as not to interrupt them: it then becomes the response to
        their utterance, with the requested options. If it has its own input, it comes after that response.
        """
        running = self.translation.response
        if self.session.answering:
            if running is None or not running.handed_over:
                return False
        elif not self.session.hearing:
            return False
        deferred = Deferred(running, event, sent, wanted)
        known = self._deferred
        if known is not None and known.after is running:
            if running is not None:
                return False
            if deferred.plain:
                return True
            if not known.plain:
                raise RealtimeError(
                    "A response to the user's current utterance was already requested.",
                    code="conversation_already_has_active_response",
                )
        self._deferred = deferred
        self._answer_in_its_way()
        return True

    def _answer_in_its_way(self) -> None:
        """Use the deferred response's options for the reply to the user's current utterance."""
        deferred = self._deferred
        if deferred is not None and deferred.after is None and deferred.wanted.messages is None and not deferred.plain:
            self.session.answer_in(deferred.wanted.reply_options)
            self.translation.answers_with = deferred.wanted.asked

    def _ended(self, response: Response | None) -> None:
        """Handle the end of a response of the conversation (None: the utterance has no response). Called from within
        the session, which has not finished the turn yet.
        """
        self.translation.answers_with = None
        deferred = self._deferred
        if deferred is None:
            return
        if response is not None and response is not deferred.after and deferred.wanted.messages is None:
            self._deferred = None  # the reply to the user also covers the function's result
        else:
            asyncio.get_running_loop().call_soon(self._begin_deferred)

    def _begin_deferred(self) -> None:
        if self._deferred is None:
            return
        if self.session.hearing:
            self._deferred = replace(self._deferred, after=None)
            self._answer_in_its_way()
            return
        deferred, self._deferred = self._deferred, None
        task = asyncio.create_task(self._handle_deferred(deferred))
        self._asides[f"deferred_{id(task)}"] = task
        task.add_done_callback(lambda done: self._asides.pop(f"deferred_{id(done)}", None))

    async def _handle_deferred(self, deferred: Deferred) -> None:
        event = deferred.event
        try:
            await HANDLERS[ResponseCreateEvent](self, event, deferred.sent)
        except (RealtimeError, ParleyError) as error:
            self.translation.send(as_event(error, event.event_id))


class Expired(ParleyError):
    """The session has reached its maximum duration."""

    code = "session_expired"

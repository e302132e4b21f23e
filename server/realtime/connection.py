"""One Realtime connection: a task reads, a task writes, the session is between them."""

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass, replace
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect
from openai.types.realtime import ResponseCreateEvent
from starlette.websockets import WebSocketState

from pipeline import events
from pipeline.assistant import Assistant
from pipeline.channel import Channel
from pipeline.conversation import item_id
from pipeline.encodable import encodable_json
from pipeline.errors import ParleyError
from server.access import Revoked, held_of, stay_of
from server.access.staying import CLOSE_CODE as REVOKED_CODE
from server.draining import CLOSE_CODE, Draining, Leaving
from server.realtime.config import Config
from server.realtime.errors import RealtimeError, as_event, error_event
from server.realtime.handlers import HANDLERS
from server.realtime.parsing import parse
from server.realtime.requests import Wanted
from server.realtime.responses import Response, ServerEvent
from server.realtime.sound import SoundIn
from server.realtime.translation import OUTBOX, SlowReader, Translation

log = logging.getLogger(__name__)

ASIDES = 4
"""Out-of-band responses of one session at a time."""
FAREWELL_S = 2.0
"""A session that ends itself has so long to say why; who does not read is not waited for."""
LARGE_CHARS = 2**18
"""Longer messages are parsed in a thread."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """A response that was asked for at a moment at which it cannot begin."""

    after: Response | None
    """It begins when this one has ended. None: when the user has spoken, as the response to that."""
    event: ResponseCreateEvent
    sent: dict[str, Any]
    """The event as it was sent."""
    wanted: Wanted

    @property
    def plain(self) -> bool:
        """Whether it is to be given as any other."""
        return not (self.event.response and self.event.response.model_fields_set - {"conversation"})


class Connection:
    """What the handlers work with."""

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
        self._socket = socket
        self._held = held_of(socket)
        self._draining: Draining = socket.app.state.draining
        self._outbox: Channel[ServerEvent] = Channel(OUTBOX)
        conversation = assistant.conversation()
        self.translation = Translation(conversation, self.config, self._outbox, ended=self._ended)
        self.session = assistant.session(
            self.config.options,
            conversation,
            voice=self.config.voice_now,
            language=self.config.language,
            manner=self.config.manner,
            sink=self.translation,
            record=record,
            room=self._held,
        )
        self._asides: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until one side ends it. Then nothing of it runs any more."""
        async with self.session:
            self.translation.send({"type": "session.created", "session": self.config.json})
            parts = (
                self._write(),
                self._read(),
                self._expire(),
                self._end(),
                self._leave(),
                self._cut_off(),
                self._expel(),
            )
            tasks = [asyncio.create_task(work) for work in parts]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                tasks += self._asides.values()
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def configure(self) -> None:
        """The configuration has changed."""
        config, session = self.config, self.session
        if self.sound.format != config.input_format:
            self.sound = SoundIn(config.input_format)
        if session.options.turn_detection != config.options.turn_detection:
            session.clear()
            self.translation.uncommitted_ms = 0.0
        session.configure(config.options, voice=config.voice_now, language=config.language)
        session.manner = config.manner
        session.conversation.instruct(config.instructions)

    # --- in ---

    async def _read(self) -> None:
        while (message := await self._socket.receive())["type"] != "websocket.disconnect":
            await self._obey(message.get("text"))
            del message  # it may be large, and the next one long in coming
            await asyncio.sleep(0)  # a burst of events is answered while it comes: its client reads, and others talk on

    async def _obey(self, text: str | None) -> None:
        """One event of the client; what is wrong with it is told."""
        event_id: str | None = None
        try:
            if text is None:
                raise RealtimeError("Events are text messages with JSON.", code="unknown_or_invalid_event")
            with self._held.held(len(text)):
                event, sent = await asyncio.to_thread(parse, text) if len(text) > LARGE_CHARS else parse(text)
                event_id = getattr(event, "event_id", None)
                await HANDLERS[type(event)](self, event, sent)
        except (RealtimeError, ParleyError) as error:
            self.translation.send(as_event(error, event_id))
        except Exception:
            log.exception("a client event failed")
            told = error_event("Something went wrong inside the service.", "internal", event_id=event_id)
            self.translation.send(told)

    async def _expire(self) -> None:
        limit_s = self.assistant.settings.realtime_session_s
        await asyncio.sleep(limit_s)
        self.translation.close(Expired(f"Your session hit the maximum duration of {limit_s / 60:g} minutes."))
        await asyncio.Event().wait()  # the writer tells it, and ends the connection

    async def _leave(self) -> None:
        """When the service stops, the session ends with the responses that are being given."""
        await self._draining.begun.wait()
        while self._asides:
            await asyncio.wait(self._asides.values())
        self.session.finish(Leaving())
        await asyncio.Event().wait()  # the writer tells it, and ends the connection

    async def _cut_off(self) -> None:
        """When it has taken too long with that, in the middle of whatever it does."""
        await self._draining.cut.wait()
        self.translation.close(Leaving())
        await asyncio.Event().wait()  # the writer tells it, and ends the connection

    async def _expel(self) -> None:
        """When its key is taken back, the session ends in the middle of whatever it does."""
        await stay_of(self._socket).end()
        self.translation.close(Revoked())
        await asyncio.Event().wait()  # the writer tells it, and ends the connection

    async def _end(self) -> None:
        """The end of a connection whose writer cannot say so."""
        await self.translation.closed.wait()
        await asyncio.sleep(FAREWELL_S)

    # --- responses beside the conversation, and after another ---

    def answer_aside(self, wanted: Wanted) -> None:
        """Give an out-of-band response. Raises RealtimeError when too many are being given."""
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
        """Whether it was one of those."""
        task = self._asides.get(response_id)
        return task is not None and task.cancel()

    async def _aside(self, response: Response, wanted: Wanted) -> None:
        send = self.translation.send_when_read
        await send(response.created())
        try:
            async with contextlib.aclosing(self.session.aside(wanted.manner, wanted.messages)) as happenings:
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
        """Whether this response is one to wait with. It is when the running one still speaks, but its client has been
        given a function to run, and has done so: next, then. And it is while the user speaks: nobody is cut short. The
        response to what they say is this one, in the way that it was asked for; if it has an input of its own, it comes
        after that.
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
                    "A response to what the user is saying was asked for already.",
                    code="conversation_already_has_active_response",
                )
        self._deferred = deferred
        self._answer_in_its_way()
        return True

    def _answer_in_its_way(self) -> None:
        """What the user is saying is answered as it was asked for meanwhile."""
        deferred = self._deferred
        if deferred is not None and deferred.after is None and deferred.wanted.messages is None and not deferred.plain:
            self.session.answer_in(deferred.wanted.manner)
            self.translation.answers_with = deferred.wanted.asked

    def _ended(self, response: Response | None) -> None:
        """A response of the conversation has ended (None: what was said has none); called from within the session,
        which is not done with it yet.
        """
        self.translation.answers_with = None
        deferred = self._deferred
        if deferred is None:
            return
        if response is not None and response is not deferred.after and deferred.wanted.messages is None:
            self._deferred = None  # what the user said is answered, and with it what came of the call
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

    # --- out ---

    async def _write(self) -> None:
        try:
            async for event in self._outbox:
                await self._send(event)
        except (ParleyError, SlowReader) as error:  # the session has ended itself
            code, close, message = _farewell(error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._send({"event_id": "event_last", **error_event(message, code)})
                    await self._socket.close(close, message[:120])

    async def _send(self, event: ServerEvent) -> None:
        if self._socket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # gone: the reader is about to notice
                await self._socket.send_text(json.dumps(encodable_json(event)))


class Expired(ParleyError):
    """The session has lasted as long as a session may."""

    code = "session_expired"


def _farewell(error: Exception) -> tuple[str, int, str]:
    """Code, close code and message for why a session has ended itself."""
    if isinstance(error, SlowReader) or (isinstance(error, ParleyError) and error.code == "overloaded"):
        return "overloaded", 1013, "This connection reads too slowly; the session is closed."
    assert isinstance(error, ParleyError)  # noqa: S101
    if error.code == Leaving.code:
        return error.code, CLOSE_CODE, error.message
    if isinstance(error, Revoked):
        return error.openai_code, REVOKED_CODE, error.message
    return error.code, 1001 if error.code == "session_expired" else 1000, error.message

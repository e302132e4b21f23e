"""One Wyoming connection: its requests, in order, and the end of each response.

The response to a request that fails is `error`, followed by the events that end every such response. Home Assistant
2026.2 and earlier ignore an error, and read until `transcript` (for sound), `audio-stop` or `synthesize-stopped` (for
text), `handled` or `not-handled` (for an utterance), or the end of the connection.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, ExitStack

from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable
from wyoming.handle import HandledStop, NotHandled
from wyoming.info import Describe, SelectProgram
from wyoming.intent import NotRecognized, Recognize
from wyoming.ping import Ping, Pong
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
)
from wyoming.wake import Detect

from pipeline.assistant import Assistant
from pipeline.errors import BadInput, ParleyError
from pipeline.voices.catalogue import Voice
from pipeline.workers.caller import Urgency, calling
from server.access.limits import Share
from server.http.draining import Draining
from server.http.idle import Idle, unless_idle
from server.http.tcp_server import linger, write
from server.wyoming.conversations import Conversations
from server.wyoming.fields import checked
from server.wyoming.hearing import Hearing
from server.wyoming.info import info
from server.wyoming.responses import Responses
from server.wyoming.streamed_texts import Texts
from server.wyoming.voices import chosen
from server.wyoming.wire import BadEvent, Broken, encoded, read_event

log = logging.getLogger(__name__)

MAX_PAYLOAD_BYTES = 1 << 20
"""Largest chunk of sound: clients send about 60 ms at a time."""
FIRST_EVENT_S = 10.0
"""Timeout for the first event of a connection, in seconds: until then it has no slot."""
IDLE_S = 60.0
"""Idle timeout in seconds: clients open a connection for each request."""
WRITE_S = 30.0
"""Timeout in seconds for a client that does not read."""

Slot = Callable[[], AbstractContextManager[None]]


class Connection:
    """Handles the requests of one client, one after the other. Further requests wait."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        assistant: Assistant,
        conversations: Conversations,
        draining: Draining,
        held: Share,
        slot: Slot,
        converting: asyncio.Lock,
    ) -> None:
        """held: counts the bytes of arriving events and of the sound kept. slot: the slot, taken with the first event
        because a silent connection needs none; raises Overloaded. converting: see `Conversion`; all connections
        share one."""
        self._reader, self._writer = reader, writer
        self._assistant, self._draining = assistant, draining
        self._responses = Responses(assistant, conversations, self._tell, held)
        self._held, self._slot = held, slot
        self._name = secrets.token_hex(8)
        self._hearing = Hearing(assistant, self._responses, self._begin_request, held, converting)
        self._texts: Texts | None = None
        """The text that is still arriving."""
        self._request: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Run until the client disconnects or is idle, then stop all work of the connection. Raises Overloaded."""
        settings = self._assistant.settings
        idle_s = min(IDLE_S, settings.idle_timeout_s or IDLE_S)
        with ExitStack() as stack:
            try:
                event = await self._next(FIRST_EVENT_S)
                if event is None:
                    return
                stack.enter_context(self._slot())
                while event is not None:
                    if isinstance(event, Event):
                        await self._take(event)
                    event = await self._next(idle_s)
            except Broken as broken:
                await self._stop()  # the error must be the last event
                await self._tell_error(broken.error)
                await linger(self._reader, self._writer)
            finally:
                await self._stop()
                self._hearing.forget()

    async def _stop(self) -> None:
        """Cancel the running request."""
        if self._texts is not None:
            self._texts.close()
        if self._request is not None:
            self._request.cancel()
            await asyncio.wait([self._request])

    async def _next(self, idle_s: float) -> Event | BadInput | None:
        """Return the next event; BadInput for an event that was refused, after reporting it to the client; None at the
        end of the connection, or when nothing arrived for `idle_s` and no request is running. Raises Broken."""
        reading = read_event(self._reader, max_payload=MAX_PAYLOAD_BYTES, held=self._held)
        try:
            return await unless_idle(reading, idle_s, self._busy)
        except Idle:
            return None
        except BadEvent as error:
            await self._refuse(error.kind, error)
            return error

    def _busy(self) -> bool:
        return self._request is not None and not self._request.done()

    async def _take(self, event: Event) -> None:
        try:
            event = checked(event)
        except BadInput as error:
            await self._refuse(event.type, error)
            return
        kind = event.type
        if Describe.is_type(kind):
            await self._tell(info(self._assistant))
        elif Ping.is_type(kind):
            await self._tell(Pong(Ping.from_event(event).text))
        elif Transcribe.is_type(kind):
            await self._hearing.transcribe(Transcribe.from_event(event))
        elif Detect.is_type(kind):
            await self._hearing.detect(Detect.from_event(event))
        elif AudioStart.is_type(kind):
            self._hearing.forget()
        elif AudioChunk.is_type(kind):
            await self._hearing.take(AudioChunk.from_event(event))
        elif AudioStop.is_type(kind):
            await self._hearing.end()
        elif Synthesize.is_type(kind):
            if self._texts is None:  # otherwise it repeats the whole streamed text, for older servers
                asked = Synthesize.from_event(event)
                await self._begin_request(lambda: self._responses.speak(asked), AudioStop())
        elif SynthesizeStart.is_type(kind):
            await self._begin_text(SynthesizeStart.from_event(event))
        elif SynthesizeChunk.is_type(kind):
            if self._texts is not None:
                self._texts.add(SynthesizeChunk.from_event(event).text)
        elif SynthesizeStop.is_type(kind):
            self._end_text()
        elif Transcript.is_type(kind):
            said = Transcript.from_event(event)
            await self._begin_request(
                lambda: self._responses.reply(said),
                NotHandled("There is no reply to this text.", context=said.context),
                HandledStop(),
            )
        elif SelectProgram.is_type(kind):
            self._select(SelectProgram.from_event(event).name)
        elif Recognize.is_type(kind):
            context = Recognize.from_event(event).context
            await self._begin_request(lambda: _failing(_not_offered("intents")), NotRecognized(context=context))
        # Other events belong to other kinds of services; the protocol requires ignoring them.

    async def _refuse(self, kind: str, error: BadInput) -> None:
        """Refuse an invalid request: send the error and the event that the client waits for. kind: type of the request.
        Raises Broken."""
        if AudioChunk.is_type(kind) or AudioStart.is_type(kind):
            await self._hearing.refuse(error)
        elif AudioStop.is_type(kind):
            await self._tell_error(error)
            await self._hearing.end()
        elif Detect.is_type(kind):
            await self._hearing.refuse_detection(error)
        elif Transcribe.is_type(kind):
            await self._hearing.refuse_transcription(error)
        elif SelectProgram.is_type(kind):
            raise Broken(error)  # see `_select`
        elif Recognize.is_type(kind):
            await self._begin_request(lambda: _failing(error), NotRecognized())
        elif SynthesizeChunk.is_type(kind) and self._texts is not None:
            self._texts.close(error)
        elif Synthesize.is_type(kind) and self._texts is None:
            await self._begin_request(lambda: _failing(error), AudioStop())
        elif SynthesizeStart.is_type(kind):
            await self._begin(Texts(error))
        elif Transcript.is_type(kind):
            await self._begin_request(lambda: _failing(error), NotHandled(error.message), HandledStop())
        elif Ping.is_type(kind):
            await self._tell_error(error)
            await self._tell(Pong())
        else:
            await self._tell_error(error)

    def _select(self, name: str) -> None:
        """Check the name of a program: there is one for each kind of request. Raises Broken for an unknown one, because
        a client that waits for it reads until the connection ends."""
        told = info(self._assistant)
        programs = {program.name for program in (*told.asr, *told.tts, *told.handle, *told.wake)}
        if name not in programs:
            known = ", ".join(sorted(programs))
            raise Broken(BadInput(f"Unknown program {name[:60]!r}; available: {known}.", code="unknown_program"))

    async def _begin_request(self, work: Callable[[], Coroutine[object, object, None]], *ends: Eventable) -> None:
        """Run a request after the previous one, in a task, so that a disconnect is noticed. ends: the events to send if
        the work fails, because the client waits for them."""
        self._end_text()
        if self._request is not None:
            await asyncio.wait([self._request])
        self._request = asyncio.create_task(self._run_request(work(), ends))

    async def _run_request(self, work: Coroutine[object, object, None], ends: Sequence[Eventable]) -> None:
        self._draining.came()
        try:
            with calling(session=self._name, urgency=Urgency.NOW):
                await work
        except ParleyError as error:
            await self._tell_failed(error, ends)
        except OSError:
            pass  # disconnected: the reader handles it
        except Exception:
            log.exception("a Wyoming request failed")
            await self._tell_failed(ParleyError("Something went wrong inside the service."), ends)
        finally:
            self._draining.went()

    # --- speech ---

    async def _begin_text(self, asked: SynthesizeStart) -> None:
        try:
            voice, language = chosen(self._assistant, asked.voice)
        except BadInput as error:
            await self._begin(Texts(error))
        else:
            await self._begin(Texts(), voice, language)

    async def _begin(self, texts: Texts, voice: Voice | None = None, language: str | None = None) -> None:
        """Begin a streamed text. voice: None for the deployment's default voice."""
        speaker = voice or self._assistant.voice()
        ends = (AudioStop(), SynthesizeStopped())
        await self._begin_request(lambda: self._responses.speak_as_it_comes(texts, speaker, language), *ends)
        self._texts = texts

    def _end_text(self) -> None:
        if self._texts is not None:
            self._texts.close()
            self._texts = None

    # --- out ---

    async def _tell(self, what: Eventable) -> None:
        try:
            async with asyncio.timeout(WRITE_S):
                write(self._writer, encoded(what.event()))
                await self._writer.drain()
        except TimeoutError:
            self._writer.transport.abort()
            raise ConnectionAbortedError from None

    async def _tell_error(self, error: ParleyError) -> None:
        with contextlib.suppress(OSError):
            await self._tell(Error(error.message, error.code))

    async def _tell_failed(self, error: ParleyError, ends: Sequence[Eventable]) -> None:
        await self._tell_error(error)
        with contextlib.suppress(OSError):
            for end in ends:
                await self._tell(end)


async def _failing(error: ParleyError) -> None:
    raise error


def _not_offered(what: str) -> BadInput:
    return BadInput(f"This service does not offer {what}; see the response to `describe`.", code="unsupported_message")

"""One translation session on a WebSocket: a reading and a writing task, with the interpreter between them."""

import asyncio
import base64
import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping

from fastapi import WebSocket
from openai.types.realtime import (
    RealtimeTranslationInputAudioBufferAppendEvent,
    RealtimeTranslationSessionUpdateEvent,
)
from starlette.types import Message
from starlette.websockets import WebSocketDisconnect, WebSocketState

from pipeline.assistant import Assistant
from pipeline.audio.clip import Clip, Samples
from pipeline.conversation.watchdog import IdleTimeout
from pipeline.errors import Overloaded, ParleyError
from pipeline.listening.detector import RATE_HZ
from pipeline.listening.noise import FilteredActivity
from pipeline.support.background import background
from pipeline.support.channel import Channel
from pipeline.support.json_types import JsonObject
from pipeline.translation import events
from pipeline.translation.events import TranslationEvent
from pipeline.translation.interpreter import Interpreter
from server.access import Revoked
from server.http.websocket_session import SlowReader, WebSocketSession
from server.realtime.audio import RATES_HZ, Format, SoundIn, SoundOut, decoded_aside
from server.realtime.connection import expiring, text_of
from server.realtime.errors import RealtimeError, as_event, error_event
from server.realtime.parsing import read
from server.realtime.session import MAX_SESSION_S
from server.realtime.translations.config import EVENTS, LANGUAGE, TranslationConfig

log = logging.getLogger(__name__)

OUTBOX = 64
"""Maximum number of unsent server events; then the translation waits for the client."""
SLOW_READER_S = 30.0
"""Longest time that an event waits for a client that does not read, in seconds."""
STUCK_S = 60.0
"""Longest time in which the models take no sound, in seconds: longer than the timeouts of one call."""
FORMAT: Format = "audio/pcm"
STEP_MS = 200
"""Longest sound that is passed on at a time, in both directions; `elapsed_ms` advances in such steps."""
STEP_BYTES = 2 * RATES_HZ[FORMAT] * STEP_MS // 1000


class Closed(ParleyError):
    """The client has asked for the end of the session, and everything is translated."""

    code = "closed"

    def __init__(self) -> None:
        super().__init__("The session is closed.")


class TranslationConnection(WebSocketSession):
    """One connection."""

    def __init__(self, socket: WebSocket, assistant: Assistant, *, model: str, session: JsonObject) -> None:
        """model: see `TranslationConfig`. session: the configuration with which it begins, as in `session.update`.
        Raises BadInput."""
        self._closed = asyncio.Event()
        super().__init__(socket, idle_s=assistant.settings.idle_timeout_s, ended=self._closed)
        self._config = config = TranslationConfig(
            model=model, lives_s=MAX_SESSION_S, noise_reduction=assistant.settings.noise_reduction
        )
        config.begin_with(session)
        self._assistant = assistant
        self._outbox: Channel[Mapping[str, object]] = Channel(OUTBOX)
        """The server events to send; ends with the reason why the session has ended."""
        self._heard = SoundIn(FORMAT)
        self._spoken = SoundOut(FORMAT)
        self._last: ParleyError | None = None
        """The reason for the end that follows when everything is translated."""
        self._activity = FilteredActivity(assistant.activity())
        self._activity.reduce(config.noise_reduction)
        self._interpreter = Interpreter(
            stt=assistant.stages.stt,
            reply=assistant.model_reply,
            tts=assistant.stages.tts,
            settings=assistant.settings,
            activity=self._activity,
            voice=assistant.voice(),
            language=config.language,
            emit=self._emit,
        )

    async def run(self) -> None:
        """Run until one side ends the connection. No task is left afterwards."""
        with expiring(MAX_SESSION_S, self._end):
            await super().run()

    async def take(self, message: Message) -> None:
        """Handle a client event."""
        text = text_of(message)
        with self.held.held(len(text)):
            event, _ = await read(text, EVENTS)
            try:
                match event:
                    case RealtimeTranslationInputAudioBufferAppendEvent():
                        await self._append(event)
                    case RealtimeTranslationSessionUpdateEvent():
                        await self._update(event)
                    case _:
                        await self.finish(Closed())
            except ParleyError as error:
                await self._send(as_event(error, getattr(event, "event_id", None)))

    async def work(self) -> None:
        """Write the server events, while the interpreter makes them. Raises the reason with which the session has
        ended."""
        async with background(self._interpret()):
            await self.send(_named({"type": "session.created", "session": self._config.json}))
            await self._check_voice()
            async for event in self._outbox:
                await self.send(event)
                if self._socket.application_state is not WebSocketState.CONNECTED:
                    raise WebSocketDisconnect  # the reader can be waiting for room, and would notice it later

    async def finish(self, reason: ParleyError) -> None:
        """End the session after what the client has sent is translated."""
        if self._last is None:
            self._last = reason
            await self._hear(self._heard.end())
            self._interpreter.finish()

    async def end(self, reason: ParleyError) -> None:
        self._end(reason)

    def busy(self) -> bool:
        return self._last is not None

    async def send_error(self, error: ParleyError) -> None:
        await self._send(as_event(error, None))

    def goodbye(self, reason: ParleyError) -> Mapping[str, object]:
        if isinstance(reason, Closed):
            return _named({"type": "session.closed"})
        code = reason.openai_code if isinstance(reason, Revoked) else reason.code
        return _named(error_event(reason.message, code))

    # --- the client's side ---

    async def _append(self, event: RealtimeTranslationInputAudioBufferAppendEvent) -> None:
        if self._last is not None:
            raise RealtimeError("The session is closing.", code="invalid_value", param="type")
        data = await decoded_aside(event.audio, "audio")
        for start in range(0, len(data), STEP_BYTES):
            await self._hear(self._heard.take(data[start : start + STEP_BYTES]))
        if self._idle_s and self._interpreter.silence_s >= self._idle_s:
            self._end(IdleTimeout())

    async def _hear(self, samples: Samples) -> None:
        """Wait for room, then add sound, at the pace of `Share.heard`. Meanwhile the client's next message is not
        read."""
        try:
            async with asyncio.timeout(STUCK_S):
                await self._interpreter.hear(samples)
        except TimeoutError:
            self._end(Overloaded("The models cannot keep up with this translation; the session is closed."))
        await self.held.heard(len(samples) / RATE_HZ)

    async def _update(self, event: RealtimeTranslationSessionUpdateEvent) -> None:
        before = self._config.language
        self._config.update(event)
        self._interpreter.language = self._config.language
        self._activity.reduce(self._config.noise_reduction)
        await self._send({"type": "session.updated", "session": self._config.json})
        if self._config.language != before:
            await self._check_voice()

    async def _check_voice(self) -> None:
        language = self._config.language
        if not self._assistant.stages.tts.speaks(language):
            told = f"The voice here does not speak {language!r}: this translation has text and no sound."
            await self._send(error_event(told, "unsupported_language", param=LANGUAGE))

    # --- the interpreter's side ---

    async def _interpret(self) -> None:
        reason: ParleyError
        try:
            await self._interpreter.run()
        except Exception:
            log.exception("a translation failed")
            reason = ParleyError("Something went wrong inside the service.")
        else:
            reason = self._last or Closed()
        self._outbox.close(reason)  # without a deadline: the client may take its time to read the rest

    async def _emit(self, event: TranslationEvent) -> None:
        for told in self._told(event):
            await self._send(told)

    def _told(self, event: TranslationEvent) -> Iterable[Mapping[str, object]]:
        match event:
            case events.SourceDelta(text, until_ms):
                if self._config.transcribes:
                    yield _delta("session.input_transcript.delta", text, until_ms)
            case events.TranslationDelta(text, until_ms):
                yield _delta("session.output_transcript.delta", text, until_ms)
            case events.SpeechDelta(clip, until_ms):
                for part in _parts(clip):
                    yield from _sound(self._spoken.take(part), until_ms)
            case events.SpeechPaused(until_ms):
                yield from _sound(self._spoken.end(), until_ms)
            case events.Failed(code, message):
                yield error_event(message, code)

    async def _send(self, event: Mapping[str, object]) -> None:
        """Wait for room, then send a server event. A client that does not read for long ends its session."""
        try:
            async with asyncio.timeout(SLOW_READER_S):
                await self._outbox.send(_named(event))
        except TimeoutError:
            self._end(SlowReader())

    def _end(self, reason: ParleyError) -> None:
        """End the session at once; the client has a moment to read what waits for it."""
        self._outbox.close(reason)
        self._closed.set()


def _named(event: Mapping[str, object]) -> Mapping[str, object]:
    return {"event_id": f"event_{secrets.token_hex(10)}", **event}


def _elapsed(until_ms: float) -> int:
    return int(until_ms) // STEP_MS * STEP_MS


def _delta(kind: str, text: str, until_ms: float) -> JsonObject:
    return {"type": kind, "delta": text, "elapsed_ms": _elapsed(until_ms)}


def _sound(coded: bytes, until_ms: float) -> Iterator[JsonObject]:
    if coded:
        delta = base64.b64encode(coded).decode()
        yield {
            "type": "session.output_audio.delta", "delta": delta, "sample_rate": RATES_HZ[FORMAT], "channels": 1,
            "format": "pcm16", "elapsed_ms": _elapsed(until_ms),
        }  # fmt: skip


def _parts(clip: Clip) -> Iterator[Clip]:
    size = clip.rate_hz * STEP_MS // 1000
    for start in range(0, len(clip.samples), size):
        yield Clip(clip.samples[start : start + size], clip.rate_hz)

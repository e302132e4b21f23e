"""`WS /ws`, the voice WebSocket: for each turn, the client sends one binary message with an audio file, and receives
one JSON message and one WAV.

The JSON is `{"transcription", "llama"}`; an error is `{"error": {"code", "message"}}` instead, and the connection stays
open. Each connection is one conversation. Query: `voice`, `language`, `system`; `stream=1` selects a live conversation
(`server.talk.live`).
"""

import asyncio
import contextlib
import logging
from typing import Any

from fastapi import APIRouter, Depends, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse
from starlette.websockets import WebSocketState

from pipeline.assistant import Assistant
from pipeline.audio.clip import Clip, encode_wav
from pipeline.audio.decode import decode
from pipeline.conversation import events
from pipeline.errors import BadInput, Overloaded, ParleyError
from pipeline.support.channel import Channel
from server.access import Revoked, caller_of, held_of, require_key, stay_of
from server.access.revocation import CLOSE_CODE as REVOKED_CODE
from server.errors import as_json
from server.http.draining import CLOSE_CODE, Leaving
from server.http.idle import next_message
from server.http.send_json import send_json
from server.http.websocket_protocol import limit_text
from server.ops.kept_conversations import agreed, told
from server.parameters import language_code, system_prompt
from server.state import state_of
from server.talk.live import MAX_COMMAND_CHARS, LiveSocket

log = logging.getLogger(__name__)
router = APIRouter(dependencies=[Depends(require_key)])

MESSAGES_AHEAD = 4
"""Utterances that can wait during a turn, together at most as large as the largest message; a further one is refused
with an error."""

GOODBYE_S = 1.0
"""Timeout in seconds for sending the reason and closing a connection."""

PROTOCOL = "parley"
"""Subprotocol that is accepted when a client offers it; a browser that sends its key as a subprotocol must offer
another one."""


@router.api_route("/ws", methods=["GET", "POST"], include_in_schema=False)
async def not_a_socket(request: Request) -> Response:
    """Return the error that a connection would get now. A page cannot see why its WebSocket was refused, but it can
    read this response (with POST, because the browser then sends the page's origin).
    """
    state_of(request).access.places.check(caller_of(request))
    told = as_json(BadInput("This endpoint is a WebSocket.", code="upgrade_required"))
    return JSONResponse(told, 426, {"Upgrade": "websocket"})


@router.websocket("/ws")
async def voice_socket(socket: WebSocket) -> None:
    """Serve one conversation."""
    assistant = state_of(socket).assistant
    limit_text(socket.scope, MAX_COMMAND_CHARS)
    protocol = PROTOCOL if PROTOCOL in socket.scope.get("subprotocols", ()) else None
    live = socket.query_params.get("stream", "").lower() in ("1", "true", "yes")
    try:
        conversation = LiveSocket(socket, assistant) if live else VoiceSocket(socket, assistant)
    except ParleyError as error:
        await socket.accept(protocol)  # browsers cannot read the error in a refused handshake
        await send_json(socket, as_json(error))
        await socket.close(1008, error.message[:120])
        return
    await socket.accept(protocol, await told(assistant, conversation.session_id, conversation.recorded))
    await conversation.run()


class VoiceSocket:
    """A connection: one task reads, so that a disconnect is noticed at once, and another runs the turns."""

    def __init__(self, socket: WebSocket, assistant: Assistant) -> None:
        """Raises BadInput for invalid query parameters."""
        query = socket.query_params
        system = system_prompt(query.get("system"))
        self._socket = socket
        self._assistant = assistant
        self._draining = state_of(socket).draining
        self._voice = assistant.voice(query.get("voice"))
        self._language = language_code(query.get("language"))
        self._conversation = assistant.conversation(system)
        self.session_id = self._conversation.id
        self.recorded = agreed(socket) and assistant.recorder is not None
        self._inbox: Channel[bytes | BadInput] = Channel(MESSAGES_AHEAD)
        self._held = held_of(socket)
        self._waiting_bytes = 0
        """Bytes of the messages in the inbox."""
        self._answering = False

    async def run(self) -> None:
        """Run until the client disconnects, then stop all work of the connection."""
        answering = asyncio.create_task(self._answer_all())
        reading = asyncio.create_task(self._read())
        leaving = asyncio.create_task(self._leave(answering))
        expelling = asyncio.create_task(self._expel())
        ends = (reading, leaving, expelling)
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*ends, answering):
                task.cancel()
            await asyncio.wait([*ends, answering])
        if not reading.cancelled():
            reading.result()

    async def _leave(self, answering: asyncio.Task[None]) -> None:
        """Finish the received messages when the service stops, then close the connection."""
        await self._draining.begun.wait()
        self._inbox.close()
        await asyncio.wait([answering])
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await self._socket.close(CLOSE_CODE, Leaving().message)

    async def _expel(self) -> None:
        """End the conversation at once when its key is revoked."""
        await stay_of(self._socket).end()
        why = Revoked()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await self._send_json(as_json(why))
                await self._socket.close(REVOKED_CODE, why.message)

    async def _read(self) -> None:
        idle_s = self._assistant.settings.idle_timeout_s
        while (message := await next_message(self._socket, idle_s, self._busy))["type"] != "websocket.disconnect":
            taken = self._take(message.get("bytes"))
            del message  # free it while waiting for the next message
            if not taken:
                await self._send_json(as_json(Overloaded("Too many messages are waiting; this one was dropped.")))

    def _take(self, data: bytes | None) -> bool:
        """Queue a message, and return whether there was room for it. data: None for a text message."""
        if data is None:
            told = "Send an audio file as one binary message; this endpoint does not accept text messages."
            return self._inbox.offer(BadInput(told, code="unsupported_message"))
        most, size = self._assistant.settings.max_message_bytes, len(data)
        if self._waiting_bytes + size > most or not self._held.take(size):
            return False
        if not self._inbox.offer(data):
            self._held.give_back(size)
            return False
        self._waiting_bytes += size
        return True

    def _busy(self) -> bool:
        return self._answering

    async def _answer_all(self) -> None:
        async for message in self._inbox:
            self._answering = True
            try:
                if isinstance(message, BadInput):
                    raise message
                utterance = await self._decoded(message)
                del message  # it can be large, and a turn takes long
                await self._answer(utterance)
            except ParleyError as error:
                await self._send_json(as_json(error))
            except Exception:
                log.exception("a turn failed")
                await self._send_json(as_json(ParleyError("Something went wrong inside the service.")))
            finally:
                self._answering = False

    async def _decoded(self, data: bytes) -> Clip:
        """Decode a message that was taken from the inbox, and free its bytes."""
        self._waiting_bytes -= len(data)
        try:
            return await decode(data, max_seconds=self._assistant.settings.max_audio_seconds)
        finally:
            self._held.give_back(len(data))

    async def _answer(self, utterance: Clip) -> None:
        transcription, clips = "", list[Clip]()
        speech_error: events.StageError | None = None
        turn = self._assistant.answer(
            utterance, self._conversation, voice=self._voice, language=self._language, record=self.recorded
        )
        async with contextlib.aclosing(turn) as happenings:
            async for event in happenings:
                match event:
                    case events.TranscriptFinal(text):
                        transcription = text
                    case events.SpeechChunk(clip):
                        clips.append(clip)
                    case events.StageError():
                        speech_error = event
                    case events.TurnFailed(code, message):
                        raise ParleyError(message, code=code)
                    case events.TurnCompleted(reply):
                        await self._send_json({"transcription": transcription, "llama": reply.strip()})
                    case _:
                        pass
        if speech_error is not None or not clips:
            message = speech_error.message if speech_error else "The reply contains nothing that can be spoken."
            raise ParleyError(message, code=speech_error.code if speech_error else "tts_failed")
        await self._send_bytes(await asyncio.to_thread(lambda: encode_wav(Clip.join(clips, clips[0].rate_hz))))

    async def _send_json(self, body: dict[str, Any]) -> None:
        if self._socket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # disconnected: `_read` handles it
                await send_json(self._socket, body)

    async def _send_bytes(self, data: bytes) -> None:
        if self._socket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await self._socket.send_bytes(data)

"""`WS /ws`, the voice WebSocket: for each turn, the client sends one binary message with an audio file, and receives
one JSON message and one WAV.

The JSON is `{"transcription", "llama"}`; an error is `{"error": {"code", "message"}}` instead, and the connection stays
open. Each connection is one conversation. Query: `voice`, `language`, `system`; `stream=1` selects a live conversation
(`server.talk.live`).
"""

import asyncio
import contextlib
import importlib
from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends, Request, Response, WebSocket
from starlette.types import Message

from pipeline.assistant import Assistant
from pipeline.audio.clip import Clip, encode_wav
from pipeline.audio.decode import decode
from pipeline.conversation import events
from pipeline.errors import BadInput, Overloaded, ParleyError
from pipeline.personas import ConversationOptions
from pipeline.support.channel import Channel
from server.access import caller_of, require_key
from server.http.upgrade import UpgradeRequired
from server.http.websocket_protocol import limit_text
from server.http.websocket_session import WebSocketSession, refuse
from server.ops.kept_conversations import agreed, told
from server.state import state_of
from server.talk.conversation_options import requested_options
from server.talk.live import MAX_COMMAND_CHARS, LiveSocket
from server.talk.resume import resuming
from server.webrtc.opening import open_call

if TYPE_CHECKING:  # aiortc is imported with the first call
    from server.talk.call import LiveCall
    from server.webrtc.tracks import Tracks

router = APIRouter(dependencies=[Depends(require_key)])

MESSAGES_AHEAD = 4
"""Utterances that can wait during a turn, together at most as large as the largest message; a further one is refused
with an error."""

PROTOCOL = "parley"
"""Subprotocol that is accepted when a client offers it; a browser that sends its key as a subprotocol must offer
another one."""


@router.api_route("/ws", methods=["GET", "POST"], include_in_schema=False)
async def not_a_socket(request: Request) -> None:
    """Raise the error that a connection would get now, or UpgradeRequired. A page cannot see why its WebSocket was
    refused, but it can read this response (with POST, because the browser then sends the page's origin).
    """
    state_of(request).access.slots.check(caller_of(request))
    raise UpgradeRequired


@router.websocket("/ws")
async def voice_socket(socket: WebSocket) -> None:
    """Serve one conversation."""
    assistant = state_of(socket).assistant
    limit_text(socket.scope, MAX_COMMAND_CHARS)
    protocol = PROTOCOL if PROTOCOL in socket.scope.get("subprotocols", ()) else None
    live = socket.query_params.get("stream", "").lower() in ("1", "true", "yes")
    try:
        options = await requested_options(socket, assistant)
        if live:
            async with resuming(socket) as one:
                conversation: LiveSocket | VoiceSocket = LiveSocket(socket, assistant, options, one)
                await _accept(socket, conversation, protocol)
        else:
            conversation = VoiceSocket(socket, assistant, options)
            await _accept(socket, conversation, protocol)
    except ParleyError as error:
        await refuse(socket, error, protocol)
        return
    await conversation.run()


async def _accept(socket: WebSocket, conversation: "LiveSocket | VoiceSocket", protocol: str | None) -> None:
    assistant = state_of(socket).assistant
    await socket.accept(protocol, await told(assistant, conversation.session_id, conversation.recorded))


@router.post("/ws/call", include_in_schema=False)
async def voice_call(request: Request) -> Response:
    """Open a live conversation over WebRTC: an SDP offer in, the SDP answer out."""
    sdp = (await request.body()).decode("utf-8", "replace")
    module = await asyncio.to_thread(importlib.import_module, "server.talk.call")
    options = await requested_options(request, state_of(request).assistant)

    async with resuming(request) as one:

        def session_on(socket: WebSocket, tracks: "Tracks") -> "LiveCall":
            made: LiveCall = module.LiveCall(socket, state_of(request).assistant, options, tracks, one)
            return made

        return await open_call(request, sdp, session_on)


class VoiceSocket(WebSocketSession):
    """A connection: while a turn runs, the next messages wait in an inbox."""

    def __init__(self, socket: WebSocket, assistant: Assistant, options: ConversationOptions) -> None:
        """options: those of the query."""
        super().__init__(socket, idle_s=assistant.settings.idle_timeout_s)
        self._assistant = assistant
        self._options = options
        self._conversation = assistant.conversation(options.system_prompt)
        self.session_id = self._conversation.id
        self.recorded = agreed(socket) and assistant.recorder is not None
        self._inbox: Channel[bytes | BadInput] = Channel(MESSAGES_AHEAD)
        self._waiting_bytes = 0
        """Bytes of the messages in the inbox."""
        self._answering = False

    async def take(self, message: Message) -> None:
        """Queue a message. Raises Overloaded if there is no room for it."""
        if not self._queued(message.get("bytes")):
            raise Overloaded("Too many messages are waiting; this one was dropped.")

    async def work(self) -> None:
        """Answer the messages, one after the other."""
        async for message in self._inbox:
            answering = self._turn(message)
            del message  # it can be large, and a turn takes long
            self._answering = True
            try:
                await self.report(answering)
            finally:
                self._answering = False

    async def finish(self, reason: ParleyError) -> None:
        """Answer the messages that were received."""
        self._inbox.close(reason)

    def busy(self) -> bool:
        return self._answering

    def _queued(self, data: bytes | None) -> bool:
        """Queue a message, and return whether there was room for it. data: None for a text message."""
        if data is None:
            told = "Send an audio file as one binary message; this endpoint does not accept text messages."
            return self._inbox.offer(BadInput(told, code="unsupported_message"))
        most, size = self._assistant.settings.max_message_bytes, len(data)
        if self._waiting_bytes + size > most or not self.held.take(size):
            return False
        if not self._inbox.offer(data):
            self.held.give_back(size)
            return False
        self._waiting_bytes += size
        return True

    async def _turn(self, message: bytes | BadInput) -> None:
        if isinstance(message, BadInput):
            raise message
        utterance = await self._decoded(message)
        del message
        await self._answer(utterance)

    async def _decoded(self, data: bytes) -> Clip:
        """Decode a message that was taken from the inbox, and free its bytes."""
        self._waiting_bytes -= len(data)
        try:
            return await decode(data, max_seconds=self._assistant.settings.max_audio_seconds)
        finally:
            self.held.give_back(len(data))

    async def _answer(self, utterance: Clip) -> None:
        transcription, clips = "", list[Clip]()
        speech_error: events.StageError | None = None
        turn = self._assistant.answer(
            utterance,
            self._conversation,
            voice=self._options.voice,
            language=self._options.language,
            record=self.recorded,
            generation=self._options.generation,
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
                        await self.send({"transcription": transcription, "llama": reply.strip()})
                    case _:
                        pass
        if speech_error is not None or not clips:
            message = speech_error.message if speech_error else "The reply contains nothing that can be spoken."
            raise ParleyError(message, code=speech_error.code if speech_error else "tts_failed")
        await self.send(await asyncio.to_thread(lambda: encode_wav(Clip.join(clips, clips[0].rate_hz))))

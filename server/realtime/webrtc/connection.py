"""A Realtime session whose sound is on the tracks of a call."""

import asyncio
import logging
import secrets
from collections.abc import Mapping

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame
from starlette.websockets import WebSocket

from pipeline.assistant import Assistant
from pipeline.errors import ParleyError
from pipeline.listening.detector import RATE_HZ
from pipeline.support.background import background
from server.realtime.audio import decoded, samples
from server.realtime.connection import Connection
from server.realtime.responses import ServerEvent
from server.realtime.webrtc.sound import Microphone, Speaker

log = logging.getLogger(__name__)

LEAD_MS = 80
"""How far ahead of real time sound is passed to the track, in ms: the track sends it in real time itself."""
MAX_AHEAD_S = 2.0
"""How much more sound than time may arrive, in seconds: timestamps of packets are the caller's."""
CLEARED = "output_audio_buffer.cleared"


class CallConnection(Connection):
    """One call's session: `socket` is its data channel."""

    def __init__(
        self,
        socket: WebSocket,
        assistant: Assistant,
        *,
        model: str,
        record: bool,
        speaker: Speaker,
        speaker_lock: str | None,
    ) -> None:
        """model, record, speaker_lock: see `RealtimeSession`. speaker: the call's track for the replies."""
        super().__init__(
            socket, assistant, model=model, transcription=False, record=record, timings=False, lead_ms=LEAD_MS,
            speaker_lock=speaker_lock,
        )  # fmt: skip
        self.session.player = self
        self._speaker = speaker
        self._track: asyncio.Future[MediaStreamTrack] = asyncio.get_running_loop().create_future()
        self._response = ""
        """ID of the conversation's current response. The sound of others is sent as events: there is one track."""
        self._sounding = False
        """Whether `output_audio_buffer.started` was sent, and no event that ends it."""

    def hear(self, track: MediaStreamTrack) -> None:
        """Listen to the caller's track; only the first one counts."""
        if not self._track.done():
            self._track.set_result(track)

    def clear(self) -> None:
        """See `Player`."""
        self.session.translation.send({"type": CLEARED})  # in order with the sound before it

    async def work(self) -> None:
        async with background(self._listen()) as listening:
            listening.add_done_callback(self._deaf)
            async for event in self.session.outbox:
                for told in self._played(event):
                    await self.send(told)

    def _deaf(self, listening: asyncio.Task[None]) -> None:
        """End a call whose sound can no longer be heard."""
        if not listening.cancelled() and (error := listening.exception()) is not None:
            log.error("the sound of a call could not be heard", exc_info=error)
            self.session.translation.close(ParleyError("Something went wrong inside the service."))

    async def _listen(self) -> None:
        """Pass the caller's sound to the session, until the track ends."""
        microphone, track, session = Microphone(), await self._track, self.session
        loop = asyncio.get_running_loop()
        ahead_s, since = 0.0, loop.time()
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, AudioFrame)  # noqa: S101  # aiortc decodes Opus
            heard = microphone.take(frame)
            now = loop.time()
            ahead_s, since = max(0.0, ahead_s - (now - since)), now
            if ahead_s > MAX_AHEAD_S:
                continue
            ahead_s += len(heard) / RATE_HZ
            session.translation.uncommitted_ms += len(heard) / 16
            session.live.hear(heard)

    def _played(self, event: ServerEvent) -> list[Mapping[str, object]]:
        """Play the sound of an event; return the events to send in its place."""
        kind, response = event["type"], event.get("response")
        if kind == "response.output_audio.delta" and event["response_id"] == self._response:
            self._speaker.play(samples(decoded(str(event["delta"]), "delta"), "audio/pcm"))
            if self._sounding:
                return []
            self._sounding = True
            return [self._about("started")]
        if kind == CLEARED:
            return self._silent("cleared")
        if not isinstance(response, dict):
            return [event]
        if kind == "response.created" and response["conversation_id"] is not None:
            self._response = response["id"]
        if kind == "response.done" and response["id"] == self._response:
            return [event, *self._silent("cleared" if response["status"] == "cancelled" else "stopped")]
        return [event]

    def _silent(self, how: str) -> list[Mapping[str, object]]:
        """End the sound of the response. At `stopped` it was played: a response ends with its playback."""
        if how == "cleared":
            self._speaker.cut()
        if not self._sounding:
            return []
        self._sounding = False
        return [self._about(how)]

    def _about(self, what: str) -> dict[str, object]:
        return {
            "type": f"output_audio_buffer.{what}", "event_id": f"event_{secrets.token_hex(10)}",
            "response_id": self._response,
        }  # fmt: skip

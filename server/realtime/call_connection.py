"""A Realtime session whose sound is on the tracks of a call."""

import asyncio
import logging
import secrets
from collections.abc import Mapping

from starlette.requests import Request
from starlette.websockets import WebSocket

from pipeline.assistant import Assistant
from pipeline.audio.clip import Clip
from pipeline.errors import ParleyError
from pipeline.personas import ConversationOptions
from pipeline.support.background import background
from server.access import bound_session
from server.ops.kept_conversations import agreed
from server.realtime.audio import RATES_HZ
from server.realtime.connection import Connection
from server.realtime.initial import session_of
from server.realtime.responses import ServerEvent
from server.state import state_of
from server.webrtc.tracks import LEAD_MS, Tracks

log = logging.getLogger(__name__)

CLEARED = "output_audio_buffer.cleared"


class CallConnection(Connection):
    """One call's session: `socket` is its data channel."""

    def __init__(
        self,
        socket: WebSocket,
        assistant: Assistant,
        tracks: Tracks,
        *,
        model: str,
        record: bool,
        speaker_lock: str | None,
        conversation_options: ConversationOptions,
    ) -> None:
        """model, record, speaker_lock, conversation_options: see `RealtimeSession`."""
        super().__init__(
            socket, assistant, model=model, transcription=False, record=record, timings=False, lead_ms=LEAD_MS,
            speaker_lock=speaker_lock, conversation_options=conversation_options,
        )  # fmt: skip
        self.session.player = self
        self._tracks = tracks
        self._response = ""
        """ID of the conversation's current response. The sound of others is sent as events: there is one track."""
        self._sounding = False
        """Whether `output_audio_buffer.started` was sent, and no event that ends it."""

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
        """Pass the caller's sound to the session."""
        async for heard in self._tracks.heard():
            self.session.translation.uncommitted_ms += len(heard) / 16
            self.session.live.hear(heard)

    def _played(self, event: ServerEvent) -> list[Mapping[str, object]]:
        """Play the sound of an event; return the events to send in its place."""
        kind, response = event["type"], event.get("response")
        sound = event.get("delta")
        if isinstance(sound, bytes) and event["response_id"] == self._response:
            self._tracks.speaker.play(Clip.from_pcm16(sound, RATES_HZ["audio/pcm"]))
            if self._sounding:
                return []
            self._sounding = True
            return [self._about("started")]
        if kind == CLEARED:
            return self._silent("cleared")
        if kind == "response.output_audio.done" and event["response_id"] == self._response:
            self._tracks.speaker.end()
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
            self._tracks.speaker.cut()
        if not self._sounding:
            return []
        self._sounding = False
        return [self._about(how)]

    def _about(self, what: str) -> dict[str, object]:
        return {
            "type": f"output_audio_buffer.{what}", "event_id": f"event_{secrets.token_hex(10)}",
            "response_id": self._response,
        }  # fmt: skip


def connection(
    request: Request,
    socket: WebSocket,
    tracks: Tracks,
    *,
    model: str,
    session: str | None,
    speaker_lock: str | None,
    conversation_options: ConversationOptions,
) -> CallConnection:
    """Return the session of the call that this request opens. session: JSON of its configuration, in addition to that
    of a client secret. Raises BadInput."""
    assistant = state_of(request).assistant
    made = CallConnection(
        socket, assistant, tracks, model=model, record=agreed(request), speaker_lock=speaker_lock,
        conversation_options=conversation_options,
    )  # fmt: skip
    if bound := bound_session(request):
        made.begin_with(bound)
    if session is not None and (given := session_of(session)) != {}:
        made.begin_with(given)
    return made

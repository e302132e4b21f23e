"""A live conversation over WebRTC, `POST /ws/call`: the messages of `/ws?stream=1` on a data channel, and the sound on
tracks. The client can also send sound as messages, as on the WebSocket."""

import logging

from starlette.websockets import WebSocket

from pipeline.assistant import Assistant
from pipeline.audio.clip import Clip
from pipeline.conversation import events
from pipeline.conversation.events import Event
from pipeline.errors import ParleyError
from pipeline.personas import ConversationOptions
from pipeline.support.background import background
from server.talk.live import LiveSocket
from server.talk.resume import Resuming
from server.webrtc.tracks import LEAD_MS, Tracks

log = logging.getLogger(__name__)


class LiveCall(LiveSocket):
    """One call's conversation: `socket` is its data channel."""

    def __init__(
        self, socket: WebSocket, assistant: Assistant, conversation_options: ConversationOptions, tracks: Tracks,
        resuming: Resuming,
    ) -> None:  # fmt: skip
        """conversation_options, resuming: see LiveSocket. Raises BadInput for invalid query parameters."""
        super().__init__(socket, assistant, conversation_options, resuming, lead_ms=LEAD_MS)
        self._tracks = tracks
        self.register()  # some seconds can pass until the call is connected

    async def work(self) -> None:
        async with background(self._listen()):
            await super().work()

    async def _listen(self) -> None:
        """Pass the caller's sound to the session."""
        try:
            async for heard in self._tracks.heard():
                self.hear(heard)
        except Exception:
            log.exception("the sound of a call could not be heard")
            await self.end(ParleyError("Something went wrong inside the service."))

    async def tell(self, event: Event) -> None:
        if isinstance(event, events.TurnInterrupted | events.TurnFailed):
            self._tracks.speaker.cut()
        elif isinstance(event, events.TurnCompleted):
            self._tracks.speaker.end()
        await super().tell(event)

    async def play(self, clip: Clip) -> None:
        """Play the sound on the track; the message gives its length for the client's clock."""
        self._tracks.speaker.play(clip)
        await self.send({"type": "speech_sound", "samples": len(clip.samples)})

"""The calls of one deployment: each has a peer connection and a session, and ends with the first of them."""

import asyncio
import logging
import secrets
from contextlib import ExitStack

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from starlette.requests import Request
from starlette.websockets import WebSocket

from pipeline.errors import BadInput, ParleyError
from pipeline.workers.scheduler import calling
from server.access import bound_session, budgets_of, caller_of
from server.access.limits import HELD
from server.ops.kept_conversations import agreed
from server.realtime.initial import session_of
from server.realtime.webrtc import bounds
from server.realtime.webrtc.connection import CallConnection
from server.realtime.webrtc.data_channel import DataChannel
from server.realtime.webrtc.listening import listening_on
from server.realtime.webrtc.sound import Speaker
from server.state import state_of

log = logging.getLogger(__name__)

CONNECT_S = 15.0
"""Timeout in seconds from the answer to the open data channel: for ICE, DTLS and SCTP together."""
GATHER_S = 5.0
"""Timeout in seconds for finding our own addresses."""
MAX_SDP_CHARS = 1 << 15
MAX_CANDIDATES = 64
"""Maximum number of the caller's addresses: each is tried."""
NEEDED = {
    "a=ice-ufrag:": "ICE user name", "a=ice-pwd:": "ICE password", "a=fingerprint:": "DTLS fingerprint",
    "opus/48000/2": "Opus",
}  # fmt: skip
"""Parts of an offer without which it cannot be answered."""
EVENTS = "oai-events"
"""Name of the data channel."""


def offer_of(sdp: str) -> RTCSessionDescription:
    """Check the size and the kind of an offer. Raises BadInput."""
    if len(sdp) > MAX_SDP_CHARS or sdp.count("a=candidate:") > MAX_CANDIDATES:
        raise _bad_offer(f"is longer than {MAX_SDP_CHARS} characters or has more than {MAX_CANDIDATES} candidates")
    if not sdp.startswith("v=0"):
        raise _bad_offer("does not begin with v=0")
    lines = sdp.splitlines()
    sections = sorted(line.partition(" ")[0] for line in lines if line.startswith("m="))
    if sections != ["m=application", "m=audio"]:
        raise _bad_offer("must have one section for audio, one for a data channel, and no others")
    for line, what in NEEDED.items():
        if line not in sdp:
            raise _bad_offer(f"has no {what} ({line})")
    # Names of the local network would be asked for by multicast; without an end, the caller can still call from others.
    kept = [line for line in lines if not (line.startswith("a=candidate:") and ".local " in line)]
    kept = [line for line in kept if not line.startswith("a=end-of-candidates")]
    return RTCSessionDescription("\r\n".join(kept) + "\r\n", "offer")


def _bad_offer(why: str) -> BadInput:
    return BadInput(f"The SDP offer {why}.", code="invalid_offer", param="sdp")


class Call:
    """One call. `answer` connects it, `run` runs it to its end."""

    def __init__(self, request: Request, *, model: str, session: str | None, speaker_lock: str | None) -> None:
        """request: the admitted request that opens the call; the call takes a slot and memory of its caller until
        `close`. session: JSON of the session's configuration. speaker_lock: see `RealtimeSession`. Raises
        ParleyError."""
        self.id = f"rtc_{secrets.token_hex(16)}"
        self.caller, budgets = caller_of(request), budgets_of(request)
        assistant = state_of(request).assistant
        self._host = assistant.settings.host
        self.recorded = agreed(request) and assistant.recorder is not None
        with ExitStack() as stack:
            stack.enter_context(budgets.conversations.one(self.caller))
            memory = stack.enter_context(budgets.memory.share(self.caller))
            self._channel = DataChannel(memory)
            scope = {**request.scope, "type": "websocket", HELD: memory}
            self._socket = WebSocket(scope, self._channel.receive, self._channel.send)
            self._speaker = Speaker()
            self.connection = CallConnection(
                self._socket, assistant, model=model, record=agreed(request), speaker=self._speaker,
                speaker_lock=speaker_lock,
            )  # fmt: skip
            if bound := bound_session(request):
                self.connection.begin_with(bound)
            if session is not None and (given := session_of(session)) != {}:
                self.connection.begin_with(given)
            self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
            self._held = stack.pop_all()
        self._peer.on("datachannel", self._opened)
        self._peer.on("track", self._received)
        self._peer.on("connectionstatechange", self._changed)

    async def answer(self, offer: RTCSessionDescription) -> str:
        """Return the SDP answer. Raises BadInput."""
        try:
            async with asyncio.timeout(GATHER_S):
                with listening_on(self._host):
                    await self._negotiate(offer)
        except TimeoutError:
            raise ParleyError("Our own network addresses were not found in time.", code="timeout") from None
        except BadInput:
            raise
        except Exception as error:  # the parser of a stranger's text raises what it likes
            log.info("an SDP offer was refused: %r", error)
            raise _bad_offer("cannot be answered") from None
        return str(self._peer.localDescription.sdp)

    async def _negotiate(self, offer: RTCSessionDescription) -> None:
        # Added before the offer is read, which would otherwise choose the codecs.
        audio = self._peer.addTransceiver(self._speaker, "sendrecv")
        codecs = RTCRtpSender.getCapabilities("audio").codecs
        audio.setCodecPreferences([one for one in codecs if one.mimeType == "audio/opus"])
        bounds.bound_sound(audio.receiver)
        await self._peer.setRemoteDescription(offer)
        if self._peer.getTransceivers() != [audio] or self._peer.sctp is None:
            raise _bad_offer("has other sections than audio and a data channel")
        bounds.bound_messages(self._peer.sctp, self.hang_up)
        await self._peer.setLocalDescription(await self._peer.createAnswer())

    async def run(self) -> None:
        """Run the session until the caller hangs up, the connection is lost, or the session ends."""
        try:
            try:
                async with asyncio.timeout(CONNECT_S):
                    await self._channel.opened.wait()
            except TimeoutError:
                log.info("call %s: the caller did not connect", self.id)
                return
            with calling(account=self.caller.account):
                await self._socket.accept()
                await self.connection.run()
        finally:
            await self.close()

    def hang_up(self) -> None:
        """End the call: its session sees a disconnect."""
        self._channel.close()
        self._channel.opened.set()

    async def close(self) -> None:
        """Close the peer connection and release what the call holds."""
        try:
            await bounds.close(self._peer)
        finally:
            self._held.close()

    def _opened(self, channel: RTCDataChannel) -> None:
        if channel.label == EVENTS:
            self._channel.attach(channel)
            for one in self._peer.getTransceivers():
                bounds.listen(one.receiver)

    def _received(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio":
            self.connection.hear(track)

    def _changed(self) -> None:
        if self._peer.connectionState in ("failed", "closed"):
            self.hang_up()

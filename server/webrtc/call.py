"""One call: a peer connection and a session. It ends with the first of them."""

import asyncio
import ipaddress
import logging
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from starlette.requests import Request
from starlette.websockets import WebSocket

from pipeline.errors import BadInput, Overloaded, ParleyError
from pipeline.workers.caller import calling
from server.access import budgets_of, caller_of
from server.access.limits import HELD
from server.state import state_of
from server.webrtc import bounds
from server.webrtc.data_channel import DataChannel
from server.webrtc.listening import is_here, listening
from server.webrtc.network import Network
from server.webrtc.tracks import Tracks

log = logging.getLogger(__name__)


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Return False for asyncio's report of a task of aiortc that was sending to a caller who is gone."""
    lost = record.exc_info is not None and isinstance(record.exc_info[1], ConnectionError)
    return not (lost and "RTCSctpTransport" in record.getMessage())


logging.getLogger("asyncio").addFilter(_worth_a_line)

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
DISCARD = 9
"""A port on which clients do not listen (RFC 863)."""
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
    mids = [line.removeprefix("a=mid:") for line in lines if line.startswith("a=mid:")]
    bundles = [line.split()[1:] for line in lines if line.startswith("a=group:BUNDLE")]
    if any(len(set(ids)) < len(ids) or not set(ids) <= set(mids) for ids in (mids, *bundles)):
        raise _bad_offer("names a section twice, or bundles one that it does not have (a=mid:, a=group:BUNDLE)")
    # Names of the local network would be asked for by multicast; without an end, the caller can still call from others.
    kept = [line for line in lines if not (line.startswith("a=candidate:") and ".local " in line)]
    kept = [line for line in kept if not line.startswith("a=end-of-candidates")]
    return RTCSessionDescription("\r\n".join(kept) + "\r\n", "offer")


def _bad_offer(why: str) -> BadInput:
    return BadInput(f"The SDP offer {why}.", code="invalid_offer", param="sdp")


class CallSession(Protocol):
    """The session of a call."""

    @property
    def session_id(self) -> str:
        """ID of its conversation."""

    async def run(self) -> None:
        """Run until one side ends it."""


class Call:
    """One call. `answer` connects it, `run` runs it to its end."""

    def __init__(self, request: Request, open_session: Callable[[WebSocket, Tracks], CallSession]) -> None:
        """request: the admitted request that opens the call; the call takes a slot and memory of its caller until
        `close`. open_session: makes the session, which reads and writes the data channel like a WebSocket. Raises
        ParleyError."""
        self.id = f"rtc_{secrets.token_hex(16)}"
        """Name of the call, for `…/hangup`."""
        self.caller, budgets = caller_of(request), budgets_of(request)
        state = state_of(request)
        self._network, self._stopping = state.calls.network, state.draining.begun
        self._host = request.client.host if request.client else ""
        if self._network.local and not is_here(self._host):
            raise BadInput(
                "Calls are possible from this machine only: set WEBRTC_ADDRESS (docs/webrtc.md).", code="not_reachable"
            )
        self._tracks = Tracks()
        with ExitStack() as stack:
            stack.enter_context(budgets.conversations.one(self.caller))
            memory = stack.enter_context(budgets.memory.share(self.caller))
            self._channel = DataChannel(memory)
            scope = {**request.scope, "type": "websocket", HELD: memory}
            self._socket = WebSocket(scope, self._channel.receive, self._channel.send)
            self.session = open_session(self._socket, self._tracks)
            self._peer = RTCPeerConnection(RTCConfiguration(iceServers=_ice_servers(self._network)))
            self._held = stack.pop_all()
        self._tracks.speaker.on("ended", self.hang_up)  # aiortc stops a track that it can no longer send
        self._peer.on("datachannel", self._opened)
        self._peer.on("track", self._received)
        self._peer.on("connectionstatechange", self._changed)

    async def answer(self, offer: RTCSessionDescription) -> str:
        """Return the SDP answer. Raises BadInput, or Overloaded if no UDP port is free."""
        try:
            async with asyncio.timeout(GATHER_S):
                with listening(self._network):
                    await self._negotiate(offer)
        except TimeoutError:
            raise ParleyError("Our own network addresses were not found in time.", code="timeout") from None
        except (BadInput, Overloaded):
            raise
        except Exception as error:  # the parser of a stranger's text raises what it likes
            log.info("an SDP offer was refused: %r", error)
            raise _bad_offer("cannot be answered") from None
        return str(self._peer.localDescription.sdp)

    async def _negotiate(self, offer: RTCSessionDescription) -> None:
        # Added before the offer is read, which would otherwise choose the codecs.
        audio = self._peer.addTransceiver(self._tracks.speaker, "sendrecv")
        codecs = RTCRtpSender.getCapabilities("audio").codecs
        audio.setCodecPreferences([one for one in codecs if one.mimeType == "audio/opus"])
        bounds.bound_sound(audio.receiver)
        await self._peer.setRemoteDescription(_with_host(offer, self._host) if self._network.servers else offer)
        if self._peer.getTransceivers() != [audio] or self._peer.sctp is None:
            raise _bad_offer("has other sections than audio and a data channel")
        bounds.bound_messages(self._peer.sctp, self.hang_up)
        await self._peer.setLocalDescription(await self._peer.createAnswer())

    async def run(self) -> None:
        """Run the session until the caller hangs up, the connection is lost, or the session ends."""
        try:
            if not await self._connects():
                log.info("call %s: the caller did not connect", self.id)
                self.hang_up()  # the session runs in any case: it keeps a conversation that the call has resumed
            with calling(account=self.caller.account):
                await self._socket.accept()
                await self.session.run()
        finally:
            await self.close()

    async def _connects(self) -> bool:
        """Wait for the caller's data channel. Return False if it does not come in time, or not before the service
        stops."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._channel.opened, self._stopping)]
        try:
            await asyncio.wait(waits, timeout=CONNECT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
        return self._channel.opened.is_set()

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
            self._tracks.receive(track)

    def _changed(self) -> None:
        if self._peer.connectionState in ("failed", "closed"):
            self.hang_up()


def _with_host(offer: RTCSessionDescription, host: str) -> RTCSessionDescription:
    """Add the address of the request to those of the client, which may have left out its own: a NAT or a TURN server in
    front of the service lets in only an address to which the service has sent. The port does not matter."""
    try:
        host = str(ipaddress.ip_address(host))
    except ValueError:
        return offer
    first, mark, second = offer.sdp.rpartition("\r\nm=")
    added = f"\r\na=candidate:host 1 udp 1 {host} {DISCARD} typ host"
    return RTCSessionDescription(first + added + mark + second, "offer")


def _ice_servers(network: Network) -> list[RTCIceServer]:
    return [RTCIceServer(server.url, server.name, server.password) for server in network.servers]

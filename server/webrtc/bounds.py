"""Limits that aiortc and aioice lack: on packets, sources, addresses and fragments that a peer sends.

Both keep what arrives in unbounded queues, and some of their loops cost more the more there is. The limits replace
methods of single objects, because the libraries have no hooks for them; `tests/webrtc/test_bounds.py` and
`test_packets.py` notice when a new version of them no longer calls these methods.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress

from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCSctpTransport
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcsctptransport import DataChunk
from aiortc.rtp import AnyRtcpPacket, RtcpByePacket, RtpPacket

from server.webrtc.decoder import SpeechDecoder
from server.webrtc.packet_order import PacketOrder

PACKETS_PER_S, BURST = 200.0, 100.0
"""RTP packets of a caller that are decoded: four times those of speech. More are dropped."""
MAX_SOURCES = 8
"""Maximum number of RTP sources (SSRC): reports about them must fit into one packet."""
MAX_STREAMS, MAX_FRAGMENTS, MAX_MISORDERED = 1024, 1024, 1024
"""Limits of SCTP: data channels, fragments of one message (a full one has some 1,200 bytes), and chunks in disorder."""
CLOSE_S = 2.0
"""Timeout in seconds for each step of the end of a connection."""
UNSENT_S = 1.0
"""Timeout in seconds for the last messages to reach the peer."""


def bound_sound(receiver: RTCRtpReceiver) -> None:
    """Limit the packets of a receiver, put them in order, decode them without a thread, and ignore the end of their
    source: browsers send it with each pause of a track.

    It receives nothing until `listen`.
    """
    loop = asyncio.get_running_loop()
    take, take_report = receiver._handle_rtp_packet, receiver._handle_rtcp_packet
    sources: dict[int, PacketOrder] = {}
    level, since = 0.0, loop.time()

    async def paced(packet: RtpPacket, arrival_time_ms: int) -> None:
        nonlocal level, since
        now = loop.time()
        level, since = max(0.0, level - (now - since) * PACKETS_PER_S), now
        if level >= BURST or (packet.ssrc not in sources and len(sources) >= MAX_SOURCES):
            return
        level += 1
        for one in sources.setdefault(packet.ssrc, PacketOrder()).take(packet):
            await take(one, arrival_time_ms=arrival_time_ms)

    async def without_bye(packet: AnyRtcpPacket) -> None:
        if not isinstance(packet, RtcpByePacket):
            await take_report(packet)

    receiver._handle_rtp_packet = paced  # type: ignore[method-assign]
    receiver._handle_rtcp_packet = without_bye  # type: ignore[method-assign]
    receiver._RTCRtpReceiver__jitter_buffer = SpeechDecoder(receiver)  # type: ignore[attr-defined]
    receiver._enabled = False


def listen(receiver: RTCRtpReceiver) -> None:
    """Let a receiver decode: from now on its track is read."""
    receiver._enabled = True


def bound_messages(sctp: RTCSctpTransport, exceeded: Callable[[], None]) -> None:
    """Call `exceeded` instead of accepting a fragment beyond the limits."""
    take = sctp._receive_data_chunk

    async def bounded(chunk: DataChunk) -> None:
        stream = sctp._inbound_streams.get(chunk.stream_id)
        if (
            sctp._advertised_rwnd <= 0
            or len(sctp._sack_misordered) > MAX_MISORDERED
            or chunk.stream_id >= MAX_STREAMS
            or (stream is not None and len(stream.reassembly) > MAX_FRAGMENTS)
        ):
            exceeded()
            return
        await take(chunk)

    sctp._receive_data_chunk = bounded  # type: ignore[method-assign]


async def close(peer: RTCPeerConnection) -> None:
    """Close a connection after its last messages were sent. Ends each part of it in any case: aiortc waits for ever for
    a receiver whose reports have failed, fails where an offer was answered by half, and would end nothing after it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(UNSENT_S):
            while peer.connectionState == "connected" and _unsent(peer.sctp):  # noqa: ASYNC110  # aiortc has no event
                await asyncio.sleep(0.02)
    closing = asyncio.ensure_future(peer.close())
    await asyncio.wait([closing], timeout=CLOSE_S)
    if closing.done() and closing.exception() is None:
        return
    for transceiver in peer.getTransceivers():
        await _ended(transceiver.sender.stop())
    transports = {one.receiver.transport for one in peer.getTransceivers()}
    if peer.sctp is not None:
        await _ended(peer.sctp.stop())
        transports.add(peer.sctp.transport)
    for transport in filter(None, transports):
        await _stop(transport)
    closing.cancel()
    await asyncio.wait([closing])


def _unsent(sctp: RTCSctpTransport | None) -> bool:
    return sctp is not None and bool(sctp._data_channel_queue or sctp._outbound_queue or sctp._sent_queue)


async def _stop(transport: RTCDtlsTransport) -> None:
    ice = transport.transport
    await _ended(transport.stop())
    await _ended(ice.stop())


async def _ended(stopping: Coroutine[object, object, None]) -> None:
    with suppress(Exception):  # what has not begun cannot end
        async with asyncio.timeout(CLOSE_S):
            await stopping

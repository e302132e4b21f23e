"""Limits on what a caller can make the service keep or do: packets, sources and channels."""

import asyncio
from collections.abc import Iterator

import psutil
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.rtp import HeaderExtensionsMap, RtpPacket

from server.webrtc import bounds
from tests.questions import SUM, spoken
from tests.server_process import ServerProcess, serving
from tests.stt.recordings import TRAINED
from tests.webrtc.caller import SOON_S, Caller, calling, offer

pytestmark = [pytest.mark.asyncio, pytest.mark.real_time]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(tmp_path_factory.mktemp("bounds"), **TRAINED) as server:
        yield server
    assert "Traceback" not in server.text


def udp_ports(server: ServerProcess) -> int:
    return len(psutil.Process(server.process.pid).net_connections("udp"))


async def closed(server: ServerProcess) -> None:
    """Wait until the service has no call."""
    async with asyncio.timeout(SOON_S):
        while udp_ports(server):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def answered(server: ServerProcess) -> None:
    """Ask a question in a call, and wait for the whole reply."""
    async with calling(server.url) as caller:
        caller.mouth.say(spoken(SUM))
        await caller.until("response.done")


async def flood(caller: Caller, packets: int, sources: int, step: int, payload: bytes = b"\xf8\xff\xfe") -> None:
    """Send small packets of several sources, whose timestamps claim more sound than there is time."""
    [transceiver] = caller.peer.getTransceivers()
    for number in range(packets):
        packet = RtpPacket(
            payload_type=96, sequence_number=number % 2**16, timestamp=number * step % 2**32, ssrc=1 + number % sources
        )
        packet.payload = payload
        await transceiver.sender.transport._send_rtp(packet.serialize(HeaderExtensionsMap()))
        if number % 100 == 0:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("sources", "step"), [(200, 960), (1, 47_000)], ids=["many sources", "leaping timestamps"])
async def test_a_flood_of_packets_ends_with_its_call(server: ServerProcess, sources: int, step: int) -> None:
    await answered(server)  # the first call loads what all calls need
    before = psutil.Process(server.process.pid).memory_info().rss
    async with calling(server.url) as caller:
        assert udp_ports(server)
        await flood(caller, 5_000, sources, step)
        await asyncio.sleep(1.5)  # a report about the sources
        await answered(server)
    await closed(server)
    assert psutil.Process(server.process.pid).memory_info().rss - before < 60 * 2**20


async def test_packets_that_are_not_opus_are_ignored(server: ServerProcess) -> None:
    async with calling(server.url) as caller:
        await flood(caller, 10, 1, 960, b"\xfb\xff\xff\xff")
        caller.mouth.say(spoken(SUM))
        await caller.until("response.done")


async def test_a_caller_with_too_many_channels_is_disconnected(server: ServerProcess) -> None:
    async with calling(server.url) as caller:
        for number in range(700):
            caller.peer.createDataChannel(str(number))
        async with asyncio.timeout(SOON_S):
            await caller.ended.wait()
    await closed(server)


async def test_a_connection_that_an_offer_has_half_built_is_closed() -> None:
    """aiortc fails in the middle of an offer whose bundle has a section that does not exist, and also fails to close
    what it has begun."""
    peer = RTCPeerConnection()
    peer.addTransceiver("audio")
    sdp = (await offer()).replace("a=mid:0", "a=mid:7")
    with pytest.raises(AttributeError):
        await peer.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
    await bounds.close(peer)
    assert peer.connectionState == "closed"

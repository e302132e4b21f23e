"""Packets of a caller that are lost, overtaken or doubled on their way: what is heard of the speech."""

import asyncio
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtp import RtpPacket

from pipeline.audio.clip import Clip, Samples
from server.webrtc import bounds
from server.webrtc.packet_order import LEAP, PacketOrder
from server.webrtc.tracks import Tracks
from tests.questions import SUM, SUM_ANSWER, spoken
from tests.server_process import ServerProcess, serving
from tests.stt.recordings import TRAINED
from tests.webrtc.caller import FRAME, SOON_S, Caller, Delivery, calling

RATE_HZ = 16_000
PACKET = RATE_HZ // 50
"""Samples of a packet at 16 kHz."""


def loses() -> Delivery:
    """Every twentieth packet is lost."""
    return lambda number, packet: [packet] if number % 20 else []


def overtakes() -> Delivery:
    """Every tenth packet arrives after the next three."""
    late: list[bytes] = []

    def deliver(number: int, packet: bytes) -> list[bytes]:
        if number % 10 == 0:
            late.append(packet)
            return []
        return [packet, late.pop()] if late and number % 10 == 3 else [packet]

    return deliver


def doubles() -> Delivery:
    """Every packet arrives twice: at once and after the next two."""
    before: list[bytes] = []

    def deliver(number: int, packet: bytes) -> list[bytes]:
        before.append(packet)
        return [packet, before.pop(0)] if len(before) > 2 else [packet]

    return deliver


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(tmp_path_factory.mktemp("packets"), **TRAINED) as server:
        yield server
    assert "Traceback" not in server.text


@pytest.mark.real_time
@pytest.mark.parametrize("network", [loses, overtakes, doubles])
async def test_a_question_over_a_bad_network_is_answered(
    server: ServerProcess, network: Callable[[], Delivery]
) -> None:
    async with calling(server.url) as caller:
        caller.through(network())
        caller.mouth.say(spoken(SUM))
        done = await caller.until("response.done")
        assert done["response"]["status"] == "completed"
        if network is not loses:  # of which the recogniser may miss a word
            [heard] = [one["transcript"] for one in caller.events if one["type"].endswith("transcription.completed")]
            assert heard == SUM
            assert SUM_ANSWER in done["response"]["output"][0]["content"][0]["transcript"]
        stopped = next(event for event in caller.events if event["type"] == "input_audio_buffer.speech_stopped")
        started = next(event for event in caller.events if event["type"] == "input_audio_buffer.speech_started")
        length_ms = stopped["audio_end_ms"] - started["audio_start_ms"]
        assert length_ms == pytest.approx(1000 * spoken(SUM).seconds, abs=600)


async def received(said: Clip, network: Delivery) -> Samples:
    """Return what the receiving side of a call hears of this sound."""
    caller, peer, tracks = Caller(), RTCPeerConnection(RTCConfiguration(iceServers=[])), Tracks()
    try:
        await caller.peer.setLocalDescription(await caller.peer.createOffer())
        audio = peer.addTransceiver(tracks.speaker, "sendrecv")
        bounds.bound_sound(audio.receiver)
        peer.on("track", tracks.receive)
        await peer.setRemoteDescription(RTCSessionDescription(caller.peer.localDescription.sdp, "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        await caller.peer.setRemoteDescription(RTCSessionDescription(peer.localDescription.sdp, "answer"))
        async with asyncio.timeout(SOON_S):
            while peer.connectionState != "connected":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            bounds.listen(audio.receiver)
            caller.through(network)
            caller.mouth.say(said)
            heard, silent_s = [np.zeros(0, np.float32)], 0.0
            async for part in tracks.heard():
                heard.append(part)
                silent_s = 0.0 if np.abs(part).max(initial=0.0) > 0.02 else silent_s + len(part) / RATE_HZ
                if caller.mouth.silent.is_set() and silent_s > 0.5:
                    break
        return np.concatenate(heard)
    finally:
        await caller.close()
        await peer.close()


def sweep(seconds: float) -> Samples:
    """Return a tone that rises from 200 to 1000 Hz, so that it sounds differently at each time."""
    at = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return np.asarray(0.4 * np.sin(2 * np.pi * (200 + 400 * at / seconds) * at), np.float32)


def aligned(said: Samples, heard: Samples) -> Samples:
    """Return the part of what was heard that resembles the sound most, with its length."""
    count = len(said) + len(heard)
    likeness = np.fft.irfft(np.fft.rfft(heard, count) * np.conj(np.fft.rfft(said, count)), count)
    start = int(np.argmax(likeness[: len(heard)]))
    return np.pad(heard[start:], (0, len(said)))[: len(said)]


@pytest.mark.real_time
@pytest.mark.parametrize("network", [overtakes, doubles])
async def test_what_arrives_is_heard_in_order_and_once(network: Callable[[], Delivery]) -> None:
    said = sweep(3)
    heard = aligned(said, await received(Clip(said, RATE_HZ), network()))
    parts = [(said[at : at + PACKET], heard[at : at + PACKET]) for at in range(0, len(said), PACKET)]
    likeness = [float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b) + 1e-9) for a, b in parts]
    assert min(likeness[2:-2]) > 0.8  # the codec smooths the edges


@pytest.mark.real_time
async def test_a_lost_packet_costs_no_other() -> None:
    said = sweep(3)
    heard = aligned(said, await received(Clip(said, RATE_HZ), loses()))
    silent = np.abs(heard.reshape(-1, PACKET // 4)).max(axis=1) < 0.05
    assert silent.mean() == pytest.approx(1 / 20, abs=0.02)


def packet(number: int, at: int | None = None) -> RtpPacket:
    """at: the time in packets; None: that of a sender that sends all the time."""
    timestamp = FRAME * (number if at is None else at) % 2**32
    return RtpPacket(sequence_number=number % 2**16, timestamp=timestamp)


def ordered(*numbers: int) -> list[list[int]]:
    """Return the sequence numbers that are passed on after each packet."""
    order = PacketOrder()
    return [[one.sequence_number for one in order.take(packet(number))] for number in numbers]


def test_packets_in_order_are_passed_on_at_once() -> None:
    assert ordered(65_534, 65_535, 65_536, 65_537) == [[65_534], [65_535], [0], [1]]


def test_an_overtaken_packet_is_waited_for_and_leaves_no_delay() -> None:
    assert ordered(65_534, 65_536, 65_537, 65_535, 65_538) == [[65_534], [], [], [65_535, 0, 1], [2]]


def test_packets_that_come_again_or_too_late_are_dropped() -> None:
    assert ordered(1, 1, 2, 4, 4, 3, 3, 2, 5) == [[1], [], [2], [], [], [3, 4], [], [], [5]]
    assert ordered(1, 3, 4, 5, 6, 7, 2, 8) == [[1], [], [], [], [], [3, 4, 5, 6, 7], [], [8]]


def test_a_pause_of_the_sender_ends_the_wait_for_a_lost_packet() -> None:
    order = PacketOrder()
    taken = [order.take(packet(number, at)) for number, at in ((1, 1), (3, 3), (4, 23))]
    assert [[one.sequence_number for one in some] for some in taken] == [[1], [], [3, 4]]


def test_a_source_that_begins_again_is_heard_at_once() -> None:
    assert ordered(500, 502, 2, 3) == [[500], [], [502, 2], [3]]
    assert ordered(500, 500 + LEAP + 1, 500 + LEAP + 2) == [[500], [601], [602]]


def test_few_packets_wait_whatever_their_timestamps() -> None:
    order = PacketOrder()
    passed_on = sum(len(order.take(packet(number, at=0))) for number in (0, *range(2, 2_000)))
    assert 1_999 - passed_on <= LEAP

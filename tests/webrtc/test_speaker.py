"""The track of the replies on virtual time: packets while something is played, and few in between."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from aiortc.codecs.opus import OpusDecoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame
from av.packet import Packet

from pipeline.audio.clip import Clip
from server.webrtc.encoder import FRAME, RATE_HZ, SILENCE
from server.webrtc.tracks import LEAD_MS, QUIET_FRAMES, QUIET_S, Speaker
from tests import virtual_time

Sent = list[tuple[float, "Packet[Any]"]]
FRAME_S = FRAME / RATE_HZ


def tone(seconds: float) -> Clip:
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(24_000 * seconds)) / 24_000)
    return Clip(wave.astype(np.float32), 24_000)


def sent(during: Callable[[Speaker], Any], seconds: float) -> Sent:
    """Return the packets of a speaker in this time, each with its time from the start. during: runs meanwhile."""

    async def run() -> Sent:
        await asyncio.sleep(1)
        speaker, loop, found = Speaker(), asyncio.get_running_loop(), Sent()
        begun = loop.time()

        async def read() -> None:
            while True:
                packet = await speaker.recv()
                found.append((loop.time() - begun, packet))

        reading, acting = asyncio.create_task(read()), asyncio.create_task(during(speaker))
        await asyncio.sleep(seconds)
        await acting
        reading.cancel()
        return found

    return virtual_time.run(run())


def sounding(packets: Sent) -> list[float]:
    """Return the times of the packets in which there is a tone."""
    decoder = OpusDecoder()  # aiortc's, with 16-bit samples
    decoded = [(at, decoder.decode(JitterFrame(bytes(packet), packet.pts or 0))) for at, packet in packets]
    return [at for at, [frame] in decoded if np.abs(cast(AudioFrame, frame).to_ndarray().astype(int)).max() > 3_000]


def test_silent_call_sends_a_packet_each_400_ms() -> None:
    async def wait(_: Speaker) -> None:
        return None

    packets = sent(wait, 10)
    at_rest = packets[QUIET_FRAMES + 1 :]
    assert len(packets) < 10 / QUIET_S + 2 * QUIET_FRAMES
    assert {bytes(packet) for _, packet in at_rest} == {SILENCE}
    times = [at for at, _ in at_rest]
    assert max(np.diff(times)) <= QUIET_S + 2 * FRAME_S


def test_sound_after_a_silence_is_sent_at_once_and_each_20_ms() -> None:
    async def speak(speaker: Speaker) -> None:
        await asyncio.sleep(5.013)
        speaker.play(tone(1.0))
        speaker.end()

    heard = sounding(sent(speak, 8))
    assert heard[0] - 5.013 <= FRAME_S + 0.001
    assert 49 <= len(heard) <= 52
    assert max(np.diff(heard)) <= FRAME_S + 0.001


def test_timestamps_follow_the_time() -> None:
    """A client plays a packet at the time that its timestamp says: also after a silence."""

    async def speak(speaker: Speaker) -> None:
        for pause_s in (0.5, 0.03, 2.711, 0.2):
            await asyncio.sleep(pause_s)
            for _ in range(10):
                speaker.play(tone(0.05))
                await asyncio.sleep(0.05)
            speaker.end()

    packets = sent(speak, 8)
    stamps = np.array([packet.pts for _, packet in packets])
    assert (np.diff(stamps) >= FRAME).all()  # no packet overlaps the one before
    assert np.abs([at for at, _ in packets] - stamps / RATE_HZ).max() < 0.001


def test_a_stopped_track_ends_at_once_and_keeps_no_sound() -> None:
    async def run() -> float:
        await asyncio.sleep(1)
        speaker, loop = Speaker(), asyncio.get_running_loop()
        for _ in range(QUIET_FRAMES + 1):
            await speaker.recv()
        waiting = asyncio.create_task(speaker.recv())
        await asyncio.sleep(0.05)
        begun = loop.time()
        speaker.stop()
        with pytest.raises(MediaStreamError):
            await waiting
        speaker.play(tone(1.0))
        assert not len(speaker._sound)
        return loop.time() - begun

    assert virtual_time.run(run()) <= FRAME_S


def test_sound_that_was_cut_ends_soon() -> None:
    async def interrupt(speaker: Speaker) -> None:
        await asyncio.sleep(1)
        speaker.play(tone(LEAD_MS / 1000 + 2))
        await asyncio.sleep(0.5)
        speaker.cut()

    heard = sounding(sent(interrupt, 4))
    assert 1 <= heard[0] < 1.03
    assert heard[-1] < 1.5 + 2 * FRAME_S

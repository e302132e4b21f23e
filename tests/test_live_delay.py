"""The delay of live sound between a transport and the conversation: under 10 ms in each direction."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from fractions import Fraction

import numpy as np
import pytest
from av import AudioFrame
from wyoming.audio import AudioChunk

from pipeline.audio.clip import Clip, Samples
from pipeline.audio.g711 import from_alaw, from_mulaw, to_alaw, to_mulaw
from pipeline.audio.stream_resampler import RateConverter
from pipeline.listening.detector import RATE_HZ
from pipeline.tts.wav_stream import PcmStream
from server.realtime.audio import RATES_HZ, Format, SoundIn, SoundOut
from server.talk.audio import LiveSound, WholeFile
from server.telephone.sound import Speaker as TelephoneSpeaker
from server.webrtc.encoder import FRAME
from server.webrtc.tracks import PLAY_HZ, Microphone, Speaker
from server.wyoming.audio import Conversion

CHUNK_S = 0.02
CLICK_S = 0.5
DELAY_S = 0.01

Chunks = Iterable[Samples]
Door = Callable[[Chunks], AsyncGenerator[Samples, None]]
"""Yields after each chunk what has come out."""


def websocket(rate_hz: int) -> Door:
    async def door(chunks: Chunks) -> AsyncGenerator[Samples, None]:
        live = LiveSound(str(rate_hz))
        for chunk in chunks:
            taken = live.take(Clip(chunk, rate_hz).pcm16())
            assert not isinstance(taken, WholeFile)
            yield np.concatenate([np.zeros(0, np.float32), *taken])

    return door


def realtime_in(format: Format) -> Door:
    encode = {"audio/pcm": lambda chunk: Clip(chunk, 24_000).pcm16(), "audio/pcmu": to_mulaw, "audio/pcma": to_alaw}

    async def door(chunks: Chunks) -> AsyncGenerator[Samples, None]:
        sound = SoundIn(format)
        for chunk in chunks:
            yield sound.take(encode[format](chunk))

    return door


def realtime_out(format: Format, rate_hz: int) -> Door:
    decode = {
        "audio/pcm": lambda data: Clip.from_pcm16(data, 24_000).samples, "audio/pcmu": from_mulaw,
        "audio/pcma": from_alaw,
    }  # fmt: skip

    async def door(chunks: Chunks) -> AsyncGenerator[Samples, None]:
        sound = SoundOut(format)
        for chunk in chunks:
            yield decode[format](sound.take(Clip(chunk, rate_hz)))

    return door


def wyoming(rate_hz: int) -> Door:
    async def door(chunks: Chunks) -> AsyncGenerator[Samples, None]:
        conversion = Conversion(asyncio.Lock())
        for chunk in chunks:
            event = AudioChunk(rate_hz, 2, 1, Clip(chunk, rate_hz).pcm16())
            yield np.concatenate([np.zeros(0, np.float32), *[part async for part in conversion.converted(event)]])

    return door


async def microphone(chunks: Chunks) -> AsyncGenerator[Samples, None]:
    heard, at = Microphone(), 0
    for chunk in chunks:
        pcm = np.frombuffer(Clip(chunk, 48_000).pcm16(), np.int16)
        frame = AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), at
        at += len(chunk)
        yield heard.take(frame)


def webrtc_speaker(rate_hz: int) -> Door:
    async def door(chunks: Chunks) -> AsyncGenerator[Samples, None]:
        speaker = Speaker()
        for chunk in chunks:
            speaker.play(Clip(chunk, rate_hz))
            sound = speaker._sound.astype(np.float32) / np.float32(32768)
            speaker._sound = speaker._sound[len(sound) :]
            yield sound

    assert FRAME == PLAY_HZ * CHUNK_S
    return door


def telephone_speaker(rate_hz: int) -> Door:
    async def door(chunks: Chunks) -> AsyncGenerator[Samples, None]:
        speaker = TelephoneSpeaker(8_000)
        for chunk in chunks:
            speaker.play(Clip(chunk, rate_hz))
            sound, speaker._sound = speaker._sound, speaker._sound[:0]
            yield sound

    return door


def telephone(from_hz: int, to_hz: int) -> Door:
    """The conversion of a call, before and after the codec of its line."""

    async def door(chunks: Chunks) -> AsyncGenerator[Samples, None]:
        converter = RateConverter(to_hz)
        for chunk in chunks:
            yield converter.take(Clip(chunk, from_hz))

    return door


def remote_voice(rate_hz: int) -> Door:
    async def door(chunks: Chunks) -> AsyncGenerator[Samples, None]:
        stream = PcmStream(rate_hz)
        for chunk in chunks:
            yield stream.push(Clip(chunk, rate_hz).pcm16()).samples

    return door


DOORS: dict[str, tuple[int, int, Door]] = {
    "/ws?rate=8000": (8_000, RATE_HZ, websocket(8_000)),
    "/ws?rate=16000": (16_000, RATE_HZ, websocket(16_000)),
    "/ws?rate=44100": (44_100, RATE_HZ, websocket(44_100)),
    "/ws?rate=47999": (47_999, RATE_HZ, websocket(47_999)),
    **{f"{format} in": (rate_hz, RATE_HZ, realtime_in(format)) for format, rate_hz in RATES_HZ.items()},  # type: ignore[arg-type]
    **{f"{format} out": (22_050, rate_hz, realtime_out(format, 22_050)) for format, rate_hz in RATES_HZ.items()},  # type: ignore[arg-type]
    "WebRTC microphone": (48_000, RATE_HZ, microphone),
    "WebRTC speaker": (22_050, PLAY_HZ, webrtc_speaker(22_050)),
    "wake words of Wyoming at 8 kHz": (8_000, RATE_HZ, wyoming(8_000)),
    "wake words of Wyoming at 44.1 kHz": (44_100, RATE_HZ, wyoming(44_100)),
    "telephone in": (8_000, RATE_HZ, telephone(8_000, RATE_HZ)),
    "telephone out": (22_050, 8_000, telephone(22_050, 8_000)),
    "AudioSocket speaker": (24_000, 8_000, telephone_speaker(24_000)),
    "remote voice": (22_050, 24_000, remote_voice(22_050)),
}


@pytest.mark.parametrize("name", DOORS)
async def test_live_sound_is_less_than_10_ms_late(name: str) -> None:
    from_hz, to_hz, door = DOORS[name]
    sound = np.zeros(from_hz, np.float32)
    sound[int(CLICK_S * from_hz)] = 0.9
    size, fed, came = int(from_hz * CHUNK_S), 0, list[Samples]()
    async for part in door(sound[at : at + size] for at in range(0, len(sound), size)):
        fed = min(fed + size, len(sound))
        came.append(part)
        assert fed / from_hz - sum(map(len, came)) / to_hz < DELAY_S
    click_s = int(np.argmax(np.abs(np.concatenate(came)))) / to_hz
    assert click_s == pytest.approx(CLICK_S, abs=0.001)

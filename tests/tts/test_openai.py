"""A compatible speech server on a real socket: streamed sound, and all failures."""

import asyncio
import struct
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline import tts
from pipeline.audio.clip import Clip, encode_wav
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.settings import HOME, Settings
from pipeline.tts import openai
from pipeline.tts.wav_stream import NotWav, WavStream
from pipeline.voices.catalogue import Voice, Voices
from tests.servers.speech import CHUNK_S, CHUNKS, KEY, SpeechServer, speech_server, tone

MAN = Voices(HOME / "voices", HOME / "audios").get("man")
SECONDS = CHUNKS * CHUNK_S


def settings(server: SpeechServer, **more: Any) -> Settings:
    return Settings(tts_openai_url=server.url, tts_openai_key=KEY, **more)


async def said(server: SpeechServer, text: str = "Hello.", voice: Voice = MAN, **more: Any) -> list[Clip]:
    async with openai.open_engine(settings(server, **more), lambda progress: None) as opened:
        return [clip async for clip in opened.engine.speak(text, voice=voice, language="en")]


@pytest.mark.parametrize(
    ("mode", "rate_hz"), [("pcm", 24_000), ("wav", 24_000), ("wav", 16_000), ("sneaky", 24_000), ("sneaky", 22_050)]
)
async def test_all_sound_arrives(mode: str, rate_hz: int) -> None:
    async with speech_server(mode, rate_hz) as server:
        clips = await said(server)
    assert len(clips) > 1
    assert {clip.rate_hz for clip in clips} == {24_000}
    whole = Clip.join(clips, 24_000)
    assert whole.seconds == pytest.approx(SECONDS, abs=0.01)
    assert np.sqrt(np.mean(whole.samples**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)


async def test_the_server_gets_model_voice_and_text() -> None:
    async with speech_server() as server:
        await said(server, "Say this.", tts_model="kokoro")
        await said(server, voice=Voice("dropped"))
        async with openai.open_engine(settings(server, voice_name="af_sky"), lambda progress: None) as opened:
            voices = Voices(HOME / "voices", HOME / "audios")
            voices.add_built_in(opened.voices)
            clips = opened.engine.speak("Hello.", voice=voices.get("af_sky"), language="en")
            assert [clip async for clip in clips]
        assert server.requests[0] == {
            "model": "kokoro", "voice": "onyx", "input": "Say this.", "response_format": "pcm",
        }  # fmt: skip
        assert [request["voice"] for request in server.requests] == ["onyx", "alloy", "af_sky"]
        assert await said(server, "🎉 ?!") == []
        assert len(server.requests) == 3


async def test_instructions_are_passed_on() -> None:
    async with speech_server() as server:
        await said(server, voice=replace(MAN, instructions="Whisper."))
        await said(server)
    assert [request.get("instructions") for request in server.requests] == ["Whisper.", None]


async def test_a_server_without_raw_samples_is_asked_for_wav_afterwards() -> None:
    async with speech_server("wav") as server:
        async with openai.open_engine(settings(server), lambda progress: None) as opened:
            for _ in range(2):
                assert [clip async for clip in opened.engine.speak("Hello.", voice=MAN, language=None)]
        assert [request["response_format"] for request in server.requests] == ["pcm", "wav", "wav"]


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("error", "HTTP 503.*the model is loading"),
        ("empty", "an empty response"),
        ("garbage", "not a WAV"),
        ("broken", "The connection to the speech server broke"),
    ],
)
async def test_failures_are_reported(mode: str, message: str) -> None:
    async with speech_server(mode) as server:
        with pytest.raises(EngineError, match=message):
            await said(server)


@pytest.mark.parametrize("mode", ["silent", "stall"])
async def test_a_server_that_stops_sending_times_out(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tts, "TIMEOUT_S", 0.3)
    async with speech_server(mode) as server:
        async with asyncio.timeout(60):
            with pytest.raises(EngineError) as raised:
                await said(server)
        assert raised.value.code == "timeout"


async def test_a_closed_stream_closes_the_connection() -> None:
    async with (
        speech_server("endless") as server,
        openai.open_engine(settings(server), lambda progress: None) as opened,
    ):
        async with aclosing(opened.engine.speak("Hello.", voice=MAN, language="en")) as stream:
            await anext(stream)
        async with asyncio.timeout(8):  # it would continue after 10 s
            await server.left_early.wait()


async def test_a_wrong_key_and_an_unreachable_server_are_reported() -> None:
    async with speech_server() as server:
        right = settings(server)
        with pytest.raises(EngineUnavailable, match="refuses the key") as raised:
            await openai.probe(Settings(tts_openai_url=server.url, tts_openai_key="wrong"))
        assert "TTS_OPENAI_KEY" in raised.value.remedy
        async with openai.open_engine(right, lambda progress: None) as opened:
            assert opened.device == f"127.0.0.1:{server.port}"
            server.key = "another"
            with pytest.raises(EngineError, match="refuses the key"):
                await anext(opened.engine.speak("Hello.", voice=MAN, language="en"))
    async with speech_server() as server, openai.open_engine(settings(server), lambda progress: None) as opened:
        server.listening.close()
        with pytest.raises(EngineError, match="cannot be reached"):
            await anext(opened.engine.speak("Hello.", voice=MAN, language="en"))
    with pytest.raises(EngineUnavailable, match="does not respond") as raised:
        await openai.probe(right)
    assert "TTS_OPENAI_URL" in raised.value.remedy


def test_a_wav_split_anywhere_is_decoded() -> None:
    wav = encode_wav(tone(0.1, 24_000))
    odd = wav[:12] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + wav[12:]
    for size in (1, 7, 45, 10_000):
        stream = WavStream()
        clips = [stream.push(odd[at : at + size]) for at in range(0, len(odd), size)] + [stream.finish()]
        assert Clip.join(clips, 24_000).pcm16() == wav[44:]


@pytest.mark.parametrize(
    "data",
    [
        b"<html>nothing here</html>",
        b"RIFF\0\0\0\0WAVEdata\0\0\0\0",
        encode_wav(tone(0.1, 24_000)).replace(b"\x10\x00data", b"\x18\x00data"),
        encode_wav(tone(0.1, 24_000)).replace(b"\xc0\x5d\0\0", b"\xff\xff\xff\x7f"),
        b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 10_000,
        b"RIFF",
    ],
)
def test_invalid_wavs_are_refused(data: bytes) -> None:
    stream = WavStream()
    with pytest.raises(NotWav):
        stream.push(data)
        stream.finish()

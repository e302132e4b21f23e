"""Encoding of speech in every format: one valid file, streamed early, at the requested speed."""

import io
from collections.abc import AsyncGenerator

import numpy as np
import pytest
import soundfile

from pipeline.audio.clip import Clip
from pipeline.audio.decode import decode_blocking
from pipeline.audio.encode import FORMATS, RATE_HZ, Encoder, encoded
from pipeline.audio.speed import MAX_SPEED, MIN_SPEED


def tone(seconds: float, rate_hz: int = 22_050, hz: float = 440.0) -> Clip:
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    return Clip((0.5 * np.sin(2 * np.pi * hz * time_s)).astype(np.float32), rate_hz)


def chunks(clip: Clip, seconds: float = 0.1) -> list[Clip]:
    size = int(seconds * clip.rate_hz)
    return [Clip(clip.samples[at : at + size], clip.rate_hz) for at in range(0, len(clip.samples), size)]


def written(kind: str, clip: Clip, speed: float = 1.0) -> tuple[bytes, int]:
    """Return the file, and the number of 100 ms chunks fed before its first audio came out."""
    encoder = Encoder(kind, speed=speed)
    data, first = b"", 0
    for number, chunk in enumerate(chunks(clip), 1):
        data += encoder.feed(chunk)
        if not first and len(data) > 300:
            first = number
    return data + encoder.finish(), first


def pitch(clip: Clip) -> float:
    spectrum = np.abs(np.fft.rfft(clip.samples * np.hanning(len(clip.samples))))
    return float(np.argmax(spectrum) * clip.rate_hz / len(clip.samples))


def sound_of(kind: str, data: bytes) -> Clip:
    return Clip.from_pcm16(data, RATE_HZ) if kind == "pcm" else decode_blocking(data, max_seconds=100)


@pytest.mark.parametrize("kind", FORMATS)
def test_encoded_speech_sounds_the_same(kind: str) -> None:
    clip = tone(3.0)
    data, first = written(kind, clip)
    found = sound_of(kind, data)
    assert found.seconds == pytest.approx(3.0, abs=0.12)
    assert pitch(found) == pytest.approx(440, abs=1)
    middle = found.samples[len(found.samples) // 4 : -len(found.samples) // 4]
    assert float(np.sqrt(np.mean(middle**2))) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)
    assert first <= 8, "the first audio must come before the end of the speech"


@pytest.mark.parametrize(
    ("kind", "mark"), [("wav", b"RIFF"), ("flac", b"fLaC"), ("opus", b"OpusHead"), ("mp3", b"Xing"), ("mp3", b"ID3")]
)
def test_streamed_file_has_one_header(kind: str, mark: bytes) -> None:
    data, _ = written(kind, tone(2.0))
    assert data.count(mark) == (0 if kind == "mp3" else 1)


def test_streamed_wav_does_not_claim_a_size() -> None:
    data, _ = written("wav", tone(1.0))
    assert data[4:8] == data[40:44] == b"\xff\xff\xff\xff"
    samples, rate_hz = soundfile.read(io.BytesIO(data))
    assert (len(samples), rate_hz) == (pytest.approx(RATE_HZ, abs=100), RATE_HZ)


@pytest.mark.parametrize("kind", ["pcm", "mp3"])
@pytest.mark.parametrize("speed", [MIN_SPEED, 0.7, 1.5, MAX_SPEED])
def test_speed_changes_the_length_and_not_the_pitch(kind: str, speed: float) -> None:
    data, _ = written(kind, tone(4.0), speed)
    found = sound_of(kind, data)
    assert found.seconds == pytest.approx(4.0 / speed, rel=0.08, abs=0.1)
    assert pitch(found) == pytest.approx(440, rel=0.02)


async def test_closing_the_encoded_stream_closes_its_source() -> None:
    closed = False

    async def speech() -> AsyncGenerator[Clip, None]:
        nonlocal closed
        try:
            while True:
                yield tone(0.2)
        finally:
            closed = True

    pieces = encoded(speech(), "wav")
    assert await anext(pieces)
    await pieces.aclose()
    assert closed

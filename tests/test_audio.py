"""Decoding of uploads and encoding of WAV files."""

import io
import struct
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.audio.clip import Clip, encode_wav
from pipeline.audio.decode import decode_blocking
from pipeline.errors import BadInput


def tone(seconds: float, rate_hz: int, channels: int = 1) -> np.ndarray:
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    mono = 0.5 * np.sin(2 * np.pi * 440 * t).astype(np.float32)
    return np.repeat(mono[:, None], channels, axis=1)


def file(samples: np.ndarray, rate_hz: int, format: str, subtype: str | None = None) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate_hz, format=format, subtype=subtype)
    return out.getvalue()


def with_av(samples: np.ndarray, rate_hz: int, container: str, codec: str) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=container) as target:
        stream: Any = target.add_stream(codec, rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples.T.copy(), format="fltp", layout="mono")
        frame.rate = rate_hz
        resampler = av.AudioResampler(stream.format.name, "mono", rate_hz, frame_size=stream.codec_context.frame_size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            target.mux(stream.encode(part))
        target.mux(stream.encode(None))
    return out.getvalue()


def loudness(clip: Clip) -> float:
    return float(np.sqrt(np.mean(clip.samples**2)))


WAVS = [(rate, ch, sub) for rate in (8_000, 44_100, 96_000) for ch in (1, 2, 8) for sub in ("PCM_16", "FLOAT")] + [
    (16_000, 1, sub) for sub in ("PCM_U8", "PCM_24", "PCM_32", "DOUBLE", "ALAW", "ULAW", "IMA_ADPCM")
]


@pytest.mark.parametrize(("rate_hz", "channels", "subtype"), WAVS)
def test_every_wav_variant_is_decoded(rate_hz: int, channels: int, subtype: str) -> None:
    clip = decode_blocking(file(tone(0.5, rate_hz, channels), rate_hz, "WAV", subtype), max_seconds=5)
    assert (clip.rate_hz, clip.samples.dtype, clip.samples.ndim) == (rate_hz, np.float32, 1)
    assert clip.seconds == pytest.approx(0.5, abs=0.07)
    assert loudness(clip) == pytest.approx(0.354, abs=0.03)


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAVEX", "PCM_16"),
        ("RF64", "PCM_16"),
        ("FLAC", None),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", None),
        ("AIFF", None),
    ],
)
def test_other_libsndfile_formats_are_decoded(format: str, subtype: str | None) -> None:
    clip = decode_blocking(file(tone(1, 48_000), 48_000, format, subtype), max_seconds=5)
    assert clip.seconds == pytest.approx(1, abs=0.1)
    assert loudness(clip) == pytest.approx(0.354, abs=0.03)


@pytest.mark.parametrize(("container", "codec"), [("webm", "libopus"), ("ipod", "aac"), ("matroska", "libopus")])
def test_browser_and_phone_formats_are_decoded(container: str, codec: str) -> None:
    clip = decode_blocking(with_av(tone(1, 48_000), 48_000, container, codec), max_seconds=5)
    assert clip.seconds == pytest.approx(1, abs=0.1)
    assert loudness(clip) == pytest.approx(0.354, abs=0.05)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_message"),
        (b"\0", "bad_audio"),
        (b"RIFF", "bad_audio"),
        (b"this is not audio at all" * 100, "bad_audio"),
        (bytes(range(256)) * 64, "bad_audio"),
        (encode_wav(Clip(np.zeros(0, np.float32), 16_000)), "no_audio"),
        (b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "bad_audio"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "bad_audio"),
    ],
)
def test_invalid_audio_is_rejected(data: bytes, code: str) -> None:
    with pytest.raises(BadInput) as raised:
        decode_blocking(data, max_seconds=5)
    assert raised.value.code == code


@pytest.mark.parametrize("format", ["WAV", "MP3", "FLAC"])
def test_truncated_file_is_decoded_up_to_the_cut(format: str) -> None:
    data = file(tone(2, 16_000), 16_000, format)
    clip = decode_blocking(data[: len(data) // 2], max_seconds=5)
    assert 0.5 < clip.seconds < 1.5
    assert loudness(clip) == pytest.approx(0.354, abs=0.05)


@pytest.mark.parametrize("claimed", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_streamed_wav_without_a_length_in_its_header_is_decoded(claimed: int) -> None:
    data = bytearray(encode_wav(Clip(tone(1, 16_000)[:, 0], 16_000)))
    data[4:8] = data[40:44] = struct.pack("<I", claimed)
    clip = decode_blocking(bytes(data), max_seconds=5)
    assert clip.seconds == pytest.approx(1, abs=0.01)


def test_long_audio_in_a_small_file_is_rejected() -> None:
    hours = file(np.zeros((8_000 * 3600, 1), np.float32), 8_000, "FLAC", "PCM_16")
    assert len(hours) < 2_000_000
    with pytest.raises(BadInput) as raised:
        decode_blocking(hours, max_seconds=60)
    assert raised.value.code == "audio_too_long"


def test_nan_and_infinity_are_removed_from_samples() -> None:
    samples = tone(0.1, 16_000)
    samples[5], samples[6] = np.nan, np.inf
    clip = decode_blocking(file(samples, 16_000, "WAV", "FLOAT"), max_seconds=5)
    assert np.isfinite(clip.samples).all()
    assert np.isfinite(np.frombuffer(Clip(samples[:, 0], 16_000).pcm16(), "<i2")).all()


@settings(max_examples=50)  # each is decoded three times, in processes
@given(st.binary(max_size=2000))
def test_garbage_raises_only_bad_input(data: bytes) -> None:
    for candidate in (
        data,
        b"RIFF\xff\xff\xff\xffWAVE" + data,
        encode_wav(Clip(np.zeros(8, np.float32), 8000))[:36] + data,
    ):
        try:
            clip = decode_blocking(candidate, max_seconds=5)
        except BadInput:
            continue
        assert np.isfinite(clip.samples).all()


@given(st.lists(st.floats(-2, 2, width=32), max_size=200), st.sampled_from([8_000, 16_000, 24_000]))
def test_wav_encoding_round_trips(values: list[float], rate_hz: int) -> None:
    clip = Clip(np.array(values, np.float32), rate_hz)
    samples, rate = soundfile.read(io.BytesIO(encode_wav(clip)), dtype="float32")
    assert rate == rate_hz
    np.testing.assert_allclose(samples, np.clip(clip.samples, -1, 1), atol=1e-4)


def test_clips_of_different_rates_are_joined() -> None:
    joined = Clip.join([Clip(tone(0.5, 22_050)[:, 0], 22_050), Clip(tone(0.5, 16_000)[:, 0], 16_000)], 24_000)
    assert joined.rate_hz == 24_000
    assert joined.seconds == pytest.approx(1, abs=0.001)

"""Complete sound: format changes inside a file, channels that cancel out, samples that are not numbers, DC offsets."""

import asyncio
import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from pipeline.audio.clip import Clip, Samples, encode_wav
from pipeline.audio.decode import Recording, check_sound, decode, decode_blocking
from pipeline.audio.decode.mixing import Mixer, Mono, Offset, weights_of
from pipeline.errors import BadInput
from pipeline.listening.detector import FRAME
from pipeline.listening.ear import Ear
from server.realtime.audio import whole
from server.talk.audio import LiveSound, WholeFile
from tests.stt.recordings import encoded

RATE_HZ = 16_000


def tone(hz: float, rate_hz: int, seconds: float = 1.0) -> Samples:
    return (0.4 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def written(hz: float, rate_hz: int, channels: int, format: str, subtype: str | None = None) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.repeat(tone(hz, rate_hz)[:, None], channels, 1), rate_hz, format=format, subtype=subtype)
    return out.getvalue()


def aac(hz: float, rate_hz: int) -> bytes:
    return encoded([Clip(tone(hz, rate_hz), rate_hz)], "adts", "aac", rate_hz=rate_hz)


def heard(data: bytes) -> list[Clip]:
    """The transcript as an utterance, and as a long recording."""
    blocks = list(Recording(io.BytesIO(data), max_seconds=60).blocks())
    return [decode_blocking(data, max_seconds=60), Clip(np.concatenate(blocks), RATE_HZ)]


def pitch(clip: Clip, from_s: float, to_s: float) -> float:
    part = clip.samples[int(from_s * clip.rate_hz) : int(to_s * clip.rate_hz)]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part))))
    return float(np.argmax(spectrum) * clip.rate_hz / len(part))


LOW, HIGH = 500.0, 1500.0
CHANGES: dict[str, Callable[[], bytes]] = {
    "mp3 same": lambda: written(LOW, 44_100, 1, "MP3") + written(HIGH, 44_100, 1, "MP3"),
    "mp3 rate": lambda: written(LOW, 44_100, 1, "MP3") + written(HIGH, 16_000, 1, "MP3"),
    "mp3 rate up": lambda: written(LOW, 16_000, 1, "MP3") + written(HIGH, 48_000, 1, "MP3"),
    "mp3 channels": lambda: written(LOW, 44_100, 2, "MP3") + written(HIGH, 44_100, 1, "MP3"),
    "aac rate": lambda: aac(LOW, 16_000) + aac(HIGH, 48_000),
    "vorbis rate": lambda: written(LOW, 44_100, 1, "OGG", "VORBIS") + written(HIGH, 16_000, 1, "OGG", "VORBIS"),
    "vorbis channels": lambda: written(LOW, 44_100, 1, "OGG", "VORBIS") + written(HIGH, 44_100, 2, "OGG", "VORBIS"),
    "opus channels": lambda: written(LOW, 48_000, 1, "OGG", "OPUS") + written(HIGH, 48_000, 2, "OGG", "OPUS"),
    "vorbis opus": lambda: written(LOW, 44_100, 1, "OGG", "VORBIS") + written(HIGH, 48_000, 2, "OGG", "OPUS"),
    "flac": lambda: written(LOW, 16_000, 1, "FLAC") + written(HIGH, 48_000, 2, "FLAC"),
    "wav": lambda: written(LOW, 16_000, 1, "WAV", "PCM_16") + written(HIGH, 48_000, 2, "WAV", "PCM_24"),
}
"""Files whose sound changes its format in the middle: made when a test needs them."""


@pytest.mark.parametrize("name", CHANGES)
def test_all_sound_is_decoded_across_format_changes(name: str) -> None:
    for clip in heard(CHANGES[name]()):
        assert clip.seconds == pytest.approx(2.0, abs=0.25)
        end = clip.seconds
        assert pitch(clip, 0.2, 0.8) == pytest.approx(LOW, abs=10)
        assert pitch(clip, end - 0.8, end - 0.2) == pytest.approx(HIGH, abs=10)


@pytest.mark.parametrize("name", ["mp3 rate", "aac rate", "vorbis channels", "vorbis opus"])
def test_all_sound_is_decoded_from_a_growing_file(name: str) -> None:
    class Growing:
        def __init__(self) -> None:
            self._file = io.BytesIO(CHANGES[name]())

        def read(self, size: int = -1) -> bytes:
            return self._file.read(min(size, 1000))

    clip = Clip(np.concatenate(list(Recording(Growing(), max_seconds=60).blocks())), RATE_HZ)
    assert clip.seconds == pytest.approx(2.0, abs=0.25)
    assert pitch(clip, clip.seconds - 0.8, clip.seconds - 0.2) == pytest.approx(HIGH, abs=10)


def row_of(*rates_hz: int) -> bytes:
    return b"".join(encode_wav(Clip(np.zeros(8, np.float32), rate_hz)) for rate_hz in rates_hz)


def test_concatenated_wavs_can_change_format_only_a_few_times() -> None:
    assert [clip.rate_hz for clip in heard(row_of(*range(8000, 8064)))] == [8000, RATE_HZ]
    many = row_of(*range(8000, 8065))
    with pytest.raises(BadInput, match="changes its format"):
        decode_blocking(many, max_seconds=60)
    with pytest.raises(BadInput, match="changes its format"):
        list(Recording(io.BytesIO(many), max_seconds=60).blocks())


async def test_thousands_of_concatenated_wavs_do_not_block_others() -> None:
    decoding = asyncio.create_task(decode(row_of(*[RATE_HZ] * 2000), max_seconds=60))
    turns = 0
    while not decoding.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert len((await decoding).samples) == 16_000
    assert turns > 2


def test_a_streamed_header_is_searched_for_a_thousand_chunks() -> None:
    for chunks, streamed in ((100, True), (2000, False)):
        header = encode_wav(Clip(np.zeros(0, np.float32), RATE_HZ))
        data = header[:12] + b"junk\0\0\0\0" * chunks + header[12:]
        assert isinstance(LiveSound(None).take(data), WholeFile) is not streamed


def test_the_duration_limit_counts_all_links_together() -> None:
    data = b"".join(written(LOW, 48_000, 1, "OGG", "OPUS") for _ in range(5))
    with pytest.raises(BadInput) as raised:
        decode_blocking(data, max_seconds=3)
    assert raised.value.code == "audio_too_long"
    with pytest.raises(BadInput) as raised:
        list(Recording(io.BytesIO(data), max_seconds=3).blocks())
    assert raised.value.code == "audio_too_long"


def loudness(samples: Samples) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


def stereo(left: Samples, right: Samples, format: str, subtype: str | None = None) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.stack([left, right], 1), RATE_HZ, format=format, subtype=subtype)
    return out.getvalue()


NOISE = 0.2 * np.random.default_rng(0).standard_normal(2 * RATE_HZ).clip(-4, 4).astype(np.float32)
FORMATS = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", None), ("MP3", None)]


@pytest.mark.parametrize(("format", "subtype"), FORMATS)
def test_opposite_channels_are_audible(format: str, subtype: str | None) -> None:
    alike = heard(stereo(NOISE, NOISE, format, subtype))
    for clip, same in zip(heard(stereo(NOISE, -NOISE, format, subtype)), alike, strict=True):
        assert loudness(clip.samples) == pytest.approx(loudness(same.samples), rel=0.05)


@pytest.mark.parametrize("quieter", [0.9, 0.7])
def test_nearly_opposite_channels_become_the_louder_one(quieter: float) -> None:
    for clip in heard(stereo(-quieter * NOISE, NOISE, "WAV")):
        assert loudness(clip.samples) == pytest.approx(loudness(NOISE), rel=0.02)


def test_channels_that_turn_opposite_are_mixed_without_a_click() -> None:
    sound = tone(200, RATE_HZ, 3.0)
    turned = np.where(np.arange(len(sound)) < RATE_HZ, sound, -sound)
    for clip in heard(stereo(sound, turned.astype(np.float32), "WAV", "FLOAT")):
        assert loudness(clip.samples[int(1.2 * RATE_HZ) :]) == pytest.approx(loudness(sound), rel=0.05)
        assert np.abs(np.diff(clip.samples)).max() < 3 * np.abs(np.diff(sound)).max()


@pytest.mark.parametrize("right", ["same", "other", "nothing"])
def test_ordinary_stereo_is_averaged(right: str) -> None:
    other = 0.2 * np.random.default_rng(1).standard_normal(len(NOISE)).clip(-4, 4).astype(np.float32)
    second = {"same": NOISE, "other": other, "nothing": np.zeros_like(NOISE)}[right]
    for clip in heard(stereo(NOISE, second, "WAV", "FLOAT")):
        np.testing.assert_allclose(clip.samples, (NOISE + second) / 2, atol=1e-5)


def test_surround_keeps_its_centre_and_drops_the_bass() -> None:
    weights = weights_of(("FL", "FR", "FC", "LFE", "SL", "SR"))
    assert weights.sum() == pytest.approx(1.0)
    assert weights[2] == max(weights)
    assert weights[3] == 0
    assert list(weights_of(("", "", "", ""))) == [0.25] * 4


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, 1e30])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_not_numbers_are_dropped(bad: float, channels: int) -> None:
    sound = np.repeat(tone(440, RATE_HZ)[:, None], channels, 1)
    damaged = sound.copy()
    damaged[100:110, 0] = bad
    damaged[5000, 0] = -bad
    out = io.BytesIO()
    soundfile.write(out, damaged, RATE_HZ, format="WAV", subtype="FLOAT")
    for clip in heard(out.getvalue()):
        assert np.isfinite(clip.samples).all()
        whole = np.ones(len(sound), bool)
        whole[100:110] = whole[5000] = False
        np.testing.assert_allclose(clip.samples[whole], sound[whole, 0], atol=0.01)
        if abs(bad) != 1e30:
            assert np.abs(clip.samples).max() <= np.abs(sound).max()


@pytest.mark.parametrize(("format", "subtype"), FORMATS)
@pytest.mark.parametrize("offset", [0.5, -0.3, 0.05])
def test_a_dc_offset_is_removed(format: str, subtype: str | None, offset: float) -> None:
    quiet = 0.25 * NOISE
    out = io.BytesIO()
    soundfile.write(out, quiet + np.float32(offset), RATE_HZ, format=format, subtype=subtype)
    for clip in heard(out.getvalue()):
        middle = clip.samples[RATE_HZ // 2 : 3 * RATE_HZ // 2]
        assert abs(middle.mean()) < 0.01
        assert loudness(middle) == pytest.approx(loudness(quiet), rel=0.1)
        assert np.abs(clip.samples).max() < 0.35


class Silent:
    def probability(self, frame: Samples) -> float:
        return 0.0

    def probabilities(self, frames: Samples) -> Samples:
        return np.zeros(len(frames), np.float32)

    def reset(self) -> None:
        pass


def samples_of(live: LiveSound, data: bytes) -> list[Samples]:
    taken = live.take(data)
    assert not isinstance(taken, WholeFile)
    return list(taken)


def test_a_dc_offset_of_live_sound_is_removed() -> None:
    pcm = Clip(0.25 * NOISE + np.float32(0.3), RATE_HZ).pcm16()
    live = LiveSound("16000")
    pieces = [piece for start in range(0, len(pcm), 640) for piece in samples_of(live, pcm[start : start + 640])]
    ear = Ear(Silent(), threshold=0.5, preroll_ms=0)
    for samples in (np.concatenate(pieces), np.concatenate(ear.frames(0.25 * NOISE + np.float32(0.3)))):
        assert abs(samples[len(samples) // 4 :].mean()) < 0.01
        assert np.abs(samples).max() < 0.35


def test_a_dc_offset_of_a_realtime_item_is_removed() -> None:
    clip = whole(Clip(0.25 * NOISE + np.float32(0.3), 24_000).pcm16(), "audio/pcm")
    assert clip.rate_hz == 24_000
    assert abs(clip.samples.mean()) < 0.01
    assert loudness(clip.samples) == pytest.approx(loudness(0.25 * NOISE), rel=0.1)


def test_padding_silence_gets_no_offset() -> None:
    ear = Ear(Silent(), threshold=0.5, preroll_ms=0)
    ear.frames(0.25 * NOISE[: 20 * FRAME + 100] + np.float32(0.3))
    [last] = ear.rest()
    assert len(last) == FRAME
    assert abs(last[:100].mean()) < 0.05
    assert not last[100:].any()
    assert ear.rest() == []


def test_sound_without_an_offset_is_unchanged() -> None:
    speech = NOISE * np.hanning(len(NOISE)).astype(np.float32)
    pcm = np.frombuffer(Clip(speech, RATE_HZ).pcm16(), "<i2")
    found = decode_blocking(encode_wav(Clip(speech, RATE_HZ)), max_seconds=60).samples
    assert np.abs(found - pcm / np.float32(32768)).max() == 0
    offset = Offset(RATE_HZ)
    for start in range(0, len(speech), 320):
        part = speech[start : start + 320]
        assert np.abs(offset.without(part) - part).max() < 0.02


def test_opposite_live_channels_are_audible() -> None:
    wave = stereo(NOISE, -NOISE, "WAV", "PCM_16")
    data = bytearray(wave)
    data[40:44] = b"\xff\xff\xff\xff"
    live = LiveSound(None)
    assert loudness(np.concatenate(samples_of(live, bytes(data)))) == pytest.approx(loudness(NOISE), rel=0.05)


def test_resampling_in_chunks_equals_one_stream() -> None:
    sound = tone(300, 44_100)
    one = Mono(RATE_HZ)
    parts = [piece for start in range(0, len(sound), 1000) for piece in
             one.feed(44_100, ("",), sound[start : start + 1000, None])]  # fmt: skip
    joined = np.concatenate([*parts, one.finish()])
    np.testing.assert_allclose(joined, soxr.resample(sound, 44_100, RATE_HZ), atol=1e-3)


def test_silence_does_not_choose_the_mix() -> None:
    mixer = Mixer(RATE_HZ, weights_of(("FL", "FR")))
    zeros = np.zeros((RATE_HZ, 2), np.float32)
    assert not mixer.mix(zeros).any()
    both = np.stack([NOISE, NOISE], 1)
    np.testing.assert_allclose(mixer.mix(both), NOISE, atol=1e-6)


# --- plain WAV ---


def wave(fmt: bytes, data: bytes, size: int | None = None, before: bytes = b"") -> bytes:
    chunks = before + b"fmt " + struct.pack("<I", len(fmt)) + fmt
    chunks += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


def fmt(tag: int = 1, channels: int = 1, rate_hz: int = RATE_HZ, bits: int = 16, frame: int | None = None) -> bytes:
    frame = channels * bits // 8 & 0xFFFF if frame is None else frame
    return struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * frame & 0xFFFFFFFF, frame, bits)


@pytest.mark.parametrize(
    "bad",
    [fmt(bits=0), fmt(bits=0, frame=0), fmt(bits=7, frame=9), fmt(bits=64), fmt(bits=65_535, frame=1),
     fmt(channels=0, frame=2), fmt(channels=65_535), fmt(rate_hz=0), fmt(rate_hz=2**32 - 1), fmt(frame=3),
     fmt(tag=3, bits=16), fmt(tag=3, bits=0), fmt(frame=65_535)],
)  # fmt: skip
def test_an_invalid_header_is_refused(bad: bytes) -> None:
    for size in (None, 0, 0xFFFFFFFF):
        data = wave(bad, bytes(4000), size)
        with pytest.raises(BadInput) as raised:
            decode_blocking(data, max_seconds=9)
        assert raised.value.code == "bad_audio"
        with pytest.raises(BadInput) as raised:
            list(Recording(io.BytesIO(data), max_seconds=9).blocks())
        assert raised.value.code == "bad_audio"


def test_chunks_of_any_size_can_precede_the_samples() -> None:
    pcm = Clip(tone(440, RATE_HZ), RATE_HZ).pcm16()
    for before in (b"LIST\3\0\0\0abc\0", b"JUNK" + struct.pack("<I", 5000) + bytes(5000), b"bext\0\0\0\0"):
        assert decode_blocking(wave(fmt(), pcm, before=before), max_seconds=9).seconds == 1.0


@pytest.mark.parametrize("claimed", [0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFF, 0])
def test_a_declared_length_allocates_nothing(claimed: int) -> None:
    pcm = Clip(tone(440, RATE_HZ), RATE_HZ).pcm16()
    for clip in heard(wave(fmt(), pcm, claimed)):
        assert clip.seconds == 1.0


@pytest.mark.parametrize("bits", [8, 16, 20, 24, 32])
def test_extensible_wavs_of_any_width_are_decoded(bits: int) -> None:
    width = (bits + 7) // 8
    sound = tone(440, RATE_HZ)
    if bits == 8:
        data = ((sound + 1) * 127.5).round().astype(np.uint8).tobytes()
    else:
        wide = (sound.astype(np.float64) * 2**31).astype("<i4")
        data = wide.view(np.uint8).reshape(-1, 4)[:, 4 - width :].tobytes()
    guid = struct.pack("<H", 1) + bytes.fromhex("000000001000800000aa00389b71")
    head = fmt(0xFFFE, bits=8 * width) + struct.pack("<HHI", 22, bits, 4) + guid
    clip = decode_blocking(wave(head, data), max_seconds=9)
    np.testing.assert_allclose(clip.samples, sound, atol=0.01)


async def test_a_plain_wav_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_please(*_: object) -> None:
        raise AssertionError("a process is started")

    monkeypatch.setattr("pipeline.audio.decode.processes.Call.__init__", none_please)
    data = written(440, 48_000, 2, "WAV", "PCM_24")
    assert (await decode(data, max_seconds=9)).seconds == 1.0
    assert sum(map(len, Recording(io.BytesIO(data), max_seconds=9).blocks())) == RATE_HZ


@pytest.mark.parametrize(
    "text", ["v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", "ffconcat version 1.0\nfile x\n", "<html>" * 900]
)
async def test_text_is_refused_without_a_process(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("pipeline.audio.decode.processes.Call", None)
    for way in (decode(text.encode(), max_seconds=60), None):
        with pytest.raises(BadInput) as refused:
            if way is not None:
                await way
            else:
                list(Recording(io.BytesIO(text.encode()), max_seconds=60).blocks())
        assert refused.value.code == "bad_audio"


def test_a_wav_header_that_looks_like_text_is_not_a_text_file() -> None:
    for clip in heard(written(440, 16_000, 1, "NIST")):
        assert clip.seconds == pytest.approx(1.0, abs=0.05)


def test_a_file_that_is_not_a_recording_is_not_a_voice(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.mp3", tmp_path / "bad.mp3"
    good.write_bytes(written(440, 16_000, 1, "MP3"))
    bad.write_bytes(b"no recording" * 50)
    check_sound(good)
    with pytest.raises(BadInput):
        check_sound(bad)

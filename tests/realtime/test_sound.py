"""The sound formats of Realtime, compared with libsndfile's."""

import io

import numpy as np
import pytest
import soundfile

from pipeline.audio.clip import Clip
from server.realtime.audio import RATES_HZ, Format, SoundIn, SoundOut, samples

LAWS: list[tuple[Format, str]] = [("audio/pcmu", "ULAW"), ("audio/pcma", "ALAW")]


@pytest.mark.parametrize(("format", "subtype"), LAWS)
def test_each_byte_decodes_as_in_libsndfile(format: Format, subtype: str) -> None:
    every = bytes(range(256))
    theirs, _ = soundfile.read(
        io.BytesIO(every), dtype="int16", format="RAW", subtype=subtype, samplerate=8_000, channels=1
    )
    assert np.array_equal(np.round(samples(every, format) * 32768).astype(int), theirs)


@pytest.mark.parametrize(("format", "subtype"), LAWS)
def test_sound_is_encoded_as_well_as_by_libsndfile(format: Format, subtype: str) -> None:
    wave = np.r_[np.linspace(-1, 1, 70_000), 0.001 * np.sin(np.arange(8_000))].astype(np.float32)
    coded = SoundOut(format).take(Clip(wave, 8_000))
    out = io.BytesIO()
    soundfile.write(out, wave, 8_000, format="RAW", subtype=subtype)
    ours, theirs = samples(coded, format), samples(out.getvalue(), format)
    assert np.abs(ours - wave).max() <= np.abs(theirs - wave).max() + 1e-4
    assert np.mean((ours - wave) ** 2) <= 1.05 * np.mean((theirs - wave) ** 2)


@pytest.mark.parametrize("format", RATES_HZ)
def test_a_reply_keeps_its_length_and_its_pitch(format: Format) -> None:
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050)).astype(np.float32)
    out = SoundOut(format)
    parts = [out.take(Clip(tone[at : at + 882], 22_050)) for at in range(0, len(tone), 882)]
    heard = samples(b"".join([*parts, out.end()]), format)
    assert len(heard) == RATES_HZ[format]
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    assert int(np.argmax(spectrum)) == 440


@pytest.mark.parametrize("size", [1, 3, 959, 4801])
def test_sound_can_be_split_anywhere(size: int) -> None:
    tone = Clip((0.5 * np.sin(np.arange(24_000) / 10)).astype(np.float32), 24_000)
    whole, cut = SoundIn("audio/pcm"), SoundIn("audio/pcm")
    data = tone.pcm16()
    expected = np.concatenate([whole.take(data), whole.end()])
    parts = [cut.take(data[at : at + size]) for at in range(0, len(data), size)]
    assert np.allclose(np.concatenate([*parts, cut.end()]), expected, atol=1e-4)

"""Live sound at another rate: as good as soxr's, in any chunks, and at once."""

import numpy as np
import pytest
import soxr

from pipeline.audio.clip import MAX_RATE_HZ, Clip
from pipeline.audio.stream_resampler import MAX_TABLE, RateConverter, StreamResampler

PAIRS = [
    (8_000, 16_000), (24_000, 8_000), (22_050, 8_000), (16_000, 8_000), (44_100, 16_000), (192_000, 16_000),
    (47_999, 16_000), (11_025, 48_000),
]  # fmt: skip


def chirp(rate_hz: int, lowest_hz: int) -> np.ndarray:
    """One second of tones up to 80 % of the lower Nyquist frequency."""
    at = np.arange(rate_hz) / rate_hz
    tones = [np.sin(2 * np.pi * share * lowest_hz / 2 * at) for share in (0.05, 0.3, 0.55, 0.8)]
    return (0.2 * np.sum(tones, axis=0)).astype(np.float32)


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_the_sound_is_that_of_soxr(from_hz: int, to_hz: int) -> None:
    sound, stream = chirp(from_hz, min(from_hz, to_hz)), StreamResampler(from_hz, to_hz)
    ours = np.concatenate([stream.take(sound), stream.end()])
    theirs = soxr.resample(sound, from_hz, to_hz)
    assert len(ours) == len(theirs)
    middle = slice(to_hz // 10, -to_hz // 10)
    assert np.abs(ours[middle] - theirs[middle]).max() < 0.004


@pytest.mark.parametrize(("from_hz", "to_hz"), [(24_000, 8_000), (48_000, 16_000)])
def test_tones_that_the_lower_rate_cannot_carry_are_removed(from_hz: int, to_hz: int) -> None:
    tone = np.sin(2 * np.pi * 0.65 * to_hz * np.arange(from_hz) / from_hz).astype(np.float32)
    assert np.abs(StreamResampler(from_hz, to_hz).take(tone)[to_hz // 10 :]).max() < 0.002


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_chunks_of_any_size_give_the_same_sound_within_3_ms(from_hz: int, to_hz: int) -> None:
    sound, whole, cut = chirp(from_hz, min(from_hz, to_hz)), StreamResampler(from_hz, to_hz), []
    stream, at = StreamResampler(from_hz, to_hz), 0
    for size in [0, 1, 2, 7, *[from_hz // 50] * 40]:
        cut.append(stream.take(sound[at : at + size]))
        at += size
        assert at / from_hz - sum(map(len, cut)) / to_hz < 0.003
    assert np.allclose(np.concatenate(cut), whole.take(sound[:at]), atol=1e-6)


def test_a_change_of_the_rate_loses_no_sound() -> None:
    converter = RateConverter(16_000)
    parts = [converter.take(Clip(chirp(rate_hz, 8_000), rate_hz)) for rate_hz in (8_000, 44_100, 16_000, 24_000)]
    assert sum(map(len, [*parts, converter.end()])) == pytest.approx(4 * 16_000, abs=3)


@pytest.mark.parametrize("from_hz", [MAX_RATE_HZ - 1, 191_999, 16_001, 4_001])
def test_a_filter_for_an_odd_rate_is_small(from_hz: int) -> None:
    assert StreamResampler(from_hz, 16_000)._filters.size <= 2 * MAX_TABLE

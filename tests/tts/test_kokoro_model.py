"""Clauses of Kokoro in windows, against the same clauses computed whole."""

import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.clip import Clip, Samples
from pipeline.errors import EngineError
from pipeline.support import onnx_graph
from pipeline.tts.kokoro import SHIPPED_VOICES
from pipeline.tts.kokoro_engine import SAMPLE, Kokoro, KokoroConfig
from pipeline.tts.kokoro_model import CHANNELS, DURATIONS, STATISTICS
from pipeline.tts.kokoro_statistics import ENOUGH, FAR, FILE, Expected, Forecast
from pipeline.tts.kokoro_voices import find_voices
from tests.real_models import real_model
from tests.tts.hearing import heard

MODEL = real_model("kokoro-82m")
real_model("whisper-tiny.en")

VOICES = find_voices([SHIPPED_VOICES])
WEATHER = "ðə wˈɛðəɹ ɪn lˈʌndən tədˈeɪ ɪz klˈaʊdi wɪð ɐ tʃˈæns ʌv ɹˈeɪn lˈeɪtəɹ ɪn ðɪ ˌæftəɹnˈuːn."
FOX = "ðə kwˈɪk bɹˈaʊn fˈɑːks dʒˈʌmps ˈoʊvɚ ðə lˈeɪzi dˈɑːɡ."
SIZE = STATISTICS * sum(CHANNELS)


@pytest.fixture(scope="module")
def engine() -> Kokoro:
    return Kokoro(KokoroConfig(str(MODEL), str(VOICES["af_heart"])))


@pytest.fixture(scope="module")
def unknown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the file of a voice without statistics, the same as af_heart."""
    file = tmp_path_factory.mktemp("voices") / "af_heart.bin"
    file.write_bytes(VOICES["af_heart"].read_bytes())
    return str(file)


def clips(engine: Kokoro, phonemes: str, voice: str, speed: float = 1.0) -> list[Clip]:
    return [clip for clip in engine.speak(phonemes, voice, speed) if clip is not None and len(clip.samples)]


def joined(engine: Kokoro, phonemes: str, voice: str, speed: float = 1.0) -> Samples:
    return Clip.join(clips(engine, phonemes, voice, speed), 24_000).samples


def aligned(one: Samples, other: Samples) -> tuple[Samples, Samples]:
    """Return the common part of two clips that begin at most 30 ms apart: faint sound at an end may be cut off."""
    middle = slice(12_000, 36_000)
    shift = max(range(-720, 721), key=lambda shift: float(one[middle] @ other[12_000 + shift : 36_000 + shift]))
    one, other = one[max(0, -shift) :], other[max(0, shift) :]
    both = min(len(one), len(other))
    return one[:both], other[:both]


def levels(wave: Samples) -> Samples:
    """Return the log spectrum of each 43 ms, in 64 bands."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, 1024)[::256] * np.hanning(1024)
    power = np.abs(np.fft.rfft(frames))[:, :512] ** 2
    bands: Samples = 10 * np.log10(power.reshape(len(frames), 64, 8).mean(2) + 1e-4)
    return bands


@pytest.mark.parametrize(("voice", "phonemes", "speed"), [("af_heart", WEATHER, 1.7), ("bm_george", FOX, 1.0)])
def test_windows_join_to_the_whole_clause(
    engine: Kokoro, tmp_path: Path, voice: str, phonemes: str, speed: float
) -> None:
    copy = tmp_path / f"{voice}.bin"
    copy.write_bytes(VOICES[voice].read_bytes())
    whole, windows = joined(engine, phonemes, str(copy), speed), joined(engine, phonemes, str(VOICES[voice]), speed)
    for sound in (whole, windows):
        loud = np.flatnonzero(np.abs(sound) > 0.01)
        assert loud[0] < 0.02 * 24_000
        assert len(sound) - loud[-1] < 0.26 * 24_000
    whole, windows = aligned(whole, windows)
    spectra = levels(whole)
    assert np.abs(spectra - levels(windows))[spectra.mean(1) > -30].mean() < 2
    assert heard(Clip(windows, 24_000)) == heard(Clip(whole, 24_000))


def test_the_first_sound_and_a_stop_cost_a_part_of_the_clause(engine: Kokoro) -> None:
    began = time.process_time()
    stream = engine.speak(WEATHER, str(VOICES["af_heart"]), 1.0)
    first = next(clip for clip in stream if clip is not None)
    until_first = time.process_time() - began
    rest = [clip for clip in stream if clip is not None]
    assert len(rest) > 5
    assert 0.1 < first.seconds < 0.5
    whole = time.process_time() - began
    assert until_first < 0.45 * whole

    began = time.process_time()
    stream = engine.speak(WEATHER, str(VOICES["af_heart"]), 1.0)
    assert any(clip is not None for clip in stream)
    stream.close()  # type: ignore[attr-defined]
    assert time.process_time() - began < 0.75 * whole


def test_a_voice_is_heard_in_windows_after_a_few_clauses(engine: Kokoro, unknown: str) -> None:
    counts = [len(clips(engine, FOX, unknown)) for _ in range(ENOUGH + 1)]
    assert set(counts[:ENOUGH]) == {2}  # the clause, and the pause after it
    assert counts[ENOUGH] > 4


def test_a_short_clause_is_computed_whole(engine: Kokoro) -> None:
    assert len(clips(engine, "jˈɛs.", str(VOICES["af_heart"]))) == 2


def test_what_is_expected_follows_the_clause() -> None:
    forecast = Forecast(np.array([[1.0], [0.0]], np.float32), np.array([[2.0, -1.0]], np.float32))
    expected = Expected(forecast)
    for count, (clause, statistics) in enumerate([((0, 9), (10, 20)), ((2, 0), (14, 18))] * ENOUGH):
        assert (expected.of(np.array([1, 0], np.float32)) is None) == (count < ENOUGH)
        expected.add(np.array(clause, np.float32), np.array(statistics, np.float32))
    told = [expected.of(np.array([one, 0], np.float32)) for one in (0, 1, 2)]
    np.testing.assert_allclose(np.array(told), [[10, 20], [12, 19], [14, 18]], atol=0.2)
    assert expected.of(np.array([2 * FAR, 0], np.float32)) is None  # unlike any clause of the voice


def test_the_forecast_and_the_voices_fit_the_model() -> None:
    forecast = Forecast.read(FILE)
    assert forecast.outputs.shape[1] == SIZE
    for voice in VOICES.values():
        assert Expected.read(voice.with_suffix(".npy"), forecast).average[-SIZE:].any()


def test_damaged_statistics_are_refused_by_name(tmp_path: Path) -> None:
    forecast = Forecast.read(FILE)
    file = tmp_path / "af_new.npy"
    assert not Expected.read(file, forecast).average.any()
    file.write_bytes(b"not an array")
    with pytest.raises(EngineError, match="af_new cannot be read"):
        Expected.read(file, forecast)
    with pytest.raises(EngineError, match=r"af_new\.npy of Kokoro's voices cannot be read"):
        Forecast.read(file)
    np.save(file, np.zeros((12, 7), np.float16))
    with pytest.raises(EngineError, match="af_new are of another version"):
        Expected.read(file, forecast)


def test_an_export_with_other_names_is_spoken_whole(tmp_path: Path) -> None:
    graph = onnx_graph.read(MODEL / "model.onnx")
    for node in graph.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == DURATIONS:
                    names[index] = "durations"
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    (tmp_path / "vocab.json").write_bytes((MODEL / "vocab.json").read_bytes())
    other = Kokoro(KokoroConfig(str(tmp_path), str(VOICES["af_heart"])))
    said = clips(other, SAMPLE, str(VOICES["af_heart"]))
    assert len(said) == 2
    assert heard(Clip.join(said, 24_000)) == "this is a short sentence"

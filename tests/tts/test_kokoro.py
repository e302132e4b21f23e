"""Kokoro-82M with its real weights, heard by Whisper."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import soundfile

from pipeline.audio.clip import Clip
from pipeline.engines import Opened
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.settings import HOME, Settings
from pipeline.support import measurements
from pipeline.tts import kokoro
from pipeline.tts.kokoro import KokoroSpeech
from pipeline.tts.kokoro_voices import OPENAI, built_in, choose, espeak_voice, find_voices
from pipeline.voices.catalogue import Voice, Voices
from tests.real_models import real_model
from tests.server_process import serving
from tests.tts.hearing import heard

MODELS = real_model("kokoro-82m").parent
real_model("whisper-tiny.en")

TEXT = "The quick brown fox jumps over the lazy dog."
WORDS = "the quick brown fox jumps over the lazy dog"
FILES = find_voices([kokoro.SHIPPED_VOICES])
SETTINGS = Settings(tts_engine="kokoro", models_dir=MODELS)


@pytest.fixture(scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Opened[KokoroSpeech]]:
    """Open the engine by name, on a machine that is too slow for `auto`."""
    folder = tmp_path_factory.mktemp("models")
    named = automatic(folder).model_copy(update={"tts_engine": "kokoro"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kokoro, "REAL_TIME", 0.001)
        async with kokoro.open_engine(named, lambda progress: None) as one:
            assert one.model == "Kokoro-82M"
            assert not list(folder.iterdir())  # its speed was not measured
            yield one


@pytest.fixture(scope="module")
def voices(opened: Opened[KokoroSpeech]) -> Voices:
    voices = Voices.load(SETTINGS)
    voices.add_built_in(opened.voices)
    return voices


async def said(opened: Opened[KokoroSpeech], text: str, voice: Voice, language: str | None = "en") -> Clip:
    clips = [clip async for clip in opened.engine.speak(text, voice=voice, language=language)]
    assert all(clip.rate_hz == 24_000 and clip.samples.dtype == np.float32 for clip in clips)
    return Clip.join(clips, 24_000)


@pytest.mark.asyncio(loop_scope="module")
async def test_whisper_hears_the_words_and_the_silence_around_them_is_cut(
    opened: Opened[KokoroSpeech], voices: Voices
) -> None:
    clip = await said(opened, TEXT, voices.get("bf_emma"))
    assert heard(clip) == WORDS
    assert 0.1 < np.abs(clip.samples).max() <= 1.0
    loud = np.flatnonzero(np.abs(clip.samples) > 0.01)
    assert loud[0] < 0.02 * clip.rate_hz
    assert len(clip.samples) - loud[-1] < 0.26 * clip.rate_hz


@pytest.mark.asyncio(loop_scope="module")
async def test_voices_and_speeds_differ(opened: Opened[KokoroSpeech], voices: Voices) -> None:
    woman = await said(opened, "Good morning.", voices.get("woman"))
    man = await said(opened, "Good morning.", voices.get("man"))
    assert _pitch_hz(woman) > 1.2 * _pitch_hz(man)
    fast = Voice("fast", engines={"kokoro": {"voice": "af_heart", "speed": 1.6}})
    assert (await said(opened, "Good morning.", fast)).seconds < 0.85 * woman.seconds
    with pytest.raises(EngineError, match=r"speed of 0\.5 to 2"):
        await said(opened, "Hi.", Voice("wrong", engines={"kokoro": {"speed": "fast"}}))


def _pitch_hz(clip: Clip) -> float:
    """Estimate the median pitch by autocorrelation of loud frames of 40 ms."""
    frames = clip.samples[: len(clip.samples) // 960 * 960].reshape(-1, 960)
    found = []
    for frame in frames[np.abs(frames).max(1) > 0.1]:
        spectrum = np.fft.rfft(frame - frame.mean(), 2048)
        correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:960]
        lag = 60 + int(np.argmax(correlation[60:340]))
        found.append(clip.rate_hz / lag)
    return float(np.median(found))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("es", "Buenos días."),
        ("fr", "Comment allez-vous ?"),
        ("hi", "आप कैसे हैं?"),
        ("it", "Buongiorno."),
        ("pt", "Bom dia, João."),
    ],
)
async def test_other_languages_are_spoken(opened: Opened[KokoroSpeech], language: str, text: str) -> None:
    assert opened.engine.speaks(language)
    assert 0.4 < (await said(opened, text, Voice("any"), language)).seconds < 5


@pytest.mark.asyncio(loop_scope="module")
async def test_a_language_it_lacks_is_refused_by_name(opened: Opened[KokoroSpeech]) -> None:
    for language in ("ja", "zh", "de", ""):
        assert not opened.engine.speaks(language)
    with pytest.raises(EngineError, match="does not speak 'de', only en, es") as raised:
        await said(opened, "Guten Tag.", Voice("any"), "de")
    assert raised.value.code == "unsupported_language"


@pytest.mark.asyncio(loop_scope="module")
async def test_text_without_words_makes_no_sound(opened: Opened[KokoroSpeech]) -> None:
    for text in ("", "*", "?!", "🎉", "\0"):
        assert (await said(opened, text, Voice("any"))).seconds == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_a_text_beyond_the_context_is_spoken_whole(opened: Opened[KokoroSpeech]) -> None:
    numbers = "one, two, three, four, five, six, seven, eight, nine, ten, "
    quick = Voice("quick", engines={"kokoro": {"speed": 2.0}})
    clip = await said(opened, numbers * 4, quick)
    assert clip.seconds > 6
    end = heard(Clip(clip.samples[-4 * clip.rate_hz :], clip.rate_hz))
    assert {"seven", "eight", "nine", "ten"} & set(end.split()) or "10" in end


@pytest.mark.asyncio(loop_scope="module")
async def test_a_cancelled_clause_stops_within_its_run(opened: Opened[KokoroSpeech]) -> None:
    long = "This is a sentence of many words, which go on and on. " * 2
    busy_s = []
    for seconds in (0.5, 600):
        before = _busy_s()
        task = asyncio.create_task(said(opened, long, Voice("any")))
        await asyncio.wait([task], timeout=seconds)
        task.cancel()
        await asyncio.wait([task])
        assert (await said(opened, "Next.", Voice("any"))).seconds > 0.2
        busy_s.append(_busy_s() - before)
    assert busy_s[0] < busy_s[1] / 2
    assert opened.load is not None
    assert opened.load().restarts == 0


def _busy_s() -> float:
    """Return the CPU seconds of the workers so far."""
    return sum(child.cpu_times().user for child in psutil.Process().children(recursive=True))


@pytest.mark.asyncio(loop_scope="module")
async def test_concurrent_streams_do_not_mix(opened: Opened[KokoroSpeech]) -> None:
    texts = ["Good morning.", "It is raining."]
    clips = await asyncio.gather(*(said(opened, text, Voice("any")) for text in texts))
    assert [heard(clip) for clip in clips] == ["good morning", "it is raining"]


def test_voices_have_their_names_and_those_of_openai(tmp_path: Path) -> None:
    names = {voice.name: voice for voice in built_in(FILES)}
    assert {"af_heart", "am_michael", "bf_emma", "bm_george"} <= names.keys()
    assert names.keys() >= OPENAI.keys()
    assert names["onyx"].engines["kokoro"]["voice"] == "am_michael"  # am_onyx is not among the shipped ones
    (tmp_path / "am_onyx.bin").write_bytes(FILES["am_michael"].read_bytes())
    more = {voice.name: voice for voice in built_in(find_voices([tmp_path, kokoro.SHIPPED_VOICES]))}
    assert more.keys() == names.keys() | {"am_onyx"}
    assert more["onyx"].engines["kokoro"]["voice"] == "am_onyx"


def test_a_voice_is_chosen_by_language() -> None:
    files = dict.fromkeys(("af_heart", "am_michael", "bf_emma", "pf_dora"), Path("voice.bin"))
    woman = Voices.load(SETTINGS).get("woman")
    assert choose(woman, "pt-br", files) == "pf_dora"
    assert choose(woman, "es", files) == "af_heart"
    assert choose(Voice("dropped"), "pt", files) == "pf_dora"
    assert choose(Voice("dropped"), "fr", files) == "af_heart"
    more = dict.fromkeys(("af_heart", "am_michael", "ff_siwis", "pf_dora", "pm_alex"), Path("voice.bin"))
    onyx = Voice("onyx", engines={"kokoro": {"voice": "am_michael"}})
    assert [choose(onyx, code, more) for code in ("en", "pt", "fr", "it")] == [
        "am_michael", "pm_alex", "ff_siwis", "am_michael",
    ]  # fmt: skip
    assert espeak_voice("en", "bf_emma") == "en-gb"
    assert espeak_voice("en-us", "bf_emma") == "en-us"
    assert espeak_voice("fr-ca", "af_heart") == "fr"
    assert espeak_voice("ja", "jf_alpha") is None


async def test_a_missing_or_broken_model_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="kokoro-82m is not installed") as raised:
        await kokoro.probe(Settings(models_dir=tmp_path, model_sources="none"))
    assert "MODELS_DIR" in raised.value.remedy
    with pytest.raises(EngineUnavailable, match="no Kokoro model in") as raised:
        await kokoro.probe(Settings(tts_model=str(tmp_path)))
    assert "TTS_MODEL" in raised.value.remedy
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    (tmp_path / "vocab.json").write_text(json.dumps({"vocab": {"a": 1}}))
    with pytest.raises(EngineError, match="could not be loaded"):
        async with kokoro.open_engine(Settings(tts_model=str(tmp_path)), lambda progress: None):
            pass


def automatic(tmp_path: Path) -> Settings:
    return Settings(tts_model=str(MODELS / "kokoro-82m"), models_dir=tmp_path)


@pytest.mark.asyncio(loop_scope="module")
async def test_auto_measures_once_and_refuses_a_slow_machine(
    opened: Opened[KokoroSpeech], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The engine that is open is given to each start: loading takes seconds."""
    monkeypatch.setattr(kokoro, "open_worker", lambda *_: nullcontext(opened.engine._worker))
    measurements.keep(tmp_path, kokoro.NAME, "another processor", 0.1)
    file = tmp_path / measurements.FOLDER / f"{kokoro.NAME}.json"
    before = file.read_text()
    monkeypatch.setattr(kokoro, "REAL_TIME", 0.001)
    with pytest.raises(EngineUnavailable, match="too slow for a conversation"):
        async with kokoro.open_engine(automatic(tmp_path), lambda progress: None):
            pass
    assert file.read_text() == before  # it may only have been busy: the next start measures again
    monkeypatch.setattr(kokoro, "REAL_TIME", 1000)
    async with kokoro.open_engine(automatic(tmp_path), lambda progress: None) as again:
        assert (await said(again, "Hello.", Voice("any"))).seconds > 0.3
    assert file.read_text() != before
    monkeypatch.setattr(kokoro, "REAL_TIME", 0.001)
    async with kokoro.open_engine(automatic(tmp_path), lambda progress: None):
        pass  # it does not measure again


def test_the_service_speaks_without_a_usable_kokoro(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"nothing")
    (folder / "vocab.json").write_bytes((MODELS / "kokoro-82m" / "vocab.json").read_bytes())
    with serving(tmp_path, TTS_ENGINE="auto", TTS_MODEL=str(folder)) as server:
        health = httpx.get(f"{server.url}/health").raise_for_status().json()
        speaker = next(engine for engine in health["engines"] if engine["stage"] == "tts")
        assert speaker["engine"] == "espeak"
        assert [note for note in speaker["notes"] if note.startswith("kokoro:") and "could not be loaded" in note]
        body = {"model": "tts-1", "input": TEXT, "voice": "alloy", "response_format": "wav"}
        answer = httpx.post(f"{server.url}/v1/audio/speech", json=body, timeout=60).raise_for_status()
        samples, rate_hz = soundfile.read(io.BytesIO(answer.content), dtype="float32")
        assert len(samples) > rate_hz


def test_shipped_voices_come_with_their_licence() -> None:
    folder = HOME / "voices" / "kokoro"
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert "hexgrad" in (folder / "NOTICE").read_text()

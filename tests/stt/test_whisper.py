"""Whisper through its real loading code: random models made here, and small trained ones with true transcripts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from pipeline import stt
from pipeline.audio.clip import Clip
from pipeline.engines import Opened
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.languages import NAMES
from pipeline.settings import Settings
from pipeline.stt import SpeechToText, TellsLanguage, whisper, whisper_model
from pipeline.stt.whisper_engine import WhisperConfig, WhisperEngine
from pipeline.stt.whisper_types import Encoded
from pipeline.stt.worker_client import last
from pipeline.support.progress import Progress
from tests.builders import whisper as builder
from tests.speech import Espeak
from tests.stt.conftest import RATE_HZ, UNSPOKEN, unspoken
from tests.stt.recordings import MODEL, spoken
from tests.waiting import eventually


def ignore(progress: Progress) -> None:
    pass


@asynccontextmanager
async def opened(model: Path, **settings: object) -> AsyncIterator[Opened[SpeechToText]]:
    # In a thread: a subprocess is tested with the workers, and costs a second each time. One copy, with the context
    # that each start would find for these models.
    usual = Settings(whisper_model=str(model), model_host="thread", stt_replicas=1, whisper_context_s=30.0)
    chosen = usual.model_copy(update=settings)
    async with whisper.open_engine(chosen, ignore) as engine:
        yield engine


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    return Espeak()


@pytest.fixture(scope="module")
def speech(espeak: Espeak) -> Clip:
    return Clip(np.pad(espeak.say("what time is it", "en-us+f2"), RATE_HZ // 2), RATE_HZ)


async def test_the_text_is_exact() -> None:
    wrong: list[tuple[str, str]] = []
    utterances = spoken()[::3]  # each takes 0.2 s of CPU
    assert len(utterances) > 10
    async with opened(MODEL) as engine:
        for text, sound in utterances:
            clip = Clip(np.pad(sound, RATE_HZ * 3 // 10), RATE_HZ)
            heard = await engine.engine.transcribe(clip, language=None, prompt=None, words=False)
            if heard.text != text:
                wrong.append((text, heard.text))
            assert heard.language == "en"
    assert wrong == []


async def test_words_have_times_within_the_speech(espeak: Espeak) -> None:
    sound = espeak.say("what time is it", "en-us+f2")
    clip = Clip(np.concatenate([np.zeros(2 * RATE_HZ, np.float32), np.pad(sound, RATE_HZ // 2)]), RATE_HZ)
    async with opened(MODEL, stt_replicas=0, whisper_context_s=0.0) as engine:
        heard = await engine.engine.transcribe(clip, language="en", prompt=None, words=True)
    assert [word.text for word in heard.words] == heard.text.split()
    assert heard.text
    times = [time for word in heard.words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert times[0] > 1.5  # including the two seconds before it
    assert times[-1] <= clip.seconds
    assert all(type(time) is float for time in times)


async def test_the_rate_of_the_clip_does_not_matter(speech: Clip) -> None:
    async with opened(MODEL) as engine:
        for rate_hz in (16_000, 22_050, 48_000):
            heard = await engine.engine.transcribe(speech.at(rate_hz), language=None, prompt=None, words=False)
            assert heard.text == "what time is it", rate_hz


@pytest.mark.parametrize(
    ("context_s", "sound_s", "encoded"),
    [(30, 2, 3000), (10, 2, 1000), (10, 9.5, 1050), (10, 15, 1600), (10, 29.5, 3000), (10, 30, 3000)],
)
def test_a_shorter_context_never_cuts_the_sound(context_s: float, sound_s: float, encoded: int) -> None:
    features = np.zeros((80, 3000), np.float32)
    features[:, : int(sound_s * 100)] = 1.0
    shortened = whisper_model.shortened(features, context_s)
    assert shortened.shape == (80, encoded)
    assert shortened.sum() == features.sum()


async def test_silence_has_no_transcript(babbling_whisper: Path, speech: Clip) -> None:
    async with opened(babbling_whisper) as engine:
        for name in UNSPOKEN:
            heard = await engine.engine.transcribe(unspoken(name), language=None, prompt=None, words=False)
            assert (heard.text, heard.language) == ("", None), name
            assert heard.duration_s == pytest.approx(unspoken(name).seconds)
        # The model itself would write some text for any sound.
        assert (await engine.engine.transcribe(speech, language=None, prompt=None, words=False)).text


async def test_text_with_low_confidence_is_left_out(random_whisper: Path, speech: Clip) -> None:
    async with opened(random_whisper) as engine:
        heard = await engine.engine.transcribe(speech, language="pt", prompt=None, words=False)
    assert (heard.text, heard.language) == ("", "pt")


async def test_the_language_is_detected_or_given(babbling_whisper: Path, speech: Clip) -> None:
    async with opened(babbling_whisper) as engine:
        detected = await engine.engine.transcribe(speech, language=None, prompt=None, words=False)
        assert detected.language in NAMES
        assert 0.0 < detected.language_probability <= 1.0
        for asked, code in (("pt", "pt"), ("pt-BR", "pt"), ("ES", "es")):
            given = await engine.engine.transcribe(speech, language=asked, prompt="before", words=False)
            assert given.language == code


async def test_any_sound_has_a_most_likely_language(babbling_whisper: Path, speech: Clip) -> None:
    async with opened(babbling_whisper) as engine:
        assert isinstance(engine.engine, TellsLanguage)
        heard = await engine.engine.transcribe(speech, language=None, prompt=None, words=False)
        assert (await engine.engine.language_of(speech))[0] == heard.language
        for sound in (unspoken("silence"), unspoken("nothing"), Clip(np.tile(speech.samples, 40), RATE_HZ)):
            language, probability = await engine.engine.language_of(sound)
            assert language in NAMES
            assert 0.0 < probability <= 1.0


def test_language_detection_encodes_the_sound_once(babbling_whisper: Path, speech: Clip) -> None:
    engine = WhisperEngine(WhisperConfig(str(babbling_whisper), (("cpu", "int8"),), 1, 1, 30.0))
    encoded = []
    inner = engine._model.model
    encode = inner.encode

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def encode(self, features: object, *, to_cpu: bool = False) -> Encoded:
            encoded.append(features)
            return encode(features, to_cpu=to_cpu)

    engine._model.model = Counting()
    assert last(engine.transcribe(speech, None, None, False)).language
    assert len(encoded) == 1


async def test_an_unknown_language_is_refused(random_whisper: Path, speech: Clip) -> None:
    async with opened(random_whisper) as engine:
        for language in ("xx", "klingon", "p", "'; drop"):
            with pytest.raises(EngineError, match="does not know this language") as raised:
                await engine.engine.transcribe(speech, language=language, prompt=None, words=False)
            assert raised.value.code == "unsupported_language"


async def test_an_english_model_accepts_only_english(tmp_path: Path, speech: Clip) -> None:
    model = builder.build(tmp_path / "english", multilingual=False, sure=True)
    async with opened(model) as engine:
        heard = await engine.engine.transcribe(speech, language=None, prompt=None, words=False)
        assert heard.language == "en"
        with pytest.raises(EngineError, match="English only"):
            await engine.engine.transcribe(speech, language="pt", prompt=None, words=False)


@pytest.mark.parametrize(("stored", "asked"), [("int8", "auto"), ("float32", "auto"), ("float32", "float32")])
async def test_the_requested_compute_type_is_used(tmp_path: Path, stored: str, asked: str) -> None:
    model = builder.build(tmp_path / "model", multilingual=False, quantization=stored)
    async with opened(model, whisper_compute_type=asked) as engine:
        assert engine.model == f"model ({'int8' if asked == 'auto' else asked})"
        assert engine.device == "cpu"


async def test_loading_errors_are_explained(tmp_path: Path, random_whisper: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (broken / name).write_bytes((random_whisper / name).read_bytes()[:100])
    with pytest.raises(EngineError, match="cannot be loaded"):
        async with opened(broken):
            pass
    with pytest.raises(EngineError, match="cannot be loaded"):
        async with opened(random_whisper, whisper_compute_type="float99"):
            pass


async def test_missing_cuda_is_refused(random_whisper: Path) -> None:
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("this machine has CUDA")
    with pytest.raises(EngineUnavailable, match="No CUDA device"):
        async with opened(random_whisper, whisper_device="cuda"):
            pass


async def test_a_call_in_a_subprocess_can_be_cancelled_and_times_out(
    babbling_whisper: Path, speech: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = Clip(np.tile(speech.samples, 20), RATE_HZ)
    async with opened(babbling_whisper, model_host="local") as engine:
        task = asyncio.create_task(engine.engine.transcribe(long, language=None, prompt=None, words=False))
        await eventually(lambda: engine.load is not None and engine.load().running)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.load is not None
        assert engine.load().running  # the caller did not wait for the result
        assert (await engine.engine.transcribe(speech, language=None, prompt=None, words=False)).text
    before = psutil.Process().children(recursive=True)
    monkeypatch.setattr(stt, "TIMEOUT_S", 5.0)
    async with opened(babbling_whisper, model_host="local") as engine:
        for child in psutil.Process().children(recursive=True):
            if child not in before:
                child.suspend()
        with pytest.raises(EngineError) as raised:
            await engine.engine.transcribe(long, language=None, prompt=None, words=False)
        assert raised.value.code == "timeout"

"""Real weights on real recordings: the text with a short context is the text with 30 s, and nothing is invented."""

import functools
import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import jiwer
import numpy as np
import pytest

from bench.wer_whisper import plain, unspoken
from pipeline.audio.clip import Clip
from pipeline.audio.decode import Recording, decode_blocking
from pipeline.settings import Settings
from pipeline.stt import FileRequest, Segment, SpeechToText, whisper
from pipeline.stt.short_context import Known
from pipeline.stt.whisper_engine import WhisperConfig, WhisperEngine
from pipeline.stt.whisper_model import Batch, Utterance, features_of
from pipeline.stt.whisper_windows import Asked, first_pass
from pipeline.stt.worker_client import last
from pipeline.transcripts.growing import GrowingFile, transcribe_growing
from pipeline.transcripts.long_files import transcribe_file
from tests.real_models import real_model
from tests.speech import Espeak
from tests.stt.recordings import encoded

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "audio"
TINY, BASE = "whisper-tiny.en", "whisper-base"
RATE_HZ = 16_000

needs_recordings = pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are missing")


@functools.cache
def engine_of(model: str, context_s: float = 10.0) -> WhisperEngine:
    return WhisperEngine(WhisperConfig(str(real_model(model)), (("cpu", "int8"),), 1, 1, context_s))


@functools.cache
def recording(names: str) -> Clip:
    """Recordings, one after the other."""
    parts = [decode_blocking((SHARED / f"{name}.wav").read_bytes(), max_seconds=60) for name in names.split()]
    return Clip(np.concatenate([part.at(RATE_HZ).samples for part in parts]), RATE_HZ)


def said(names: str) -> str:
    texts = {entry["file"]: entry["text"] for entry in json.loads((SHARED / "manifest.json").read_text("utf-8"))}
    return plain(" ".join(texts[f"{name}.wav"] for name in names.split()))


@pytest.fixture(scope="module")
def bilingual() -> bytes:
    """An MP3 of 20 s, in English and then in German."""
    sound = decode_blocking((SHARED / "multilingual.mp3").read_bytes(), max_seconds=60).at(RATE_HZ).samples
    english, german = sound[: int(11.3 * RATE_HZ)], sound[int(41.9 * RATE_HZ) : int(47.6 * RATE_HZ)]
    whole = Clip(np.concatenate([english, np.zeros(3 * RATE_HZ, np.float32), german]), RATE_HZ)
    return encoded([whole], "mp3", "libmp3lame")


@pytest.fixture(scope="module")
async def base() -> AsyncIterator[SpeechToText]:
    """Whisper base, for one window at a time."""
    async with opened(BASE, 1) as stt:
        yield stt


LONG = ("jfk", "libri1088 LJ001-0003 lj_0020")
"""11 and 28 s."""


@needs_recordings
def test_short_context_hears_long_utterances_as_well_as_the_full_one() -> None:
    texts = [said(names) for names in LONG]
    short, full = heard_long(10.0), heard_long(30.0)
    assert jiwer.wer(texts, short) <= jiwer.wer(texts, full) + 0.02
    assert jiwer.wer(texts, short) < 0.06


@needs_recordings
def test_batches_and_file_windows_hear_the_same_as_single_turns() -> None:
    engine = engine_of(TINY)
    clips = [recording(names) for names in LONG]
    texts = [said(names) for names in LONG]
    together: dict[int, str] = {}
    for index, step in engine.transcribe_many([(clip, "en", None, False) for clip in clips], never):
        if step is not None and not isinstance(step, Exception):
            together[index] = plain(step.text)
    parts: dict[int, list[str]] = {index: [] for index in range(len(clips))}
    for index, found in engine.segments_many([(clip, FileRequest("en")) for clip in clips], never):
        if found is not None and not isinstance(found, Exception):
            parts[index].append(found.text)
    assert jiwer.wer(heard_long(10.0), [together[index] for index in range(len(clips))]) < 0.02
    assert jiwer.wer(texts, [plain(" ".join(parts[index])) for index in range(len(clips))]) < 0.06


@pytest.mark.asyncio(loop_scope="module")
@needs_recordings
@pytest.mark.parametrize(("file_batch", "words"), [(1, False), (4, True)])
async def test_each_window_of_a_file_is_in_its_own_language(
    bilingual: bytes, base: SpeechToText, file_batch: int, words: bool
) -> None:
    async with nullcontext(base) if file_batch == 1 else opened(BASE, file_batch) as stt:
        found = await segments_of(stt, bilingual, FileRequest(words=words))
    languages = [one.language for one in found]
    assert languages == ["en"] * languages.count("en") + ["de"] * languages.count("de")
    texts = {code: " ".join(one.text for one in found if one.language == code) for code in ("en", "de")}
    assert texts["en"].startswith("Permission is hereby granted, free of charge")
    assert "Software zu verwenden" in texts["de"]


@pytest.mark.asyncio(loop_scope="module")
@needs_recordings
async def test_a_file_stays_in_the_language_of_its_request(bilingual: bytes, base: SpeechToText) -> None:
    found = await segments_of(base, bilingual, FileRequest("en"))
    assert {one.language for one in found} == {"en"}
    assert "Software zu verwenden" not in " ".join(one.text for one in found)


@pytest.mark.asyncio(loop_scope="module")
@needs_recordings
async def test_a_growing_recording_is_heard_in_its_languages(bilingual: bytes, base: SpeechToText) -> None:
    file = GrowingFile()
    file.put(bilingual)
    file.end()
    recording = Recording(file, max_seconds=3600)
    *_, whole = [one async for one in transcribe_growing(base, recording, file, FileRequest())]
    assert whole.text.startswith("Permission is hereby granted")
    assert "Software zu verwenden" in whole.text


def test_an_unsure_detection_follows_the_expected_language() -> None:
    engine = engine_of(BASE)
    breath = Clip((np.random.default_rng(0).standard_normal(RATE_HZ) * 0.05).astype(np.float32), RATE_HZ)
    likeliest, probability = engine.language_of(breath)
    assert probability < 0.8
    expected = "pt" if likeliest != "pt" else "de"
    request = Utterance(features_of(engine._model, breath.samples), None, (), times=True, expected=expected)
    batch = Batch(engine._model, [request], 1)
    batch.prepare()
    assert batch.tokenizers[0].language_code == expected


@needs_recordings
def test_an_utterance_of_sixteen_seconds_is_not_empty() -> None:
    [text] = heard(engine_of(TINY), [recording("libri1088")])
    assert text.startswith("as you know")
    assert text.endswith("in person")


@needs_recordings
def test_a_sentence_that_is_said_twice_is_heard_twice() -> None:
    """Equal segments can also be a mistake of the short context: the window is transcribed again with the full one."""
    engine = engine_of(TINY)
    sentence = recording("sb_spk1_snt5").samples
    window = Clip(np.concatenate([sentence, np.zeros(3 * RATE_HZ // 2, np.float32), sentence]), RATE_HZ)
    asked = Asked(window.samples, "en", (), False, "transcribe")
    [first] = [found for _, found in first_pass(engine._model, [asked], beam=1, cancelled=never) if found]
    assert first.repeats
    found = [plain(one.text) for one in engine.segments(window, FileRequest("en")) if one is not None]
    assert found == [said("sb_spk1_snt5")] * 2
    assert engine.context_s == 10


@needs_recordings
def test_nothing_is_invented_after_an_utterance_of_eleven_seconds() -> None:
    [text] = heard(engine_of(TINY), [recording("jfk")])
    assert text == said("jfk")


@needs_recordings
def test_a_model_that_bears_a_short_context_keeps_it(caplog: pytest.LogCaptureFixture) -> None:
    config = WhisperConfig(
        str(real_model(TINY)), (("cpu", "int8"),), 1, 1, 10.0, Known(recording("goforward"), said("goforward"))
    )
    assert WhisperEngine(config).context_s == 10
    assert "less exact" not in caplog.text


@pytest.mark.parametrize("model", [TINY, BASE])
def test_no_words_are_invented_in_sound_without_speech(model: str) -> None:
    """The voice activity detection, which would find no speech, is left out: files and turns are decoded."""
    engine = engine_of(model)
    for kind, clip in unspoken(30.0):
        found = [one.text for one in engine.segments(clip, FileRequest("en")) if one is not None]
        assert not found, kind


def test_sentences_of_espeak_are_heard_alike_with_both_contexts() -> None:
    sound = Clip(Espeak().say("please tell me what the weather will be like tomorrow", "en-us+f2"), RATE_HZ)
    short, full = (last(engine_of(TINY, context_s).transcribe(sound, "en", None, False)).text for context_s in (10, 30))
    assert "weather" in short
    assert short == full


@asynccontextmanager
async def opened(model: str, file_batch: int) -> AsyncIterator[SpeechToText]:
    settings = Settings(
        whisper_model=str(real_model(model)), stt_batch=file_batch, model_host="thread", whisper_context_s=10.0
    )
    async with whisper.open_engine(settings, lambda progress: None) as running:
        yield running.engine


async def segments_of(stt: SpeechToText, file: bytes, request: FileRequest) -> list[Segment]:
    events = transcribe_file(stt, Recording(io.BytesIO(file), max_seconds=3600), request)
    return [event async for event in events if isinstance(event, Segment)]


def heard(engine: WhisperEngine, clips: list[Clip]) -> Iterator[str]:
    for clip in clips:
        yield plain(last(engine.transcribe(clip, "en", None, False)).text)


@functools.cache
def heard_long(context_s: float) -> list[str]:
    return [*heard(engine_of(TINY, context_s), [recording(names) for names in LONG])]


def never(index: int) -> bool:
    return False

"""Keywords and possible languages with real Whispers."""

import functools

import numpy as np
import pytest

from bench.keywords import SENTENCES
from pipeline.audio.clip import Clip
from pipeline.audio.decode import decode_blocking
from pipeline.errors import EngineError
from pipeline.settings import HOME, Settings
from pipeline.stt import FileRequest, Hints
from pipeline.stt.hints import as_prompt
from pipeline.stt.whisper_engine import WhisperConfig, WhisperEngine
from pipeline.stt.whisper_hints import hint_of
from pipeline.stt.worker_client import last
from tests.real_models import real_model

SHARED = HOME.parent / "shared" / "audio"
TINY, BASE = "whisper-tiny.en", "whisper-base"
RATE_HZ = 16_000
NAMES = tuple(f"Wojciech Kowalczyk {n}" for n in range(200))

needs_recordings = pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are missing")


@functools.cache
def engine_of(model: str, keywords: tuple[str, ...] = ()) -> WhisperEngine:
    return WhisperEngine(WhisperConfig(str(real_model(model)), (("cpu", "int8"),), 1, 1, 10.0, keywords=keywords))


@functools.cache
def recording(name: str) -> Clip:
    return decode_blocking((SHARED / name).read_bytes(), max_seconds=60)


def text_of(engine: WhisperEngine, clip: Clip, request: FileRequest) -> str:
    return " ".join(one.text for one in engine.segments(clip, request) if one is not None)


def test_hints_fit_into_half_of_the_context() -> None:
    model = engine_of(TINY)._model
    long = "It was the best of times, it was the worst of times. " * 40
    for prompt, keywords in ((None, NAMES), (long, ()), (long, NAMES), ("Short.", NAMES)):
        hint = hint_of(model, prompt, keywords)
        assert 200 <= len(hint.tokens) <= model.max_length // 2 - 1 == 223
        assert hint.tokens == hint.keyword_tokens + hint.prompt_tokens
    both = hint_of(model, long, NAMES)
    assert len(both.prompt_tokens) >= 111
    assert NAMES[0] in both.keywords
    assert NAMES[-1] not in both.keywords
    assert hint_of(model, None, ()).tokens == ()


def test_a_hint_contains_no_control_tokens() -> None:
    model = engine_of(TINY)._model
    hint = hint_of(model, "<|endoftext|> before <|startoftranscript|>", ["<|notimestamps|>", "a<|endoftext|>b"])
    eot = model.hf_tokenizer.encode("<|endoftext|>", add_special_tokens=False).ids[0]
    assert max(hint.tokens) < eot


@needs_recordings
def test_a_keyword_decides_how_a_name_is_spelled() -> None:
    """Without it, Whisper writes the usual spelling."""
    clip = recording("lv_0870.wav")
    plain, hinted = FileRequest("en"), FileRequest("en", keywords=("Jon Dashwoode",))
    assert "John Dashwood " in text_of(engine_of(TINY), clip, plain)
    assert "Jon Dashwoode" in text_of(engine_of(TINY), clip, hinted)
    words = FileRequest("en", words=True, keywords=("Jon Dashwoode",))
    assert "Jon Dashwoode" in text_of(engine_of(TINY), clip, words)


@needs_recordings
@pytest.mark.parametrize(
    ("model", "name", "count"), [(TINY, "lv_0890", 20), (TINY, "cards_002", 5), (BASE, "LJ001-0003", 5)]
)
def test_keywords_that_are_not_spoken_change_no_word(model: str, name: str, count: int) -> None:
    """The model writes other words of the recording after a text with these keywords."""
    engine, clip, keywords = engine_of(model), recording(f"{name}.wav"), tuple(SENTENCES)[:count]
    plain, hinted = (FileRequest("en", keywords=words) for words in ((), keywords))
    assert text_of(engine, clip, hinted) == text_of(engine, clip, plain)
    for times in (False, True) if clip.seconds < 3 else (False,):
        alone = last(engine.transcribe(clip, "en", None, times))
        assert last(engine.transcribe(clip, "en", Hints(keywords), times)) == alone


@needs_recordings
def test_a_respelled_name_keeps_the_times_of_its_words() -> None:
    engine, clip = engine_of(TINY), recording("lv_0870.wav")
    plain, hinted = (
        [word for one in engine.segments(clip, FileRequest("en", words=True, keywords=keywords)) if one
         for word in one.words]
        for keywords in ((), ("Jon Dashwoode",))
    )  # fmt: skip
    new = {"John": "Jon", "Dashwood": "Dashwoode"}
    assert [word.text for word in hinted] == [new.get(word.text, word.text) for word in plain]
    assert all(abs(one.start_s - other.start_s) < 0.2 for one, other in zip(plain, hinted, strict=True))


@needs_recordings
def test_hotwords_reach_utterances_and_recordings() -> None:
    engine, clip = engine_of(TINY, ("Jon Dashwoode",)), recording("lv_0870.wav")
    assert "Jon Dashwoode" in last(engine.transcribe(clip, "en", None, False)).text
    assert "Jon Dashwoode" in text_of(engine, clip, FileRequest("en"))


@needs_recordings
def test_every_window_of_a_long_utterance_gets_the_keywords() -> None:
    """The library passes a prompt to the first window only."""
    talk = [recording(f"{name}.wav").at(RATE_HZ).samples for name in ("libri1088", "jfk", "lv_0870", "sb_spk1_snt5")]
    long = Clip(np.concatenate(talk), RATE_HZ)
    assert 30 < long.seconds < 45
    engine = engine_of(TINY, ("Jon Dashwoode",))
    assert "Jon Dashwoode" in last(engine.transcribe(long, "en", None, False)).text


@needs_recordings
def test_no_language_outside_the_possible_ones_is_detected() -> None:
    """Short sound, because Whisper writes long texts in a language that is not spoken."""
    engine, whole, languages = engine_of(BASE), recording("jfk.wav").at(RATE_HZ), ("de", "pt")
    speech = Clip(whole.samples[: 2 * RATE_HZ], RATE_HZ)
    noise = Clip((np.random.default_rng(0).standard_normal(RATE_HZ) * 0.05).astype(np.float32), RATE_HZ)
    for words in (False, True):
        assert last(engine.transcribe(speech, languages, None, words)).language in (*languages, None)
    for clip, request in (
        (speech, FileRequest(languages=languages)),
        (speech, FileRequest(languages=languages, expected="en")),
        (noise, FileRequest(languages=languages, expected="en")),
    ):
        found = {one.language for one in engine.segments(clip, request) if one is not None}
        assert found <= set(languages)
    found = {one.language for one in engine.segments(speech, FileRequest(languages=("de", "en"))) if one is not None}
    assert found == {"en"}


@pytest.mark.parametrize(("languages", "found"), [(("en", "de"), "en"), (("eo", "en"), "en")])
@needs_recordings
def test_a_model_of_one_language_needs_it_among_the_possible_ones(languages: tuple[str, ...], found: str) -> None:
    engine, clip = engine_of(TINY), recording("goforward.wav")
    assert last(engine.transcribe(clip, languages, None, False)).language == found
    with pytest.raises(EngineError) as error:
        last(engine.transcribe(clip, ("de", "fr"), None, False))
    assert error.value.code == "unsupported_language"


def test_keywords_and_prompt_become_one_text() -> None:
    assert as_prompt(["Ana", "Bo Li"], "A talk.") == "Ana, Bo Li. A talk."
    assert as_prompt([], "A talk.") == "A talk."
    assert as_prompt(["Ana"], None) == "Ana."
    assert as_prompt([], None) is None


def test_hotwords_are_a_list_of_words_and_phrases() -> None:
    assert Settings(hotwords=" Parley,,Ana  Sofia, Parley ").keywords == ("Parley", "Ana Sofia")
    assert Settings(hotwords="").keywords == ()

"""PocketSphinx: exact on the built-in responder's phrases, silent on silence, open to other speech."""

import asyncio
import json
from pathlib import Path

import jiwer
import numpy as np
import pytest

from pipeline.audio.clip import Clip
from pipeline.audio.decode import decode_blocking
from pipeline.errors import EngineError
from pipeline.llm.builtin import grammar
from pipeline.settings import Settings
from pipeline.stt import Transcript, sphinx
from pipeline.stt.sphinx import SphinxConfig, SphinxEngine
from pipeline.stt.worker_client import last
from pipeline.support.progress import Progress
from tests.speech import Espeak
from tests.stt.conftest import RATE_HZ, UNSPOKEN, unspoken
from tests.waiting import eventually

AUDIO = Path(__file__).parents[2].parent / "shared" / "audio"
WORST = {"cards": 0.15, "command": 0.01, "harvard": 0.33}
"""Highest permitted word error rate of each group of recordings: a quarter above the measured rate."""

IN_GRAMMAR = ("what time is it", "what is seven plus five")
OUTSIDE = ("my name is peter and i live in boston", "play some music in the bedroom")


@pytest.fixture(scope="module")
def engine() -> SphinxEngine:
    return SphinxEngine(SphinxConfig(grammar()))


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    return Espeak()


def say(espeak: Espeak, text: str) -> Clip:
    return Clip(np.pad(espeak.say(text, "en-us+f2"), RATE_HZ * 3 // 10), RATE_HZ)


@pytest.mark.parametrize("text", IN_GRAMMAR)
def test_a_sentence_of_the_grammar_is_exact(engine: SphinxEngine, espeak: Espeak, text: str) -> None:
    assert last(engine.transcribe(say(espeak, text), None, None, False)).text == text


@pytest.mark.parametrize("text", OUTSIDE)
def test_other_speech_is_not_forced_into_the_grammar(engine: SphinxEngine, espeak: Espeak, text: str) -> None:
    heard = last(engine.transcribe(say(espeak, text), None, None, False)).text
    assert jiwer.wer(text, heard) <= 0.5


@pytest.mark.parametrize("name", UNSPOKEN)
def test_silence_has_no_transcript(engine: SphinxEngine, name: str) -> None:
    clip = unspoken(name)
    assert last(engine.transcribe(clip, None, None, True)) == Transcript("", "en", clip.seconds)


def test_words_have_times_within_the_speech(engine: SphinxEngine, espeak: Espeak) -> None:
    text = "what is one hundred minus forty two"
    late = Clip(np.concatenate([np.zeros(2 * RATE_HZ, np.float32), say(espeak, text).samples]), RATE_HZ)
    heard = last(engine.transcribe(late.at(44_100), "en-US", None, True))
    assert [word.text for word in heard.words] == text.split()
    times = [time_s for word in heard.words for time_s in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert 2.0 < times[0] < times[-1] < late.seconds
    assert all(0.0 <= word.probability <= 1.0 for word in heard.words)


@pytest.mark.parametrize("language", ["pt", "es-ES", "xx"])
def test_another_language_is_refused_with_advice(engine: SphinxEngine, espeak: Espeak, language: str) -> None:
    with pytest.raises(EngineError, match=r"English only.*STT_ENGINE") as raised:
        last(engine.transcribe(say(espeak, "hello"), language, None, False))
    assert raised.value.code == "unsupported_language"
    assert last(engine.transcribe(unspoken("silence"), language, None, False)).text == ""  # the same in every language


async def test_the_subprocess_starts_quickly_and_can_be_cancelled(espeak: Espeak) -> None:
    def ignore(progress: Progress) -> None:
        pass

    settings = Settings()
    await sphinx.probe(settings)
    async with sphinx.open_engine(settings, ignore) as opened:
        assert (opened.model, opened.device) == ("en-us", "cpu")
        long = say(espeak, OUTSIDE[0])
        task = asyncio.create_task(opened.engine.transcribe(long, language=None, prompt=None, words=False))
        await eventually(lambda: opened.load is not None and opened.load().running)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert opened.load is not None
        assert opened.load().running  # the caller did not wait for the result
        heard = await opened.engine.transcribe(say(espeak, "count to ten"), language="en", prompt=None, words=False)
        assert heard.text == "count to ten"


@pytest.mark.skipif(not (AUDIO / "manifest.json").is_file(), reason="the recordings of real speech are missing")
@pytest.mark.parametrize("group", sorted(WORST))
def test_word_error_rates_on_real_speech(engine: SphinxEngine, group: str) -> None:
    clips = [entry for entry in json.loads((AUDIO / "manifest.json").read_text()) if entry["group"] == group]
    said, heard = [], []
    for entry in clips[:3]:
        clip = decode_blocking((AUDIO / entry["file"]).read_bytes(), max_seconds=120)
        said.append(plain(entry["text"]))
        heard.append(last(engine.transcribe(clip, None, None, False)).text)
    assert jiwer.wer(said, heard) <= WORST[group]


def plain(text: str) -> str:
    """Text as the recogniser writes it: lower case, no punctuation."""
    return " ".join("".join(char if char.isalpha() or char in " '" else " " for char in text.lower()).split())

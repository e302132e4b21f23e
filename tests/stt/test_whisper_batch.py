"""Utterances of several speakers in one batch: each has the same transcript as alone and as from the library."""

import asyncio
import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.clip import Clip
from pipeline.errors import EngineError
from pipeline.settings import Settings
from pipeline.stt import FileRequest, Transcript, whisper
from pipeline.stt.whisper_engine import WhisperConfig, WhisperEngine
from pipeline.stt.whisper_model import Utterance, features_of, hear
from pipeline.stt.whisper_speech import speech_of
from pipeline.stt.worker_client import last
from tests.speech import Espeak
from tests.stt.conftest import RATE_HZ, unspoken
from tests.waiting import eventually

TRAINED = Path(__file__).parents[1] / "models" / "whisper-tiny-words"
Call = tuple[Clip, str | None, str | None, bool]


@functools.cache
def engine_of(model: Path, *, beam: int = 1) -> WhisperEngine:
    return WhisperEngine(WhisperConfig(str(model), (("cpu", "int8"),), 1, beam, 30.0))


@pytest.fixture(scope="module")
def said() -> list[tuple[str, Clip]]:
    """Texts that the trained model transcribes exactly, and their sound, with several lengths and rates."""
    espeak = Espeak()
    listed = json.loads((TRAINED / "utterances.json").read_text())["utterances"][:6]
    found = []
    for index, one in enumerate(listed):
        sound = espeak.say(one["text"], one["voice"], one.get("speed", 160), one.get("pitch", 50))
        clip = Clip(np.pad(sound, RATE_HZ * 3 // 10), RATE_HZ)
        found.append((one["text"], clip.at(48_000) if index == 2 else clip))
    return found


def together(
    engine: WhisperEngine, calls: list[Call], cancelled: Callable[[int], bool] = lambda index: False
) -> dict[int, Transcript | Exception]:
    return {index: step for index, step in engine.transcribe_many(calls, cancelled) if step is not None}


def same(one: Transcript | Exception, other: Transcript) -> bool:
    assert isinstance(one, Transcript), one
    # A batch is summed in another order: probabilities differ in the last digits.
    close = abs(one.language_probability - other.language_probability) < 1e-4
    return (one.text, one.language, one.duration_s) == (other.text, other.language, other.duration_s) and close


def test_a_batch_is_exact(said: list[tuple[str, Clip]]) -> None:
    heard = together(engine_of(TRAINED), [(clip, "en", None, False) for _, clip in said])
    assert [heard[index].text for index in range(len(said))] == [text for text, _ in said]  # type: ignore[union-attr]


@pytest.mark.parametrize(("which", "beam"), [("trained", 3), ("babbling", 1)])
def test_each_of_a_batch_has_the_same_transcript_as_alone(
    which: str, beam: int, said: list[tuple[str, Clip]], babbling_whisper: Path
) -> None:
    engine = engine_of(TRAINED if which == "trained" else babbling_whisper, beam=beam)
    clips = [clip for _, clip in said]
    long = Clip(np.tile(clips[0].samples, 14), RATE_HZ)
    assert 10 < long.seconds < 30
    asked: list[Call] = [
        (clips[0], None, None, False),
        (clips[1], "en", None, False),
        (clips[2], None, "what was said before", False),
        (clips[3], "en", "and this", False),
        (long, None, None, False),
        (unspoken("silence"), None, None, False),
        (clips[4], "en", None, True),
        (Clip(np.concatenate([clips[5].samples, np.zeros(3 * RATE_HZ, np.float32), clips[5].samples]), RATE_HZ),
         "en", None, False),
    ]  # fmt: skip
    heard = together(engine, asked)
    for index, call in enumerate(asked):
        assert same(heard[index], last(engine.transcribe(*call))), index
    assert sum(bool(one.text) for one in heard.values() if isinstance(one, Transcript)) >= 6


def test_a_single_utterance_has_the_text_of_the_library(said: list[tuple[str, Clip]], babbling_whisper: Path) -> None:
    from faster_whisper import WhisperModel

    for model, language in ((TRAINED, "en"), (babbling_whisper, None), (babbling_whisper, "pt")):
        engine = engine_of(model)
        plain = WhisperModel(str(model), device="cpu", compute_type="int8", cpu_threads=1)
        for _, clip in said[:2]:
            sound = speech_of(clip, FileRequest()).sound
            segments, info = plain.transcribe(
                sound, language=language, beam_size=1, without_timestamps=True, condition_on_previous_text=False
            )
            heard = last(engine.transcribe(clip, language, None, False))
            assert heard.text == "".join(segment.text for segment in segments).strip()
            assert heard.text
            assert heard.language == info.language


def test_an_unknown_language_fails_alone(said: list[tuple[str, Clip]]) -> None:
    asked: list[Call] = [(said[0][1], "en", None, False), (said[1][1], "xx", None, False)]
    heard = together(engine_of(TRAINED), asked)
    assert isinstance(heard[0], Transcript)
    assert heard[0].text == said[0][0]
    assert isinstance(heard[1], EngineError)
    assert heard[1].code == "unsupported_language"


def test_cancelled_utterances_are_skipped_and_others_decoded(said: list[tuple[str, Clip]]) -> None:
    heard = together(engine_of(TRAINED), [(clip, "en", None, False) for _, clip in said[:4]], lambda index: index == 1)
    assert {index: one.text for index, one in heard.items()} == {index: said[index][0] for index in (0, 2, 3)}  # type: ignore[union-attr]


def test_doubtful_text_is_decoded_again_alone(random_whisper: Path, said: list[tuple[str, Clip]]) -> None:
    """This model is unsure of all its text: each utterance is decoded twice, and has a result."""
    engine = engine_of(random_whisper)
    sounds = [features_of(engine._model, clip.at(RATE_HZ).samples) for _, clip in said[:2]]
    steps = list(hear(engine._model, [Utterance(one, "en", ()) for one in sounds], beam=1, cancelled=lambda i: False))
    results = [(index, heard) for index, heard in steps if heard is not None]
    assert sorted(index for index, _ in results) == [0, 1]
    assert all(heard.doubtful for _, heard in results)
    assert sum(heard is None for _, heard in steps) >= 3  # one stop after encoding, one before each second attempt


async def test_simultaneous_speakers_are_decoded_together(said: list[tuple[str, Clip]]) -> None:
    """In the worker's process, as in the service: all are exact, also when one caller disconnects."""
    settings = Settings(
        whisper_model=str(TRAINED), stt_batch=4, whisper_threads=1, stt_replicas=1, whisper_context_s=30.0
    )
    async with whisper.open_engine(settings, lambda progress: None) as opened:
        speech = opened.engine

        async def transcript(clip: Clip) -> str:
            return (await speech.transcribe(clip, language="en", prompt=None, words=False)).text

        assert await asyncio.gather(*(transcript(clip) for _, clip in said)) == [text for text, _ in said]

        tasks = [asyncio.create_task(transcript(clip)) for _, clip in said]
        await asyncio.sleep(0.02)
        tasks[1].cancel()
        tasks[4].cancel()
        heard = await asyncio.gather(*tasks, return_exceptions=True)
        assert [heard[index] for index in (0, 2, 3, 5)] == [said[index][0] for index in (0, 2, 3, 5)]
        load = opened.load
        assert load is not None
        # A cancelled caller returns at once. The engine is free a moment later, between two of its steps.
        await eventually(lambda: load().running == load().waiting == 0)

"""Times of the words of a synthesised text, and speech as lines of JSON."""

import json
from collections.abc import AsyncGenerator

import numpy as np
import pytest

from pipeline.audio.clip import Clip
from pipeline.errors import EngineError
from pipeline.speech.clauses import Clause
from pipeline.speech.synthesize import Said
from pipeline.stt import Word
from pipeline.transcripts.spoken_words import matched
from server.openai.speech_output import SpeechOutput

WRITTEN = ["It", "is", "3", "o'clock,", "Ana!"]


def heard(text: str) -> list[Word]:
    """Return words of 0.2 s each."""
    return [Word(word, 0.2 * index, 0.2 * index + 0.2, 0.9) for index, word in enumerate(text.split())]


def test_written_words_get_the_times_of_the_heard_ones() -> None:
    found = matched(WRITTEN, heard("it is three o'clock Anna"), 1.0)
    assert [word.text for word in found] == WRITTEN
    assert [(round(word.start_s, 3), round(word.end_s, 3)) for word in found[:4]] == [
        (0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8),
    ]  # fmt: skip
    assert (found[4].start_s, found[4].end_s) == (0.8, 1.0)


def test_words_that_are_not_heard_share_the_time() -> None:
    times = [time for word in matched(WRITTEN, [], 2.0) for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (0.0, 2.0)
    assert matched([], heard("a"), 1.0) == []


async def spoken(clauses: int) -> AsyncGenerator[Said, None]:
    """Yield clauses of one second."""
    for number in range(clauses):
        yield Said(Clip(np.full(24_000, 0.1, np.float32), 24_000), Clause("Hello.", 7 * number, 7 * number + 6), "en")


async def broken_after(clauses: int) -> AsyncGenerator[Said, None]:
    """Yield clauses of one second, then fail."""
    async for one in spoken(clauses):
        yield one
    raise EngineError("The voice is gone.", code="tts_failed")


async def one_word(clip: Clip, last: Said) -> list[Word]:
    return [Word(last.clause.text, 0.0, clip.seconds, 1.0)]


async def test_an_error_after_the_first_line_is_a_line() -> None:
    lines = [json.loads(line) async for line in SpeechOutput("pcm", 1.0, one_word).lines(broken_after(2))]
    assert [line.get("timestamps") for line in lines] == [
        [{"word": "Hello.", "start_time": 0.0, "end_time": 1.0}], None
    ]  # fmt: skip
    assert lines[-1] == {"error": {"code": "tts_failed", "message": "The voice is gone."}}


@pytest.mark.parametrize("timing", [one_word, None])
async def test_an_error_before_the_first_line_is_raised(timing: object) -> None:
    with pytest.raises(EngineError):
        await anext(SpeechOutput("pcm", 1.0, timing).lines(broken_after(0)))  # type: ignore[arg-type]

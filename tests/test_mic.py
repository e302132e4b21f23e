"""`talk --mic` without a sound card: errors for missing parts, and printed and played output."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.mic import PlayQueue, follow, sound_system
from pipeline.audio.clip import Clip, encode_wav
from pipeline.conversation import events
from pipeline.conversation.events import Event
from pipeline.errors import EngineUnavailable
from pipeline.settings import HOME
from tests.questions import SUM, SUM_ANSWER, spoken
from tests.server_process import environment
from tests.test_commands import refused

CHUNK = events.SpeechChunk(Clip(np.ones(160, np.float32), 16_000), (0, 5))


class Heard:
    """A loudspeaker that keeps the clips it gets."""

    def __init__(self) -> None:
        self.waiting: list[Clip] = []

    def play(self, clip: Clip) -> None:
        self.waiting.append(clip)

    def hush(self) -> None:
        self.waiting.clear()


def shown(happenings: list[Event], capsys: pytest.CaptureFixture[str]) -> tuple[str, int]:
    """Return the printed text and the number of played chunks."""

    async def all_of() -> AsyncIterator[Event]:
        for event in happenings:
            yield event

    speaker = Heard()
    asyncio.run(follow(all_of(), speaker))
    return capsys.readouterr().out, len(speaker.waiting)


def test_missing_microphone_is_reported_with_a_remedy(tmp_path: Path) -> None:
    try:
        sound_system()
    except EngineUnavailable as error:
        missing = error
    else:
        pytest.skip("a microphone is available")
    line = refused("talk", "--mic", folder=tmp_path)
    assert line == f"parley: {missing.full_message}"
    assert any(remedy in line for remedy in ("make install EXTRAS=mic", "apt install", "python -m sounddevice"))


@pytest.mark.real_time
def test_spoken_question_gets_a_reply_through_the_sound_card(tmp_path: Path) -> None:
    quiet = Clip(np.zeros(16_000, np.float32), 16_000)
    (tmp_path / "question.wav").write_bytes(encode_wav(Clip.join([quiet, spoken(SUM)], 16_000)))
    settings = environment(
        PYTHONPATH=f"{HOME}/tests/sound_card:{HOME}/tests/constants", MICROPHONE="question.wav", LOUDSPEAKER="reply.raw"
    )
    process = subprocess.Popen(
        [sys.executable, str(HOME / "main.py"), "talk", "--mic"], cwd=tmp_path, env=settings,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert "Ctrl-C" in process.stdout.readline()
        assert process.stdout.readline().split() == ["you:", *SUM.split()]
        reply = process.stdout.readline()  # complete once the whole reply was spoken
        assert SUM_ANSWER in reply
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert (process.returncode, told) == (130, "")
    finally:
        process.kill()
        process.wait()
    played = np.fromfile(tmp_path / "reply.raw", np.float32)
    assert np.isfinite(played).all()
    assert np.abs(played).max() > 0.1
    assert np.count_nonzero(played) / 22_050 > 0.8  # seconds of speech


def test_conversation_is_printed_and_played(capsys: pytest.CaptureFixture[str]) -> None:
    turn: list[Event] = [
        events.TranscriptFinal("hello", "en"), events.ReplyDelta(" Hello"), CHUNK, events.ReplyDelta(" to you."), CHUNK,
        events.TurnCompleted(" Hello to you.", {}),
    ]  # fmt: skip
    assert shown([*turn, *turn], capsys) == ("you:    hello\nparley: Hello to you.\n" * 2, 4)


def test_interrupted_reply_stops_playing_immediately(capsys: pytest.CaptureFixture[str]) -> None:
    happened: list[Event] = [events.ReplyDelta("I was"), CHUNK, CHUNK, events.TurnInterrupted(10.0, "I")]
    assert shown(happened, capsys) == ("parley: I was …\n", 0)


def test_errors_are_printed_on_separate_lines(capsys: pytest.CaptureFixture[str]) -> None:
    happened: list[Event] = [
        events.ReplyDelta("Well"), events.StageError("tts_failed", "No voice."), events.TurnCompleted("Well", {}),
        events.ReplyDelta("And"), events.TurnFailed("llm_unavailable", "It is gone."),
    ]  # fmt: skip
    assert (
        shown(happened, capsys)[0] == "parley: Well\n        not spoken: No voice.\nparley: And\nparley: It is gone.\n"
    )


@given(st.lists(st.integers(0, 50), max_size=20), st.lists(st.integers(0, 70), max_size=20))
def test_sound_card_gets_each_sample_once_and_then_silence(given: list[int], taken: list[int]) -> None:
    sound = np.arange(1, sum(given) + 1, dtype=np.float32)
    queue, start = PlayQueue(), 0
    for size in given:
        queue.add(sound[start : start + size])
        start += size
    got = []
    for size in taken:
        out = np.full(size, np.nan, np.float32)
        queue.fill(out)
        got.append(out)
    played = np.concatenate([*got, np.zeros(0, np.float32)])
    expected = np.zeros(len(played), np.float32)
    expected[: min(len(played), len(sound))] = sound[: len(played)]
    np.testing.assert_array_equal(played, expected)

"""Barge-in on virtual time: the user's first word is kept, and the echo of a reply does not hold it."""

import asyncio
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.audio.clip import Clip
from pipeline.conversation import events
from pipeline.errors import EngineError
from pipeline.listening.interruption import is_echo
from pipeline.stt import Hinted, Spoken, Transcript
from tests.dialogue import RATE_HZ, Dialogue, hold, tone
from tests.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS

LONG = " ".join(f"This is sentence number {n} of a long reply." for n in ("one", "two", "three", "four", "five", "six"))
PREROLL = 300 * RATE_HZ // 1000


@dataclass
class Remembering(ScriptedSTT):
    """Scripted STT that records the clips it gets."""

    clips: list[Clip] = field(default_factory=list)

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool) -> Transcript:
        self.clips.append(clip)
        return await super().transcribe(clip, language=language, prompt=prompt, words=words)


async def answered(d: Dialogue) -> None:
    await d.speak(600)
    await d.until(events.SpeechStarted)
    await d.silence(1000)


async def say(d: Dialogue, samples: int, level: float) -> None:
    while samples > 0:
        count = min(320, samples)
        await asyncio.sleep(count / RATE_HZ)
        d.session.hear(tone(count, level))
        samples -= count


# --- the first word ---


@given(
    offset=st.integers(0, 511),
    first_ms=st.integers(70, 240),
    gap_ms=st.integers(0, 480),
    second_ms=st.integers(350, 900),
    interruptible=st.booleans(),
)
@settings(max_examples=25)
def test_interruption_is_transcribed_from_its_first_word(
    offset: int, first_ms: int, gap_ms: int, second_ms: int, interruptible: bool
) -> None:
    """ "Stop … please" in any alignment with the detector's frames. The first word alone is too short to interrupt."""
    stt = Remembering("what is the heron")
    levels = (0.2, 0.3)
    lengths = [ms * RATE_HZ // 1000 for ms in (first_ms, second_ms)]

    async def script(d: Dialogue) -> None:
        await answered(d)
        stt.text = "stop please"
        await say(d, 4096 + offset, 0.0)
        await say(d, lengths[0], levels[0])
        await say(d, gap_ms * RATE_HZ // 1000, 0.0)
        await say(d, lengths[1], levels[1])
        await d.until(events.TranscriptFinal, count=2)

    hold(script, stt=stt, llm=ScriptedLLM(LONG, tokens_per_s=1000), interruptible=interruptible)
    heard = stt.clips[-1].samples
    for level, length in zip(levels, lengths, strict=True):
        assert np.count_nonzero(np.abs(heard) == np.float32(level)) == length
    assert int(np.flatnonzero(heard)[0]) >= PREROLL - 1024


def test_two_short_words_with_a_gap_interrupt_the_reply() -> None:
    stt = Remembering()

    async def script(d: Dialogue) -> None:
        await answered(d)
        stt.text = "stop please"
        await d.speak(180)
        await d.silence(160)
        await d.speak(180)
        await d.until(events.TurnInterrupted)

    d = hold(script, stt=stt, llm=ScriptedLLM(LONG, tokens_per_s=1000))
    assert d.kinds.count("SpeechResumed") == 1


def test_word_at_the_end_of_the_reply_joins_the_next_utterance() -> None:
    """ "Stop" is rejected as too short, the reply ends, and "please" follows while the session listens again."""
    stt = Remembering()

    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.SpeechStarted)
        played = d.now
        await d.silence(int((12 * 0.06 + played - d.now) * 1000) - 100)
        await d.speak(160)
        await d.until(events.TurnCompleted)
        stt.text = "stop please"
        await d.speak(500)
        await d.until(events.TurnCompleted, count=2)

    d = hold(script, stt=stt, llm=ScriptedLLM("Hello there.", tokens_per_s=1000))
    assert "TurnInterrupted" not in d.kinds
    loud = np.count_nonzero(stt.clips[-1].samples)
    assert loud == 660 * RATE_HZ // 1000


# --- echo of the reply ---


@dataclass
class Room:
    """A microphone that picks up the reply from the loudspeaker, and sometimes the user."""

    dialogue: Dialogue
    seen: int = 0
    playing_until_s: float = 0.0
    echo_ms: int = 0

    @property
    def audible(self) -> bool:
        log = self.dialogue.log
        for at, happening in log[self.seen :]:
            if isinstance(happening, events.SpeechChunk):
                self.playing_until_s = max(self.playing_until_s, at) + happening.clip.seconds
        self.seen = len(log)
        return self.dialogue.now < self.playing_until_s

    async def listen(self, ms: int, *, user: bool = False) -> None:
        for _ in range(ms // 20):
            if self.audible or user:
                self.echo_ms += 20
                await self.dialogue.speak(20)
            else:
                await self.dialogue.silence(20)

    async def until(self, kind: type[events.Event], within_s: float = 120) -> float:
        deadline_s = self.dialogue.now + within_s
        while not self.dialogue.of(kind):
            assert self.dialogue.now < deadline_s, self.dialogue.kinds
            await self.listen(20)
        return next(at for at, event in self.dialogue.log if isinstance(event, kind))


def held_s(d: Dialogue) -> float:
    total, since = 0.0, None
    for at, event in d.log:
        if isinstance(event, events.SpeechHeld):
            since = at
        elif isinstance(event, events.SpeechResumed) and since is not None:
            total, since = total + at - since, None
    return total


@pytest.mark.parametrize("echo", ["", "sentence number", "This is sentence number one", "mhm", "Okay."])
@pytest.mark.parametrize("lead_ms", [200, 600])
def test_echo_of_a_reply_rarely_holds_it(echo: str, lead_ms: int) -> None:
    """The recogniser hears nothing, words of the reply, or a backchannel in the echo."""
    stt = ScriptedSTT()

    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.UserSpeechStopped)
        stt.text = echo
        await Room(d).until(events.TurnCompleted)
        await d.silence(2000)

    d = hold(script, stt=stt, llm=ScriptedLLM(LONG, tokens_per_s=1000), lead_ms=lead_ms)
    assert "TurnInterrupted" not in d.kinds
    assert d.history[:2] == [("user", "what does the heron do"), ("assistant", LONG)]
    assert d.kinds.count("SpeechHeld") <= 5  # of 16 s
    assert held_s(d) <= 5 * (lead_ms / 1000 + 0.3)


@pytest.mark.parametrize("words", ["stop", "what about the fish"])
@pytest.mark.parametrize("after_ms", [500, 3000, 9000])
def test_user_speech_interrupts_a_reply_with_echo(words: str, after_ms: int) -> None:
    stt = ScriptedSTT("what does the heron do")
    began_s = 0.0

    async def script(d: Dialogue) -> None:
        nonlocal began_s
        await d.speak(600)
        await d.until(events.UserSpeechStopped)
        stt.text = ""
        room = Room(d)
        await room.until(events.SpeechStarted)
        await room.listen(after_ms)
        began_s, stt.text = d.now, words
        await room.listen(1500, user=True)

    d = hold(script, stt=stt, llm=ScriptedLLM(LONG, tokens_per_s=1000))
    interrupted = [at for at, event in d.log if isinstance(event, events.TurnInterrupted)]
    assert len(interrupted) == 1
    assert interrupted[0] - began_s <= 0.8 + 0.08 + 0.15  # backchannel_ms, the transcription of the claim, and frames


def test_unintelligible_speech_interrupts_within_its_time_limit() -> None:
    """The recogniser hears no words. After the longest wait the reply is held, and continued speech interrupts it."""
    stt = ScriptedSTT("what does the heron do")
    began_s = 0.0

    async def script(d: Dialogue) -> None:
        nonlocal began_s
        await d.speak(600)
        await d.until(events.UserSpeechStopped)
        stt.text = ""
        room = Room(d)
        await room.until(events.SpeechStarted)
        await room.listen(9000)
        began_s = d.now
        for _ in range(500):
            if d.of(events.TurnInterrupted):
                break
            await room.listen(20, user=True)

    d = hold(script, stt=stt, llm=ScriptedLLM(LONG + " " + LONG, tokens_per_s=1000))
    interrupted = [at for at, event in d.log if isinstance(event, events.TurnInterrupted)]
    assert interrupted
    assert interrupted[0] - began_s <= 8 * 0.8 + 0.2 + 0.8 + 0.1


def test_echo_does_not_interrupt_if_the_recogniser_fails() -> None:
    stt = ScriptedSTT()

    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.UserSpeechStopped)
        stt.text = ""
        room = Room(d)
        await room.until(events.SpeechStarted)
        await room.listen(4000)
        stt.error = EngineError("deaf")
        await room.until(events.TurnCompleted)

    d = hold(script, stt=stt, llm=ScriptedLLM(LONG, tokens_per_s=1000))
    assert "TurnInterrupted" not in d.kinds


def test_uninterruptible_reply_does_not_trigger_a_turn_by_its_echo() -> None:
    stt = ScriptedSTT()

    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.UserSpeechStopped)
        stt.text = "sentence number"
        await Room(d).until(events.TurnCompleted)
        stt.text = ""  # the end of the echo has no words
        await d.silence(3000)

    d = hold(script, stt=stt, llm=ScriptedLLM(LONG, tokens_per_s=1000), interruptible=False)
    assert d.history == [("user", "what does the heron do"), ("assistant", LONG)]


def test_reply_is_held_immediately_again_after_a_quiet_period() -> None:
    stt = ScriptedSTT()

    async def script(d: Dialogue) -> None:
        await answered(d)
        for _ in range(3):
            await d.speak(160)
            await d.silence(1000)
        held = d.kinds.count("SpeechHeld")
        await d.speak(160)
        assert d.kinds.count("SpeechHeld") == held == 1
        await d.silence(25_000)
        assert d.kinds.count("TurnCompleted") == 0
        await d.speak(160)
        assert d.kinds.count("SpeechHeld") == 2

    hold(script, stt=stt, llm=ScriptedLLM(" ".join([LONG] * 4), tokens_per_s=1000), tts=ScriptedTTS())


@pytest.mark.parametrize(
    ("heard", "saying", "echo"),
    [
        ("sentence number", "this is sentence number one", True),
        ("Sentence number won.", "This is sentence number one", True),
        ("stop", "say stop when you have had enough", False),
        ("wait", "wait for a small fish", False),
        ("para", "uma viagem para Lisboa", False),
        ("what is the time", "the heron stands", False),
        ("fish", "it waits for a small fish", True),
        ("", "it waits", False),
        ("mhm", "", False),
        ("サギはじっと", "サギはじっと立っています", True),
    ],
)
def test_words_of_the_reply_are_recognised_as_echo(heard: str, saying: str, echo: bool) -> None:
    assert is_echo(heard, saying) is echo


def test_transcript_covers_the_whole_interruption() -> None:
    """An early transcription without a result does not lose the first word."""

    class Late(Remembering):
        async def transcribe(self, clip, *, language, prompt, words):  # type: ignore[no-untyped-def]
            heard = await super().transcribe(clip, language=language, prompt=prompt, words=words)
            loud_s = np.count_nonzero(clip.samples) / RATE_HZ
            return replace(heard, text="stop it please" if loud_s > 0.5 else "")

    stt = Late()

    async def script(d: Dialogue) -> None:
        await answered(d)
        await d.speak(700)
        await d.until(events.TranscriptFinal, count=2)

    d = hold(script, stt=stt, llm=ScriptedLLM(LONG, tokens_per_s=1000))
    assert d.of(events.TranscriptFinal)[-1].text == "stop it please"
    assert np.count_nonzero(stt.clips[-1].samples) == 700 * RATE_HZ // 1000

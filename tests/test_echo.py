"""The reply's own echo, in a client without echo cancelling, on virtual time: recognised by its level and its words."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest

from pipeline.audio.clip import Clip, Samples
from pipeline.conversation import events
from pipeline.listening.detector import FRAME
from pipeline.listening.echo import REACH, Echo, Received
from pipeline.voices.catalogue import Voice
from tests.dialogue import RATE_HZ, Dialogue, hold
from tests.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS
from tests.speech import Espeak

LONG = " ".join(f"This is sentence number {n} of a long reply." for n in ("one", "two", "three", "four", "five", "six"))
STEP = 320


@cache
def spoken(text: str, voice: str) -> Samples:
    """Return eSpeak's speech with a level of -20 dBFS."""
    sound = Espeak().say(text, voice)
    return (sound * 0.1 / sound.std()).astype(np.float32)


def assistant(seconds: float) -> Samples:
    """Return the voice of the assistant."""
    return np.resize(spoken(LONG, "en-us+m3"), int(seconds * RATE_HZ))


def user(seconds: float, number: int = 0) -> Samples:
    """Return another voice, which says another thing for each number."""
    speech = spoken("please tell me about the fish that swim in the river, and where they sleep in winter", "en-us+f2")
    return np.resize(np.roll(speech, -number * RATE_HZ // 3), int(seconds * RATE_HZ))


@dataclass
class Speech(ScriptedTTS):
    """Speaks with the voice of the assistant, 60 ms a character."""

    _at: int = 0

    async def speak(self, text: str, *, voice: Voice, language: str | None) -> AsyncGenerator[Clip, None]:
        with self.running.call("tts"):
            self.spoken.append(text)
            await asyncio.sleep(self.first_s)
            end = self._at + int(len(text) * 0.06 * RATE_HZ)
            sound, self._at = assistant(60)[self._at : end], end
            for start in range(0, len(sound), 1280):
                yield Clip(sound[start : start + 1280], RATE_HZ)
                await asyncio.sleep(0.008)


@dataclass
class Room:
    """A microphone that picks up the reply from the loudspeaker after `delay_ms`, and sometimes the user."""

    dialogue: Dialogue
    delay_ms: float = 180.0
    gain: float = 0.3
    now: int = 0
    seen: int = 0
    played: Samples = field(default_factory=lambda: np.zeros(RATE_HZ * 60, np.float32))
    until: int = 0

    async def hear(self, said: Samples) -> None:
        """Let the user speak (or be silent), with the echo of what is being played."""
        for start in range(0, len(said), STEP):
            await asyncio.sleep(STEP / RATE_HZ)
            for _, event in self.dialogue.log[self.seen :]:
                if isinstance(event, events.SpeechChunk):
                    at = max(self.until, self.now + int(self.delay_ms * RATE_HZ / 1000))
                    self.until = at + len(event.clip.samples)
                    self.played[at : self.until] = event.clip.samples * self.gain
            self.seen = len(self.dialogue.log)
            part = np.pad(said[start : start + STEP], (0, max(0, start + STEP - len(said))))
            self.dialogue.session.hear(part + self.played[self.now : self.now + STEP])
            self.now += STEP

    async def silence(self, seconds: float) -> None:
        await self.hear(np.zeros(int(seconds * RATE_HZ), np.float32))

    async def until_event(self, kind: type[events.Event], within_s: float = 40.0) -> None:
        deadline = self.now + within_s * RATE_HZ
        while not self.dialogue.of(kind):
            assert self.now < deadline, self.dialogue.kinds
            await self.silence(0.02)


def speech(d: Dialogue) -> int:
    return d.kinds.count("UserSpeechStarted")


@pytest.mark.parametrize(("delay_ms", "lead_ms"), [(20.0, 200), (180.0, 600), (480.0, 600)])
def test_echo_neither_interrupts_nor_is_answered(delay_ms: float, lead_ms: int) -> None:
    """The recogniser mishears every word of the echo."""
    stt = ScriptedSTT()

    async def script(d: Dialogue) -> None:
        room = Room(d, delay_ms)
        await room.hear(user(0.8, 1))
        await room.until_event(events.SpeechStarted)
        stt.text = "entirely different words please"
        await room.until_event(events.TurnCompleted)
        await room.silence(3)

    d = hold(script, stt=stt, llm=ScriptedLLM(LONG, tokens_per_s=1000), tts=Speech(), lead_ms=lead_ms)
    assert d.kinds.count("TurnStarted") == speech(d) == 1
    assert d.kinds.count("SpeechHeld") <= 1  # before the echo is known
    assert d.history == [("user", "what does the heron do"), ("assistant", LONG)]


def test_second_reply_is_not_held_by_its_echo() -> None:
    async def script(d: Dialogue) -> None:
        room = Room(d)
        await room.hear(user(0.8, 1))
        await room.until_event(events.TurnCompleted)
        held = d.kinds.count("SpeechHeld")
        await room.silence(1)
        await room.hear(user(0.8, 2))
        await room.silence(15)
        assert d.kinds.count("TurnCompleted") == 2
        assert d.kinds.count("SpeechHeld") == held

    hold(script, llm=ScriptedLLM(LONG[:200], tokens_per_s=1000), tts=Speech())


@pytest.mark.parametrize("after_s", [0.3, 2.0, 6.0])
def test_user_interrupts_over_the_echo(after_s: float) -> None:
    stt = ScriptedSTT()
    began_s = 0.0

    async def script(d: Dialogue) -> None:
        nonlocal began_s
        room = Room(d)
        await room.hear(user(0.8, 1))
        await room.until_event(events.SpeechStarted)
        stt.text = ""
        await room.silence(after_s)
        began_s, stt.text = d.now, "what about the fish"
        await room.hear(user(1.5, 3))
        await room.silence(1)

    d = hold(script, stt=stt, llm=ScriptedLLM(LONG, tokens_per_s=1000), tts=Speech())
    interrupted = [at for at, event in d.log if isinstance(event, events.TurnInterrupted)]
    assert interrupted
    assert interrupted[0] - began_s <= 0.8 + 0.08 + 0.2


def test_end_of_the_reply_is_not_answered_by_its_words() -> None:
    """A loud rustle ends in the reply's echo, so that its level is not the reply's; its words are."""
    stt = ScriptedSTT()

    async def script(d: Dialogue) -> None:
        room = Room(d, delay_ms=500)
        await room.hear(user(0.8, 1))
        await room.until_event(events.SpeechStarted)
        await room.until_event(events.TurnCompleted)
        stt.text = "of a long reply"
        await room.hear(user(0.4, 5))
        await room.silence(3)

    d = hold(script, stt=stt, llm=ScriptedLLM(LONG, tokens_per_s=1000), tts=Speech())
    assert [event.reason for event in d.of(events.UtteranceIgnored)] == ["echo"]
    assert d.kinds.count("TurnStarted") == 1


def test_headset_user_may_repeat_the_end_of_the_reply() -> None:
    stt = ScriptedSTT()

    async def script(d: Dialogue) -> None:
        room = Room(d, gain=0.0)
        await room.hear(user(0.8, 1))
        await room.until_event(events.TurnCompleted)
        stt.text = "a long reply"
        await room.hear(user(0.8, 5))
        await room.silence(3)

    d = hold(script, stt=stt, llm=ScriptedLLM(LONG, tokens_per_s=1000), tts=Speech())
    assert d.kinds.count("TurnStarted") == 2


# --- the comparison itself ---


def compared(reply: Samples, heard: Samples) -> tuple[Echo, list[bool]]:
    """Return the verdicts on frames of the user's sound while the reply is played."""
    echo, verdicts = Echo(), []
    for start in range(0, len(heard) // FRAME * FRAME, FRAME):
        if start < len(reply):
            echo.plays(reply[start : start + FRAME], start)
        echo.hear(heard[start : start + FRAME])
        verdicts.append(echo.is_echo())
    return echo, verdicts


def delayed(sound: Samples, ms: float, gain: float = 0.3) -> Samples:
    return np.pad(sound * np.float32(gain), (int(ms * RATE_HZ / 1000), 0))[: len(sound)].astype(np.float32)


@pytest.mark.parametrize("delay_ms", [0, 50, 300, 600])
@pytest.mark.parametrize("gain", [0.02, 0.3, 1.5])
def test_delayed_sound_is_recognised(delay_ms: float, gain: float) -> None:
    reply = assistant(4)
    echo, verdicts = compared(reply, delayed(reply, delay_ms, gain))
    assert echo.known
    assert np.mean(verdicts[50:]) > 0.95


def test_other_sound_is_not_an_echo() -> None:
    found = [compared(assistant(4), user(4, number)) for number in range(15)]
    assert not any(echo.known for echo, _ in found)
    assert not any(any(verdicts) for _, verdicts in found)


def test_echo_is_forgotten_when_the_user_puts_on_a_headset() -> None:
    reply = assistant(16)
    heard = delayed(reply, 100)
    heard[6 * RATE_HZ :] = 0
    heard[12 * RATE_HZ :] += user(4) * 0.1
    echo, verdicts = compared(reply, heard)
    assert not echo.known
    assert not any(verdicts[-100:])


def test_echo_can_arrive_until_its_longest_delay() -> None:
    echo = Echo()
    echo.plays(assistant(1), 0)
    assert echo.until == RATE_HZ + REACH


def test_replies_to_a_paused_client_are_not_kept() -> None:
    """A client that types, or whose push-to-talk key is up, sends no sound while replies are played."""
    echo, second = Echo(), assistant(1)
    for at in range(600):
        echo.plays(second, at * RATE_HZ)
    assert sum(len(samples) for _, samples in echo._played) <= 12 * RATE_HZ


def test_the_echo_after_a_pause_of_the_client_is_recognised() -> None:
    reply = assistant(4)
    heard = delayed(reply, 100)
    echo, verdicts = Echo(), []
    for at in range(60):
        echo.plays(assistant(1), at * RATE_HZ)  # by a clock that went on while no sound was received
    for start in range(0, len(heard) // FRAME * FRAME, FRAME):
        echo.plays(reply[start : start + FRAME], start)
        echo.hear(heard[start : start + FRAME])
        verdicts.append(echo.is_echo())
    assert np.mean(verdicts[50:]) > 0.95


def test_bursts_do_not_move_the_clock() -> None:
    clock = Received()
    assert clock.sample_at(0.0) is None
    received = 0
    for number in range(100):
        received += 320
        late_s = 0.3 if number % 10 else 0.0
        clock.arrived(received, 100.0 + received / RATE_HZ + late_s)
    assert clock.sample_at(100.0 + 2.0) == pytest.approx(2.0 * RATE_HZ, abs=RATE_HZ // 100)

"""Wake words: the real detector on speech, and sessions that sleep until they hear one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.clip import Clip, Samples
from pipeline.audio.decode import decode_blocking
from pipeline.conversation import events
from pipeline.errors import BadInput
from pipeline.listening import wake_word
from pipeline.listening.detector import FRAME
from pipeline.listening.options import LiveOptions
from pipeline.listening.wake_word import AWAKE_S, WAKE_WORDS, MicroWakeWord
from tests.dialogue import Dialogue, hold
from tests.in_process import in_process
from tests.live_client import Live
from tests.questions import spoken
from tests.real_models import recording
from tests.scripted import VOICE as VOICE_OF_REPLIES
from tests.scripted import ScriptedLLM

VOICE = "en-us"


class LoudIsTheWord:
    """Hears its wake word in every sound that is louder than speech."""

    def __init__(self, name: str) -> None:
        pass

    def hears(self, samples: Samples) -> bool:
        return float(np.abs(samples).max()) > 0.5

    def reset(self) -> None:
        pass


def hears(name: str, samples: Samples) -> bool:
    word = MicroWakeWord(name)
    return any(word.hears(samples[start : start + FRAME]) for start in range(0, len(samples), FRAME))


@pytest.mark.parametrize("name", ["okay_nabu", "alexa", "hey_mycroft"])
def test_a_wake_word_is_heard_and_the_others_are_not(name: str) -> None:
    said = np.pad(spoken(WAKE_WORDS[name].phrase, VOICE).samples, (16_000, 8_000))
    assert [other for other in WAKE_WORDS if hears(other, said)] == [name]


@pytest.mark.parametrize(("name", "voice"), [("alexa", "en-us+f1"), ("alexa", "en-us+f2"), ("hey_jarvis", "en+f4")])
def test_a_wake_word_is_heard_as_quietly_as_microphones_record_it(name: str, voice: str) -> None:
    said = spoken(WAKE_WORDS[name].phrase, voice).samples
    assert hears(name, np.pad(0.01 / np.abs(said).max() * said, (16_000, 8_000)))


def test_an_unknown_wake_word_after_a_known_one_is_refused() -> None:
    with pytest.raises(BadInput, match="wake_word must be one of"):
        [MicroWakeWord(name) for name in ("okay_nabu", "parley")]


def test_other_speech_is_not_a_wake_word() -> None:
    speech = decode_blocking(recording("jfk"), max_seconds=60).at(16_000).samples
    assert [name for name in WAKE_WORDS if hears(name, speech)] == []


def test_after_a_reset_half_a_wake_word_is_not_completed() -> None:
    said = np.pad(spoken(WAKE_WORDS["okay_nabu"].phrase, VOICE).samples, (16_000, 8_000))
    word, middle = MicroWakeWord("okay_nabu"), 16_000 + 8_000
    assert not word.hears(said[:middle])
    word.reset()
    assert not any(word.hears(said[at : at + FRAME]) for at in range(middle, len(said), FRAME))


async def wake(dialogue: Dialogue) -> None:
    await dialogue._feed(40, 0.8)


def sleeping(script: object) -> Dialogue:
    return hold(script, wake_word="okay_nabu", wake_word_detector=LoudIsTheWord)  # type: ignore[arg-type]


def test_an_open_microphone_is_ignored_until_the_wake_word() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(2000)
        await d.silence(3000)
        assert d.log == []
        await wake(d)
        await d.speak(600)
        await d.until(events.TurnCompleted)

    d = sleeping(script)
    assert d.kinds[:2] == ["WakeWordHeard", "UserSpeechStarted"]
    assert [event.wake_word for event in d.of(events.WakeWordHeard)] == ["okay_nabu"]


def test_it_sleeps_again_some_seconds_after_the_reply() -> None:
    async def script(d: Dialogue) -> None:
        await wake(d)
        await d.speak(600)
        done = await d.until(events.TurnCompleted)
        await d.silence(int(AWAKE_S * 1000) - 1000)
        await d.speak(600)  # without the wake word, in time
        await d.until(events.TurnCompleted, count=2)
        asleep = await d.until(events.FellAsleep)
        assert asleep - done > 2 * AWAKE_S - 1
        await d.speak(600)
        await d.silence(3000)
        await wake(d)

    d = sleeping(script)
    assert len(d.of(events.TurnCompleted)) == 2
    assert d.kinds[-1] == "WakeWordHeard"


def test_the_user_can_interrupt_without_the_wake_word() -> None:
    async def script(d: Dialogue) -> None:
        await wake(d)
        await d.speak(600)
        await d.until(events.SpeechStarted)
        await d.speak(1500)
        await d.until(events.TurnInterrupted)

    assert "FellAsleep" not in sleeping(script).kinds


def test_a_sleeping_session_does_not_time_out() -> None:
    async def script(d: Dialogue) -> None:
        await d.silence(60_000)
        await wake(d)

    d = hold(script, wake_word="okay_nabu", wake_word_detector=LoudIsTheWord, idle_timeout_s=10.0, idle_prompt_s=5.0)
    assert d.kinds == ["WakeWordHeard"]


def test_it_listens_on_after_a_long_reply_in_half_duplex() -> None:
    async def script(d: Dialogue) -> None:
        await wake(d)
        await d.speak(600)
        await d.until(events.SpeechStarted)
        done = await d.until(events.TurnCompleted)
        assert done - d.log[0][0] > AWAKE_S
        await d.silence(1000)
        await d.speak(600)
        await d.until(events.TurnCompleted, count=2)

    long = ScriptedLLM(" ".join(["The heron stands in the water and waits."] * 8), tokens_per_s=1000)
    d = hold(script, llm=long, wake_word_detector=LoudIsTheWord, half_duplex=True, wake_word="okay_nabu")
    assert "FellAsleep" not in d.kinds


def test_a_wake_word_that_is_set_during_a_turn_does_not_end_it() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        d.session.configure(replace(d.session.options, wake_word="alexa"), voice=VOICE_OF_REPLIES, language=None)
        await d.speak(300)
        await d.until(events.TurnCompleted)
        await d.until(events.FellAsleep)

    d = hold(script, wake_word_detector=LoudIsTheWord)
    assert d.kinds.count("TurnCompleted") == 1


def test_a_pressed_key_wakes_it_up() -> None:
    async def script(d: Dialogue) -> None:
        d.session.begin()
        await d.speak(600)
        d.session.commit()
        await d.until(events.TurnCompleted)

    d = sleeping(script)
    assert "WakeWordHeard" not in d.kinds
    assert d.history[0][0] == "user"


def test_push_to_talk_needs_no_wake_word() -> None:
    async def script(d: Dialogue) -> None:
        d.session.begin()
        await d.speak(600)
        d.session.commit()
        await d.until(events.TurnCompleted)

    d = hold(script, wake_word="okay_nabu", wake_word_detector=LoudIsTheWord, turn_detection=False)
    assert "WakeWordHeard" not in d.kinds


@pytest.mark.parametrize("value", ["ok nabu", "../alexa", 3, ["alexa"]])
def test_unknown_wake_words_are_refused(value: object) -> None:
    with pytest.raises(BadInput, match="wake_word must be one of okay_nabu"):
        LiveOptions().changed({"wake_word": value})


def test_without_the_package_the_option_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake_word, "wake_words", lambda: ())
    with pytest.raises(BadInput, match="EXTRAS=wake"):
        LiveOptions().changed({"wake_word": "alexa"})
    assert LiveOptions().changed({"wake_word": ""}).wake_word == ""


def test_a_live_connection_wakes_to_the_real_wake_word(tmp_path: Path) -> None:
    question = spoken("what time is it", VOICE)
    called = Clip.join([spoken("Okay Nabu", VOICE), question], 16_000)

    with in_process(tmp_path) as server, Live(server, "rate=16000&wake_word=okay_nabu") as client:
        assert client.started["options"]["wake_word"] == "okay_nabu"
        client.speak(question, silence_s=3)
        client.speak(called)
        assert client.until("turn_completed", "user_speech_started", "wake_word_heard")["type"] == "wake_word_heard"
        client.until("turn_completed")
        client.tell("configure", options={"wake_word": ""})
        client.speak(question)
        client.until("turn_completed")
        client.tell("configure", options={"wake_word": "computer"})
        assert client.until("error")["code"] == "bad_parameter"

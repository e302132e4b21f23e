"""The rules of a live conversation, on scripted stages and virtual time."""

import asyncio
import itertools
from dataclasses import replace

import numpy as np
import pytest

from pipeline.conversation import events
from pipeline.conversation.reply_options import ReplyOptions
from pipeline.conversation.watchdog import IdleTimeout
from pipeline.errors import BadInput, EngineError, Overloaded
from tests.dialogue import RATE_HZ, Dialogue, hold, tone
from tests.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS

EIGHT = " ".join(
    f"This is sentence number {n} of a long reply." for n in ("one", "two", "three", "four", "five", "six")
)


def test_spoken_turn_has_its_events_in_order() -> None:
    async def script(d: Dialogue) -> None:
        await d.silence(400)
        await d.speak(1000)
        await d.until(events.TurnCompleted)

    d = hold(script)
    assert d.kinds[:6] == [
        "UserSpeechStarted", "UserSpeechStopped", "TurnStarted", "TranscriptFinal", "ReplyDelta", "SpeechStarted",
    ]  # fmt: skip
    assert d.kinds[-1] == "TurnCompleted"
    assert d.history == [("user", "what does the heron do"), ("assistant", ScriptedLLM().reply_text)]
    assert d.of(events.UserSpeechStarted)[0].at_ms == pytest.approx(400, abs=40)
    assert d.of(events.UserSpeechStopped)[0].at_ms == pytest.approx(1400, abs=40)


def test_fast_stages_reply_at_the_endpoint() -> None:
    """Transcript, reply and first speech take less time than the endpoint's silence."""
    spoke_until = 0.0

    async def script(d: Dialogue) -> None:
        nonlocal spoke_until
        spoke_until = await d.speak(1000)
        await d.until(events.TurnCompleted)

    d = hold(script, adaptive_endpointing=False)
    assert d.frames_s[0] - spoke_until == pytest.approx(0.5, abs=0.04)
    d = hold(script, adaptive_endpointing=False, speculations=0)
    assert d.frames_s[0] - spoke_until == pytest.approx(0.5 + 0.08 + 0.12 + 4 / 60 + 0.04, abs=0.06)


def test_slow_stages_add_only_their_own_time() -> None:
    spoke_until = 0.0

    async def script(d: Dialogue) -> None:
        nonlocal spoke_until
        spoke_until = await d.speak(1000)
        await d.until(events.TurnCompleted)

    d = hold(script, stt=ScriptedSTT(seconds=0.4), llm=ScriptedLLM(first_token_s=0.8))
    critical = 0.1 + 0.4 + 0.8 + 6 / 60 + 0.04
    assert d.frames_s[0] - spoke_until <= critical * 1.05 + 0.03


def test_speculative_reply_is_neither_sent_nor_recorded() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.silence(460)  # long enough for a speculative reply, too short for the endpoint
        assert "ReplyDelta" not in d.kinds
        assert d.stages.tts.spoken  # type: ignore[attr-defined]
        await d.speak(600)
        assert d.history == []
        await d.until(events.TurnCompleted)

    d = hold(script, adaptive_endpointing=False)
    assert d.kinds.count("TurnStarted") == 1
    assert d.running.calls.count("llm") == 2
    assert len(d.history) == 2


def test_at_most_three_speculative_replies_an_utterance() -> None:
    async def script(d: Dialogue) -> None:
        for _ in range(6):
            await d.speak(400)
            await d.silence(300)
        await d.until(events.TurnCompleted)

    d = hold(script, adaptive_endpointing=False)
    assert d.running.calls.count("stt") <= 4
    assert d.kinds.count("TurnCompleted") == 1


@pytest.mark.parametrize("idle", [False, True])
def test_speculative_reply_to_long_speech_needs_an_idle_machine(idle: bool) -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(16_000)
        await d.silence(400)
        assert d.running.calls.count("llm") == idle
        await d.until(events.TurnCompleted)

    hold(script, idle=idle, adaptive_endpointing=False)


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [("What time is it?", 0.3), ("turn on the light and", 1.2), ("turn on the light", 0.5)],
)
def test_endpoint_delay_depends_on_the_completeness_of_the_text(text: str, wait_s: float) -> None:
    spoke_until = 0.0

    async def script(d: Dialogue) -> None:
        nonlocal spoke_until
        spoke_until = await d.speak(1000)
        await d.until(events.UserSpeechStopped)

    d = hold(script, stt=ScriptedSTT(text))
    assert d.log[-1][0] - spoke_until == pytest.approx(wait_s, abs=0.05)


@pytest.mark.parametrize(
    ("text", "recogniser_s", "wait_s"),
    [
        ("Set a timer for", 0.6, 1.2),
        ("Set a timer for", 1.0, 1.2),
        ("What time is it?", 0.1, 0.3),
        ("What time is it?", 0.6, 0.74),  # the endpoint comes with the transcript
        ("What time is it?", 5.0, 1.2),  # the limit for any transcript
        ("turn on the light", 0.1, 0.5),
        ("My number is 555.", 0.6, 1.2),
    ],
)
def test_transcript_of_a_slow_recogniser_also_decides_the_endpoint(
    text: str, recogniser_s: float, wait_s: float
) -> None:
    spoke_until = 0.0

    async def script(d: Dialogue) -> None:
        nonlocal spoke_until
        spoke_until = await d.speak(1000)
        await d.until(events.UserSpeechStopped)

    d = hold(script, stt=ScriptedSTT(text, seconds=recogniser_s))
    assert d.log[-1][0] - spoke_until == pytest.approx(wait_s, abs=0.05)


@pytest.mark.parametrize("speculations", [0, 1, 3])
def test_every_pause_is_transcribed_with_any_number_of_speculations(speculations: int) -> None:
    async def script(d: Dialogue) -> None:
        for _ in range(5):
            await d.speak(400)
            await d.silence(900)
        assert "UserSpeechStopped" not in d.kinds
        assert d.running.calls.count("llm") == speculations
        await d.until(events.TurnCompleted)

    d = hold(script, stt=ScriptedSTT("My number is 555."), speculations=speculations)
    assert d.kinds.count("TurnStarted") == 1


def test_dictation_also_waits_for_its_transcript() -> None:
    spoke_until = 0.0

    async def script(d: Dialogue) -> None:
        nonlocal spoke_until
        d.session.reply_options = ReplyOptions(answers=False)
        spoke_until = await d.speak(1000)
        await d.until(events.UtteranceTranscribed)

    for text, wait_s in (("My number is 555.", 1.2), ("What time is it?", 0.4)):
        d = hold(script, stt=ScriptedSTT(text))
        stopped = next(at for at, event in d.log if isinstance(event, events.UserSpeechStopped))
        assert stopped - spoke_until == pytest.approx(wait_s, abs=0.06)
        assert d.running.calls == ["stt"]


def test_click_is_not_an_utterance() -> None:
    async def script(d: Dialogue) -> None:
        await d.silence(320)
        await d.speak(20)
        await d.silence(2000)

    assert hold(script).kinds == []


def test_noise_without_words_gets_no_reply() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(500)
        await d.silence(2000)

    d = hold(script, stt=ScriptedSTT(""))
    assert d.kinds == ["UserSpeechStarted", "UserSpeechStopped", "UtteranceIgnored"]
    assert d.history == []
    assert "llm" not in d.running.calls


def test_reply_audio_is_sent_a_little_ahead_of_real_time() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.TurnCompleted)

    d = hold(script, llm=ScriptedLLM(EIGHT, tokens_per_s=1000), tts=ScriptedTTS(rtf=0.001))
    first = d.frames_s[0]
    for index, at in enumerate(d.frames_s):
        assert (index + 1) * 0.04 - (at - first) <= 0.2 + 0.001
    assert d.log[-1][0] - first == pytest.approx(len(d.frames_s) * 0.04, abs=0.05)


def test_interruption_stops_the_reply_and_history_keeps_the_heard_text() -> None:
    began = 0.0

    async def script(d: Dialogue) -> None:
        nonlocal began
        await d.speak(600)
        await d.until(events.SpeechStarted)
        await d.silence(5000)
        began = d.now
        await d.speak(1000)
        await d.until(events.TurnCompleted)

    d = hold(script, llm=ScriptedLLM(EIGHT, tokens_per_s=1000))
    interrupted = d.of(events.TurnInterrupted)
    assert len(interrupted) == 1
    # held at the onset, so that the last audio was sent within the threshold
    held = next(at for at, event in d.log if isinstance(event, events.SpeechHeld))
    ended = next(at for at, event in d.log if isinstance(event, events.TurnInterrupted))
    assert max(at for at in d.frames_s if at <= ended) - began <= 0.25 + 0.05
    assert held - began <= 0.1
    role, heard = d.history[1]
    assert role == "assistant"
    assert heard == interrupted[0].heard_text + " …"
    # slightly over 5 s at 60 ms a character, in whole words
    assert EIGHT.startswith(interrupted[0].heard_text)
    assert len(interrupted[0].heard_text) * 0.06 == pytest.approx(5.2, abs=0.6)
    assert [role for role, _ in d.history] == ["user", "assistant", "user", "assistant"]


def test_nothing_of_the_old_reply_is_sent_after_an_interruption() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.SpeechStarted)
        await d.silence(1000)
        await d.speak(600)
        await d.until(events.TurnInterrupted)
        assert d.running.now.count("llm") == 0
        count = len(d.frames_s)
        await d.silence(200)
        assert len(d.frames_s) == count

    hold(script, llm=ScriptedLLM(EIGHT, tokens_per_s=5))


@pytest.mark.parametrize("ms", [80, 160, 220])
def test_cough_only_holds_the_reply(ms: int) -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.SpeechStarted)
        await d.silence(1000)
        await d.speak(ms)
        await d.until(events.TurnCompleted)

    d = hold(script)
    assert d.kinds.count("SpeechHeld") == d.kinds.count("SpeechResumed") == 1
    assert "TurnInterrupted" not in d.kinds
    assert d.history[1] == ("assistant", ScriptedLLM().reply_text)


@pytest.mark.parametrize(
    ("said", "cuts_in"), [("mhm", False), ("yeah, right.", False), ("stop", True), ("yeah but", True)]
)
def test_backchannel_does_not_interrupt_but_words_do(said: str, cuts_in: bool) -> None:
    stt = ScriptedSTT()

    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.SpeechStarted)
        await d.silence(1000)
        stt.text = said
        await d.speak(400)
        await d.silence(1500)
        assert ("TurnInterrupted" in d.kinds) is cuts_in
        assert ("SpeechResumed" in d.kinds) is not cuts_in

    hold(script, stt=stt, llm=ScriptedLLM(EIGHT))


def test_long_speech_interrupts_regardless_of_its_words() -> None:
    stt = ScriptedSTT()

    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.SpeechStarted)
        await d.silence(1000)
        stt.text = "mhm"
        began = d.now
        await d.speak(1200)
        ended = next(at for at, event in d.log if isinstance(event, events.TurnInterrupted))
        assert ended - began == pytest.approx(0.8, abs=0.05)

    hold(script, stt=stt, llm=ScriptedLLM(EIGHT))


def test_interrupting_words_are_transcribed_from_their_beginning() -> None:
    heard_s: list[float] = []

    class Measuring(ScriptedSTT):
        async def transcribe(self, clip, *, language, prompt, words):  # type: ignore[no-untyped-def]
            heard_s.append(clip.seconds)
            return await super().transcribe(clip, language=language, prompt=prompt, words=words)

    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.SpeechStarted)
        await d.silence(1000)
        await d.speak(1000)
        await d.until(events.TurnCompleted)

    hold(script, stt=Measuring(), llm=ScriptedLLM(EIGHT, tokens_per_s=1000))
    assert heard_s[-1] == pytest.approx(0.3 + 1.0 + 0.1, abs=0.1)  # pre-roll, speech, and the detected silence


def test_held_reply_continues_at_the_same_sample() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.SpeechStarted)
        await d.silence(1000)
        await d.speak(160)
        await d.until(events.TurnCompleted)

    d = hold(script)
    whole = sum(len(chunk.clip.samples) for chunk in d.of(events.SpeechChunk))
    synthesised = sum(max(1, round(len(text) * 0.06 / 0.08)) * 1280 for text in d.stages.tts.spoken)  # type: ignore[attr-defined,misc]
    assert whole == synthesised + 320  # nothing lost, and nothing repeated except the faded 20 ms
    faded = min(d.of(events.SpeechChunk), key=lambda chunk: abs(chunk.clip.samples[-1]))
    assert len(faded.clip.samples) == 320


def test_played_position_of_the_client_corrects_the_history() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.SpeechStarted)
        await d.silence(5000)
        await d.speak(600)
        await d.until(events.TurnInterrupted)
        d.session.played(1000)
        await d.silence(100)

    d = hold(script, llm=ScriptedLLM(EIGHT, tokens_per_s=1000))
    assert d.history[1] == ("assistant", "This is sentence …")
    assert d.of(events.HeardCorrected) == [events.HeardCorrected(1000, "This is sentence")]


def test_played_position_is_accepted_during_a_speculative_reply() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.SpeechStarted)
        await d.silence(5000)
        await d.speak(600)
        await d.until(events.TurnInterrupted)
        await d.silence(250)  # the reply is speculative and not committed yet
        d.session.played(1000)
        await d.silence(1000)

    d = hold(script, llm=ScriptedLLM(EIGHT, tokens_per_s=1000))
    assert d.history[1] == ("assistant", "This is sentence …")


def test_interrupted_turn_has_timings() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.SpeechStarted)
        await d.silence(1000)
        await d.speak(600)
        await d.until(events.TurnInterrupted)

    d = hold(script, llm=ScriptedLLM(EIGHT, tokens_per_s=1000))
    marks = d.of(events.TurnInterrupted)[0].timings_ms
    order = ["transcript", "first_token", "first_audio", "first_sound"]
    assert sorted(order, key=marks.__getitem__) == order
    assert marks["endpoint"] <= marks["first_sound"]


def test_interruption_before_the_first_token_leaves_no_reply() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.UserSpeechStopped)
        await d.silence(100)
        await d.speak(900)
        assert d.frames_s == []
        await d.until(events.TurnInterrupted)

    d = hold(script, llm=ScriptedLLM(first_token_s=5))
    assert d.of(events.TurnInterrupted)[0].heard_text == ""
    assert d.history == [("user", "what does the heron do")]


def test_half_duplex_ignores_audio_during_the_reply() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.SpeechStarted)
        await d.speak(1500)
        await d.silence(100)
        await d.until(events.TurnCompleted)
        await d.silence(1000)

    d = hold(script, llm=ScriptedLLM(EIGHT, tokens_per_s=1000), half_duplex=True)
    assert "TurnInterrupted" not in d.kinds
    assert d.history[1:] == [("assistant", EIGHT)]
    assert d.session.dropped > 0


@pytest.mark.parametrize(("said", "answered"), [("and the fish", True), ("mhm", False)])
def test_speech_during_an_uninterruptible_reply_is_answered_after_it(said: str, answered: bool) -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.SpeechStarted)
        d.stages.stt.text = said  # type: ignore[attr-defined]
        await d.silence(500)
        await d.speak(500)
        await d.until(events.TurnCompleted)
        await d.silence(1000)
        if answered:
            await d.until(events.TurnCompleted, count=2)

    d = hold(script, llm=ScriptedLLM(EIGHT, tokens_per_s=1000), interruptible=False)
    assert "SpeechHeld" not in d.kinds
    assert "TurnInterrupted" not in d.kinds
    assert d.history[1:] == [("assistant", EIGHT), *[("user", said), ("assistant", EIGHT)] * answered]


def test_push_to_talk_waits_for_the_key_and_not_for_silence() -> None:
    async def script(d: Dialogue) -> None:
        await d.silence(500)
        d.session.begin()
        await d.speak(500)
        await d.silence(3000)
        await d.speak(500)
        assert "UserSpeechStopped" not in d.kinds
        released = d.now
        d.session.commit()
        await d.until(events.TurnCompleted)
        assert d.frames_s[0] - released < 0.4

    d = hold(script, turn_detection=False)
    assert d.kinds.count("TurnStarted") == 1


def test_empty_commit_is_an_error_and_the_session_continues() -> None:
    async def script(d: Dialogue) -> None:
        with pytest.raises(BadInput):
            d.session.commit()
        await d.speak(600)
        await d.until(events.TurnCompleted)

    hold(script)


def test_speech_without_a_pressed_key_cannot_be_committed() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        with pytest.raises(BadInput):
            d.session.commit()

    assert hold(script, turn_detection=False).kinds == []


def test_silent_push_to_talk_turn_is_timed_from_the_key_press() -> None:
    async def script(d: Dialogue) -> None:
        await d.silence(60_000)
        d.session.begin()
        await d.silence(500)
        d.session.commit()
        await d.until(events.TurnCompleted)

    d = hold(script, stt=ScriptedSTT(""), turn_detection=False)
    assert d.of(events.UserSpeechStopped)[0].at_ms == pytest.approx(60_000, abs=40)
    assert d.of(events.TurnCompleted)[0].timings_ms["endpoint"] == pytest.approx(500, abs=40)


def test_typed_message_interrupts_and_gets_a_reply() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.SpeechStarted)
        await d.silence(1000)
        d.session.say("and what about the fish")
        await d.until(events.TurnCompleted)

    d = hold(script, llm=ScriptedLLM(EIGHT, tokens_per_s=1000))
    assert d.kinds.count("TurnInterrupted") == 1
    assert d.history[2] == ("user", "and what about the fish")


def test_typed_messages_in_quick_succession_are_all_recorded() -> None:
    async def script(d: Dialogue) -> None:
        d.session.say("my name is Ada")
        d.session.say("what is my name")
        await d.until(events.TurnCompleted)

    d = hold(script)
    assert d.kinds[:4] == ["TurnStarted", "TranscriptFinal", "TurnInterrupted", "TurnStarted"]
    assert [content for role, content in d.history if role == "user"] == ["my name is Ada", "what is my name"]


def test_failed_turn_ends_once_and_the_next_one_works() -> None:
    llm = ScriptedLLM(error=EngineError("away"))

    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.TurnFailed)
        llm.error = None
        await d.speak(600)
        await d.until(events.TurnCompleted)

    d = hold(script, llm=llm)
    assert d.kinds.count("TurnFailed") == 1
    assert d.of(events.TurnFailed)[0].code == "llm_unavailable"


def test_very_long_utterance_is_cut_at_its_longest_pause() -> None:
    seconds: list[float] = []

    class Counting(ScriptedSTT):
        async def transcribe(self, clip, *, language, prompt, words):  # type: ignore[no-untyped-def]
            seconds.append(clip.seconds)
            self.text = f"part {len(seconds)}"
            return await super().transcribe(clip, language=language, prompt=prompt, words=words)

    async def script(d: Dialogue) -> None:
        await d.silence(320)
        await d.speak(6000)
        await d.silence(80)
        await d.speak(7000)
        await d.until(events.TurnCompleted)

    d = hold(script, stt=Counting(), max_utterance_s=10, speculation_max_speech_s=60)
    assert seconds[0] == pytest.approx(6.3, abs=0.1)
    assert d.history[0][1] == "part 1 part 2"
    assert d.kinds.count("TurnStarted") == 1


def test_utterance_ends_if_the_audio_stops() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await asyncio.sleep(10)

    d = hold(script)
    assert "TurnCompleted" in d.kinds


def test_held_reply_continues_if_the_audio_stops() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.SpeechStarted)
        await d.silence(1000)
        await d.speak(120)  # then the microphone is turned off
        await asyncio.sleep(30)

    d = hold(script)
    assert d.kinds[-1] == "TurnCompleted"
    assert d.history[1] == ("assistant", ScriptedLLM().reply_text)


def test_partials_grow_and_never_change() -> None:
    hypotheses = iter(["what", "what was", "what does the", "what does the hare", "what does the heron do", "x"])

    class Growing(ScriptedSTT):
        async def transcribe(self, clip, *, language, prompt, words):  # type: ignore[no-untyped-def]
            self.text = next(hypotheses, self.text)
            return await super().transcribe(clip, language=language, prompt=prompt, words=words)

    async def script(d: Dialogue) -> None:
        await d.speak(3200)

    d = hold(script, stt=Growing(seconds=0.02), partial_ms=400)
    shown = [event.text for event in d.of(events.TranscriptPartial)]
    assert shown
    assert all(new.startswith(old) for old, new in itertools.pairwise(shown))
    assert shown[-1] == "what does the"


def test_idle_session_prompts_and_then_closes() -> None:
    errors: list[BaseException] = []

    async def script(d: Dialogue) -> None:
        await d.silence(11_000)
        assert d.stages.tts.spoken == ["Are you still there?"]  # type: ignore[attr-defined]
        await d.silence(30_000)
        try:
            await d.session.events.__anext__()
        except IdleTimeout as error:
            errors.append(error)

    hold(script, idle_prompt_s=10, idle_timeout_s=20)
    assert errors


def test_too_slow_reader_ends_its_session() -> None:
    async def script(d: Dialogue) -> None:
        for _ in range(2000):
            d.session._out.emit(events.SpeechHeld())
        with pytest.raises(Overloaded):
            while True:
                await d.session.events.__anext__()

    hold(script)


def test_closing_stops_everything_and_keeps_the_heard_text() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.SpeechStarted)
        await d.silence(2000)
        before = d.now
        await d.session.close()
        assert d.now - before < 0.1
        assert d.running.now == []

    d = hold(script, llm=ScriptedLLM(EIGHT, tokens_per_s=5))
    assert d.history[1][0] == "assistant"
    assert 10 < len(d.history[1][1]) < 60


def test_audio_before_a_commit_or_clear_is_not_transcribed_again() -> None:
    heard_s: list[float] = []

    class Measuring(ScriptedSTT):
        async def transcribe(self, clip, *, language, prompt, words):  # type: ignore[no-untyped-def]
            heard_s.append(clip.seconds)
            return await super().transcribe(clip, language=language, prompt=prompt, words=words)

    async def script(d: Dialogue) -> None:
        await d.speak(2000)
        d.session.clear()
        await d.speak(1000)
        d.session.commit()
        await d.speak(120)  # the end of the word
        await d.until(events.TurnCompleted)

    d = hold(script, stt=Measuring(), partial_ms=0)
    assert d.kinds.count("UtteranceIgnored") == 1
    assert "TurnInterrupted" not in d.kinds
    assert heard_s == [pytest.approx(1.0, abs=0.04)]


def test_typed_message_contains_only_the_typed_text() -> None:
    """The message includes neither parts of an earlier long utterance nor the current speech."""

    async def script(d: Dialogue) -> None:
        await d.speak(4000)
        await d.until(events.TurnCompleted)
        d.session.say("and the fish")
        await d.until(events.TurnCompleted, count=2)
        await d.speak(3000)
        d.session.say("never mind")
        await d.until(events.TurnCompleted, count=3)

    d = hold(script, max_utterance_s=2)
    assert [content for role, content in d.history if role == "user"][1:] == ["and the fish", "never mind"]
    assert d.kinds.count("UserSpeechStarted") == 2
    assert d.kinds.count("UserSpeechStopped") == d.kinds.count("UtteranceIgnored") == 1


def test_speech_before_the_transcript_continues_the_utterance() -> None:
    """A slow recogniser must not lose the first half of an utterance with a pause."""

    class Slow(ScriptedSTT):
        async def transcribe(self, clip, *, language, prompt, words):  # type: ignore[no-untyped-def]
            heard = await super().transcribe(clip, language=language, prompt=prompt, words=words)
            loud_s = np.count_nonzero(clip.samples) / RATE_HZ
            return replace(heard, text="what is the weather" if loud_s > 1 else "in Lisbon")

    async def script(d: Dialogue) -> None:
        await d.speak(1400)
        await d.until(events.UserSpeechStopped)
        await d.silence(100)
        await d.speak(600)
        await d.until(events.TurnCompleted)

    d = hold(script, stt=Slow(seconds=3), speculate_ms=400)
    assert d.history[0] == ("user", "what is the weather in Lisbon")
    assert d.kinds.count("TurnStarted") == 1
    assert [event.reason for event in d.of(events.UtteranceIgnored)] == ["continued"]


def test_turn_interrupted_before_its_transcript_has_start_and_end() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(1000)
        await d.until(events.UserSpeechStopped)
        d.session.interrupt()
        await d.silence(200)
        assert d.running.now == []

    d = hold(script, stt=ScriptedSTT(seconds=2))
    assert d.kinds == ["UserSpeechStarted", "UserSpeechStopped", "TurnStarted", "TurnInterrupted"]
    assert d.history == []


def test_long_push_to_talk_utterance_is_transcribed_in_parts() -> None:
    seconds: list[float] = []

    class Counting(ScriptedSTT):
        async def transcribe(self, clip, *, language, prompt, words):  # type: ignore[no-untyped-def]
            seconds.append(clip.seconds)
            return await super().transcribe(clip, language=language, prompt=prompt, words=words)

    async def script(d: Dialogue) -> None:
        d.session.begin()
        await d.speak(35_000)
        d.session.commit()
        await d.until(events.TurnCompleted)

    d = hold(script, stt=Counting("part"), turn_detection=False, max_utterance_s=10)
    assert max(seconds) <= 10.05
    assert d.history[0] == ("user", "part part part part")


@pytest.mark.parametrize("turn_detection", [True, False])
def test_partials_of_a_long_utterance_only_grow(turn_detection: bool) -> None:
    words = 0

    class Growing(ScriptedSTT):
        async def transcribe(self, clip, *, language, prompt, words):  # type: ignore[no-untyped-def]
            self.text = " ".join(["word"] * int(clip.seconds * 2))
            return await super().transcribe(clip, language=language, prompt=prompt, words=words)

    async def script(d: Dialogue) -> None:
        nonlocal words
        d.session.begin()
        await d.speak(9000)
        await d.silence(80)
        await d.speak(9000)
        words = 18 * 2

    d = hold(script, stt=Growing(seconds=0.02), partial_ms=400, max_utterance_s=10, turn_detection=turn_detection)
    shown = [event.text for event in d.of(events.TranscriptPartial)]
    assert all(new.startswith(old) for old, new in itertools.pairwise(shown))
    assert len(shown[-1].split()) == pytest.approx(words, abs=5)


@pytest.mark.parametrize("options", [{"interruptible": False}, {"turn_detection": False}])
def test_held_reply_continues_once_it_becomes_uninterruptible(options: dict[str, bool]) -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.SpeechStarted)
        await d.silence(1000)
        await d.speak(200)
        assert d.kinds[-1] == "SpeechHeld"
        d.session.configure(d.session.options.changed(options), voice=d.session.voice, language=None)
        await d.speak(2000)
        await d.until(events.TurnCompleted)

    d = hold(script)
    assert d.kinds.count("SpeechResumed") == 1
    assert d.history[1] == ("assistant", ScriptedLLM().reply_text)


def test_interrupting_cancels_the_transcription_of_a_claim() -> None:
    stt = ScriptedSTT()

    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.SpeechStarted)
        await d.silence(1000)
        stt.seconds = 0.9
        await d.speak(400)
        assert d.running.now == ["stt"]
        d.session.interrupt()
        await d.silence(20)
        assert d.running.now == []

    hold(script, stt=stt)


def test_begin_before_or_during_speech_waits_for_the_utterance() -> None:
    async def script(d: Dialogue) -> None:
        await d.silence(3000)
        d.session.begin()
        await d.silence(2000)
        await d.speak(500)
        d.session.begin()
        await d.speak(500)
        assert d.kinds == ["UserSpeechStarted"]
        await d.until(events.TurnCompleted)

    d = hold(script)
    assert d.kinds.count("UserSpeechStarted") == d.kinds.count("TurnStarted") == 1


def test_failed_speculative_reply_is_retried_at_the_endpoint() -> None:
    llm = ScriptedLLM(error=EngineError("busy"))

    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.silence(440)
        llm.error = None
        await d.until(events.TurnCompleted)

    d = hold(script, llm=llm, adaptive_endpointing=False)
    assert "TurnFailed" not in d.kinds
    assert d.running.calls.count("llm") == 2


def test_commit_uses_a_finished_speculative_reply() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.silence(440)
        d.session.commit()
        await d.silence(20)
        assert d.frames_s
        await d.until(events.TurnCompleted)

    d = hold(script, adaptive_endpointing=False)
    assert d.running.calls.count("stt") == 1


def test_late_played_position_does_not_change_other_turns() -> None:
    stt = ScriptedSTT()

    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.TurnCompleted)
        d.session.played(300)  # completed: everything was heard
        stt.text = ""
        await d.speak(600)
        d.session.commit()  # "I did not hear anything."
        await d.until(events.SpeechStarted, count=2)
        d.session.interrupt()
        d.session.played(100)
        await d.silence(100)

    d = hold(script, stt=stt)
    assert d.history[:2] == [("user", "what does the heron do"), ("assistant", ScriptedLLM().reply_text)]


def test_pressed_key_without_speech_counts_as_idle() -> None:
    async def script(d: Dialogue) -> None:
        d.session.begin()
        await d.silence(30_000)
        assert d.session.ended.is_set()

    hold(script, turn_detection=False, idle_timeout_s=20)


def test_burst_of_speech_is_transcribed_one_part_at_a_time() -> None:
    most = 0

    async def script(d: Dialogue) -> None:
        nonlocal most
        d.session.hear(tone(16_000 * 60, 0.2))
        for _ in range(200):
            most = max(most, d.running.now.count("stt"))
            await asyncio.sleep(0.05)

    hold(script, max_utterance_s=2, silence_ms=10_000)
    assert most <= 2  # one part, and the last one with the reply


def test_too_long_spoken_reply_times_out() -> None:
    endless = " ".join(f"This is sentence number {n} of a reply that goes on." for n in range(300))

    async def script(d: Dialogue) -> None:
        await d.speak(600)
        await d.until(events.TurnFailed)
        await d.silence(2000)
        await d.speak(600)
        await d.until(events.TurnStarted, count=2)

    d = hold(script, llm=ScriptedLLM(endless, tokens_per_s=1000.0), turn_s=20)
    (failed,) = d.of(events.TurnFailed)
    assert failed.code == "timeout"
    ended = next(at for at, event in d.log if isinstance(event, events.TurnFailed))
    stopped = next(at for at, event in d.log if isinstance(event, events.UserSpeechStopped))
    assert ended - stopped == pytest.approx(20, abs=0.1)
    started_again = [at for at, event in d.log if isinstance(event, events.TurnStarted)][1]
    assert [at for at, event in d.log if isinstance(event, events.SpeechChunk) and ended < at < started_again] == []
    role, remembered = d.history[1]
    assert role == "assistant"
    assert remembered.endswith(" …")
    assert 200 < len(remembered) < 500  # 20 s at 60 ms a character, of 15,000 characters

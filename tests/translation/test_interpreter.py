"""A translation session on virtual time: what is translated when, and what happens when a stage is slow or fails."""

import asyncio
import itertools

import pytest

from pipeline.errors import EngineError
from pipeline.translation import events
from pipeline.translation.interpreter import LATE_S
from pipeline.translation.translator import CONTEXT, TIMEOUT_S
from tests.dialogue import tone
from tests.scripted import ScriptedTTS
from tests.translation.booth import Booth, interpret

LONG = (
    "Good morning to all of you, today I want to speak about the sea. It covers most of our planet, and we know less "
    "about it than about the moon. Its deepest place lies in the west of a warm ocean, where no light has ever come. "
    "Small animals live there, and they make their own light. Thank you for listening to me."
)
COUNT = len(LONG.split())


def of_sources(booth: Booth, language: str = "Spanish") -> str:
    """The translation that the sources must have: each once, in order."""
    return " ".join(f"{language}({text})" for text in booth.llm.sources)


def test_continuous_speech_is_translated_while_it_goes_on() -> None:
    booth = interpret(LONG, lambda booth: booth.speak(COUNT))
    assert booth.source == LONG
    assert " ".join(booth.llm.sources) == LONG
    assert booth.translation == of_sources(booth)
    assert len(booth.llm.sources) > 5
    assert booth.at(events.TranslationDelta) < 4.5, "a clause of six words, which take 1.8 s"
    assert booth.at(events.SpeechDelta) < 5
    assert sum(at < COUNT * 0.3 for at, event in booth.log if isinstance(event, events.TranslationDelta)) > 20


def test_positions_advance_with_the_speakers_sound() -> None:
    booth = interpret(LONG, lambda booth: booth.speak(COUNT))
    source = [event.until_ms for event in booth.of(events.SourceDelta)]
    text = [event.until_ms for event in booth.of(events.TranslationDelta)]
    sound = [event.until_ms for event in booth.of(events.SpeechDelta)]
    for positions in (source, text, sound):
        assert positions == sorted(positions)
        assert 0 < positions[0] < positions[-1] <= COUNT * 300 + 700


def test_a_pause_ends_a_clause_and_its_lag_is_short() -> None:
    async def script(booth: Booth) -> None:
        ended = await booth.speak(3)
        await booth.silence(1500)
        assert booth.translation == "Spanish(It rains today)"
        assert booth.at(events.TranslationDelta) - ended < 0.9
        assert booth.at(events.SpeechDelta) - ended < 1.1

    booth = interpret("It rains today", script)
    assert booth.running.calls.count("stt") == 2, "the transcript from the beginning of the pause is used"


def test_words_that_must_go_on_wait_for_the_next_ones() -> None:
    async def script(booth: Booth) -> None:
        await booth.speak(3)
        await booth.silence(800)
        assert not booth.llm.asked
        await booth.speak(2)
        await booth.silence(1000)

    booth = interpret("bread and the butter knife", script)
    assert booth.llm.sources == ["bread and the butter knife"]


def test_words_that_must_go_on_but_do_not_are_translated() -> None:
    async def script(booth: Booth) -> None:
        await booth.speak(3)
        await booth.silence(2500)
        assert booth.llm.sources == ["bread and the"]

    interpret("bread and the", script)


def test_sound_that_stops_arriving_counts_as_a_pause() -> None:
    async def script(booth: Booth) -> None:
        await booth.speak(3)
        await asyncio.sleep(4)
        assert booth.llm.sources == ["It rains today"]
        await booth.speak(2)
        await asyncio.sleep(4)

    booth = interpret("It rains today or snows", script)
    assert booth.llm.sources == ["It rains today", "or snows"]
    assert booth.of(events.SourceDelta)[-1].until_ms < 1800, "missing sound takes no time"


def test_a_new_language_applies_to_the_next_clause() -> None:
    async def script(booth: Booth) -> None:
        await booth.speak(20)
        booth.interpreter.language = "fr"
        await booth.speak(COUNT - 20)

    booth = interpret(LONG, script)
    assert " ".join(booth.llm.sources) == LONG
    languages = [chunk.partition("(")[0].strip() for chunk in booth.translation.split(")")[:-1]]
    assert [language for language, _ in itertools.groupby(languages)] == ["Spanish", "French"]
    spoken = [language for language, _ in itertools.groupby(booth.tts.languages)]
    assert spoken == ["es", "fr"]
    first = next(messages for messages in booth.llm.asked if "French" in messages[0].content)
    assert len(first) == 2, "the context is in another language"


def test_the_context_is_the_last_clauses() -> None:
    booth = interpret(LONG, lambda booth: booth.speak(COUNT))
    assert [len(messages) for messages in booth.llm.asked[:4]] == [2, 4, 6, 8]
    assert max(len(messages) for messages in booth.llm.asked) == 2 + 2 * CONTEXT
    last = booth.llm.asked[-1]
    assert [message.role for message in last] == ["system", *["user", "assistant"] * CONTEXT, "user"]
    assert [message.content for message in last[1::2]] == booth.llm.sources[-CONTEXT - 1 :]
    assert last[-2].content == f"Spanish({last[-3].content})"


def test_a_slow_language_model_gets_merged_clauses() -> None:
    async def script(booth: Booth) -> None:
        ended = await booth.speak(COUNT)
        await booth.silence(600)
        await booth.until(lambda: booth.translation.endswith("to me.)"))
        assert booth.now - ended < 12, "two calls of five seconds"

    fast = interpret(LONG, lambda booth: booth.speak(COUNT))
    slow = interpret(LONG, script, llm={"first_token_s": 5.0})
    assert " ".join(slow.llm.sources) == LONG
    assert slow.translation == of_sources(slow)
    assert len(slow.llm.sources) < len(fast.llm.sources)
    assert len(fast.llm.sources) * 5 > COUNT * 0.3 + 12, "without merging it would take longer"


def test_a_failed_clause_is_reported_and_the_next_ones_are_translated() -> None:
    booth = interpret(LONG, lambda booth: booth.speak(COUNT), llm={"fails_on": "moon", "error": EngineError("lost")})
    assert [(event.code, event.message) for event in booth.of(events.Failed)] == [("llm_unavailable", "lost")]
    assert "moon" not in booth.translation
    assert booth.translation.endswith("to me.)")


def test_a_model_that_does_not_answer_delays_the_others_by_a_deadline() -> None:
    booth = interpret(LONG, lambda booth: booth.speak(COUNT), llm={"stalls_on": "moon"})
    assert [event.code for event in booth.of(events.Failed)] == ["timeout"]
    assert booth.translation.endswith("to me.)")
    failed = next(at for at, event in booth.log if isinstance(event, events.Failed))
    assert TIMEOUT_S < failed < TIMEOUT_S + COUNT * 0.3


@pytest.mark.parametrize(
    ("pause_ms", "translation"), [(1000, "Spanish(one two three four five six)"), (3000, "Spanish(four five six)")]
)
def test_a_failed_recogniser_is_reported(pause_ms: int, translation: str) -> None:
    """After a short pause the next transcript contains the words."""

    async def script(booth: Booth) -> None:
        booth.stt.error = EngineError("broken")
        await booth.speak(3)
        await booth.silence(pause_ms)
        booth.stt.error = None
        await booth.speak(3)
        await booth.silence(1000)

    booth = interpret("one two three four five six", script)
    assert [event.code for event in booth.of(events.Failed)] == ["stt_failed"]
    assert booth.translation == translation


def test_words_after_a_pause_are_heard_with_those_before_it() -> None:
    """A recogniser that drops short stretches of speech needs the context."""

    async def script(booth: Booth) -> None:
        for _ in range(8):
            await booth.speak(4)
            await booth.silence(700)

    words = " ".join(LONG.split()[:32])
    booth = interpret(words, script)
    assert booth.source == words
    assert " ".join(booth.llm.sources) == words
    assert max(booth.stt.heard_s) > 5
    assert max(booth.stt.heard_s) < 12, "a long stretch ends at the next pause"


def test_a_failed_voice_leaves_the_text() -> None:
    tts = ScriptedTTS(error=EngineError("hoarse"), fail_on="moon")
    booth = interpret(LONG, lambda booth: booth.speak(COUNT), tts=tts)
    assert {event.code for event in booth.of(events.Failed)} == {"tts_failed"}
    assert booth.translation == of_sources(booth)
    assert "listening" in booth.tts.spoken[-1]


def test_a_voice_that_cannot_keep_up_skips_parts_and_delays_no_text() -> None:
    async def script(booth: Booth) -> None:
        ended = await booth.speak(COUNT)
        await booth.silence(600)
        await booth.until(lambda: booth.translation.endswith("to me.)"))
        assert booth.now - ended < LATE_S + 2

    booth = interpret(LONG, script, tts=ScriptedTTS(rtf=3.0))
    assert booth.translation == of_sources(booth)
    assert {event.code for event in booth.of(events.Failed)} == {"overloaded"}
    whole = interpret(LONG, lambda booth: booth.speak(COUNT))
    assert 3 < booth.sound_s < whole.sound_s * 0.8
    texts = {event.until_ms: at for at, event in booth.log if isinstance(event, events.TranslationDelta)}
    lags = [at - texts[event.until_ms] for at, event in booth.log if isinstance(event, events.SpeechDelta)]
    assert max(lags) < LATE_S + 12, "a part that is late is not begun; the longest takes 12 s here"


def test_speech_in_the_target_language_passes_without_the_model() -> None:
    booth = interpret("It rains today", lambda booth: booth.speak(3), language="en")
    assert booth.translation == "It rains today"
    assert booth.tts.spoken == ["It rains today"]
    assert not booth.llm.asked
    unsure = interpret("It rains today", lambda booth: booth.speak(3), language="en", stt={"probability": 0.5})
    assert unsure.translation == "English(It rains today)"


def test_nothing_runs_after_a_cancel_in_the_middle_of_a_clause() -> None:
    async def script(booth: Booth) -> None:
        await booth.speak(9)
        await booth.until(lambda: "llm" in booth.running.now)

    booth = interpret(LONG, script, finish=False, llm={"first_token_s": 1.0})
    assert not booth.translation


def test_the_client_waits_when_the_events_are_not_read() -> None:
    """All queues are bounded: at last the sound does not get in."""

    async def script(booth: Booth) -> None:
        booth.reads.clear()
        speaking = asyncio.create_task(booth.speak(COUNT))
        await asyncio.sleep(COUNT * 0.3 + 5)
        assert not speaking.done()
        assert booth.running.calls.count("llm") <= 1
        booth.reads.set()
        await speaking

    booth = interpret(LONG, script)
    assert booth.source == LONG
    assert booth.translation == of_sources(booth)


def test_a_recording_can_be_sent_faster_than_real_time() -> None:
    async def script(booth: Booth) -> None:
        async def at_once(ms: int, level: float) -> None:
            await booth.interpreter.hear(tone(16 * ms, level))

        booth._feed = at_once  # type: ignore[method-assign]
        await booth.speak(COUNT)

    booth = interpret(LONG, script)
    assert booth.source == LONG
    assert booth.translation == of_sources(booth)


@pytest.mark.parametrize("language", ["es", "ja"])
def test_chunks_join_without_extra_spaces(language: str) -> None:
    booth = interpret(LONG, lambda booth: booth.speak(COUNT), language=language)
    assert "  " not in booth.translation
    assert booth.translation == booth.translation.strip()
    assert "\n" not in booth.translation
    assert booth.sound_s > 10

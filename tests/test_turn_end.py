"""The end of a turn by its sound: the rules on scripted estimates and virtual time, and Smart Turn itself."""

import pytest

from pipeline.conversation import events
from pipeline.conversation.reply_options import ReplyOptions
from tests.dialogue import Dialogue, hold
from tests.scripted import ScriptedSTT, ScriptedTurnEnd

NEUTRAL, COMPLETE, OPEN, NUMBER = "turn on the light", "What time is it?", "turn on the light and", "My number is 555."


def waited(text: str, turn_end: ScriptedTurnEnd | None, *, answers: bool = True, stt_s: float = 0.08) -> float:
    """Return the silence that ends a turn, in seconds."""
    spoke_until = 0.0

    async def script(d: Dialogue) -> None:
        nonlocal spoke_until
        d.session.reply_options = ReplyOptions(answers=answers)
        spoke_until = await d.speak(1000)
        await d.until(events.UserSpeechStopped)

    d = hold(script, stt=ScriptedSTT(text, seconds=stt_s), turn_end=turn_end)
    return next(at for at, event in d.log if isinstance(event, events.UserSpeechStopped)) - spoke_until


def test_each_pause_is_judged_once() -> None:
    hears = ScriptedTurnEnd((0.1,))

    async def script(d: Dialogue) -> None:
        await d.speak(1000)
        await d.silence(180)
        assert hears.asked == []
        await d.silence(700)
        assert len(hears.asked) == 1
        await d.speak(600)
        await d.silence(280)
        assert len(hears.asked) == 2

    hold(script, stt=ScriptedSTT(OPEN), turn_end=hears)
    first, second = hears.asked
    assert second > first + 16_000  # the whole utterance, not only the words since the pause


@pytest.mark.parametrize(
    ("text", "finished", "wait_s"),
    [
        (NEUTRAL, 0.9, 0.44),
        (NEUTRAL, 0.4, 1.2),
        (COMPLETE, 0.9, 0.44),
        (COMPLETE, 0.4, 1.2),  # a sentence, but spoken like the first half of one
        (OPEN, 0.9, 1.2),
        (NUMBER, 0.9, 1.2),
        ("My name is Smith, S-M-I.", 0.99, 1.2),
        ("I live at 221B Baker Street.", 0.99, 1.2),
        (NEUTRAL, None, 0.5),  # no estimate: the words decide alone
        (COMPLETE, None, 0.3),
    ],
)
@pytest.mark.parametrize("answers", [True, False])
def test_sound_decides_unless_the_words_need_more(
    text: str, finished: float | None, wait_s: float, answers: bool
) -> None:
    allowed = 0.05 if answers else 0.12  # utterances that get no reply are transcribed only after 300 ms
    assert waited(text, ScriptedTurnEnd((finished,)), answers=answers) == pytest.approx(wait_s, abs=allowed)


def test_without_a_model_the_words_decide_alone() -> None:
    assert waited(COMPLETE, None) == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    ("text", "recogniser_s", "wait_s"),
    [(NUMBER, 0.6, 1.2), (COMPLETE, 0.6, 0.72), (COMPLETE, 5.0, 1.2), (NEUTRAL, 0.2, 0.44)],
)
def test_finished_sound_still_waits_for_the_words(text: str, recogniser_s: float, wait_s: float) -> None:
    assert waited(text, ScriptedTurnEnd((0.99,)), stt_s=recogniser_s) == pytest.approx(wait_s, abs=0.05)


def test_estimate_in_progress_delays_the_endpoint_a_little() -> None:
    assert waited(COMPLETE, ScriptedTurnEnd((0.1,), seconds=0.2)) == pytest.approx(1.2, abs=0.05)
    assert waited(COMPLETE, ScriptedTurnEnd((0.1,), seconds=5.0)) == pytest.approx(0.44, abs=0.05)


def test_fixed_endpointing_and_push_to_talk_judge_nothing() -> None:
    async def script(d: Dialogue) -> None:
        if not d.session.options.turn_detection:
            d.session.begin()
        await d.speak(1000)
        await d.silence(1500)

    hears = ScriptedTurnEnd()
    hold(script, turn_end=hears, adaptive_endpointing=False)
    hold(script, turn_end=hears, turn_detection=False)
    assert hears.asked == []


def test_late_estimate_is_not_used_for_the_next_pause() -> None:
    hears = ScriptedTurnEnd((0.1, None), seconds=0.25)

    async def script(d: Dialogue) -> None:
        await d.speak(1000)
        await d.silence(280)
        ended = await d.speak(400)
        assert await d.until(events.UserSpeechStopped) - ended == pytest.approx(0.5, abs=0.05)

    hold(script, stt=ScriptedSTT(NEUTRAL), turn_end=hears)
    assert len(hears.asked) == 2

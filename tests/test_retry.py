"""Another reply to the last question, and a conversation that continues an earlier one, on virtual time."""

import numpy as np
import pytest

from pipeline.audio.clip import Clip
from pipeline.conversation import events
from pipeline.conversation.history import Conversation
from pipeline.errors import BadInput
from pipeline.llm import Message, ToolCall
from tests.dialogue import RATE_HZ, Dialogue, hold
from tests.scripted import ScriptedLLM, ScriptedSTT

HEARD = "what does the heron do"
REPLY = ScriptedLLM().reply_text
EARLIER = [Message("user", "My name is Ana."), Message("assistant", "Nice to meet you, Ana.")]


def asked(llm: ScriptedLLM) -> list[tuple[str, str]]:
    """The messages of the last request, without the system prompt."""
    assert llm.asked[-1][0].content == "sys"
    return [(message.role, message.content) for message in llm.asked[-1][1:]]


def test_a_retry_replaces_the_reply_in_the_history() -> None:
    llm = ScriptedLLM()

    async def script(d: Dialogue) -> None:
        await d.speak(1000)
        await d.until(events.TurnCompleted)
        llm.reply_text = "It fishes."
        d.session.retry()
        await d.until(events.TurnCompleted, count=2)

    d = hold(script, llm=llm)
    assert d.history == [("user", HEARD), ("assistant", "It fishes.")]
    assert asked(llm) == [("user", HEARD)]
    assert d.kinds[-6:] == [
        "TurnStarted", "TranscriptFinal", "ReplyDelta", "SpeechStarted", "SpeechChunk", "TurnCompleted",
    ]  # fmt: skip
    assert [final.language for final in d.of(events.TranscriptFinal)] == ["en", "en"]


def test_a_retry_with_other_words_replaces_the_question() -> None:
    llm = ScriptedLLM()

    async def script(d: Dialogue) -> None:
        d.session.say("one")
        await d.until(events.TurnCompleted)
        d.session.say("two")
        await d.until(events.TurnCompleted, count=2)
        d.session.retry("three")
        await d.until(events.TurnCompleted, count=3)

    d = hold(script, llm=llm)
    assert d.history == [("user", "one"), ("assistant", REPLY), ("user", "three"), ("assistant", REPLY)]
    assert asked(llm) == [("user", "one"), ("assistant", REPLY), ("user", "three")]


def test_a_retry_during_the_reply_interrupts_it_and_keeps_nothing_of_it() -> None:
    async def script(d: Dialogue) -> None:
        d.session.say("tell me")
        await d.until(events.SpeechChunk, count=20)
        d.session.retry()
        await d.until(events.TurnCompleted)
        d.session.played(400)  # a late report, after the end: the reply was heard whole

    d = hold(script)
    assert d.history == [("user", "tell me"), ("assistant", REPLY)]
    assert len(d.of(events.TurnInterrupted)) == 1
    assert d.of(events.TurnInterrupted)[0].heard_text


def test_an_interrupted_retry_keeps_what_was_heard_of_the_new_reply() -> None:
    async def script(d: Dialogue) -> None:
        d.session.say("tell me")
        await d.until(events.TurnCompleted)
        d.session.retry()
        await d.until(events.SpeechChunk, count=150)
        d.session.interrupt()
        await d.until(events.TurnInterrupted)

    d = hold(script)
    heard = d.of(events.TurnInterrupted)[0].heard_text
    assert d.history == [("user", "tell me"), ("assistant", f"{heard} …")]
    assert REPLY.startswith(heard)


def test_a_retry_before_the_first_question_is_refused() -> None:
    async def script(d: Dialogue) -> None:
        with pytest.raises(BadInput, match="There is no question to retry") as refused:
            d.session.retry("words")
        assert refused.value.code == "nothing_to_retry"
        await d.speak(1000)
        await d.until(events.TurnCompleted)

    assert hold(script).history == [("user", HEARD), ("assistant", REPLY)]


def test_a_retry_before_the_question_is_transcribed_is_refused() -> None:
    stt = ScriptedSTT("the new question")

    async def script(d: Dialogue) -> None:
        d.session.say("the old question")
        await d.until(events.TurnCompleted)
        stt.seconds = 3.0
        await d.speak(1000)
        await d.until(events.UserSpeechStopped)
        for words in (None, "other words"):
            with pytest.raises(BadInput, match="not transcribed yet") as refused:
                d.session.retry(words)
            assert refused.value.code == "nothing_to_retry"
        await d.until(events.TurnCompleted, count=2)
        d.session.ask(Clip(np.full(8_000, 0.3, np.float32), RATE_HZ))  # a whole recording
        with pytest.raises(BadInput, match="not transcribed yet"):
            d.session.retry()
        await d.until(events.TurnCompleted, count=3)
        d.session.retry()
        await d.until(events.TurnCompleted, count=4)

    d = hold(script, stt=stt)
    old = [("user", "the old question"), ("assistant", REPLY)]
    assert d.history == [*old, *[("user", "the new question"), ("assistant", REPLY)] * 2]
    assert d.of(events.TurnInterrupted) == []


def test_a_refused_retry_does_not_stop_what_the_assistant_says() -> None:
    async def script(d: Dialogue) -> None:
        await d.until(events.SpeechChunk)  # it asks whether the user is there
        with pytest.raises(BadInput, match="There is no question to retry"):
            d.session.retry()
        await d.until(events.TurnCompleted)

    assert hold(script, idle_prompt_s=1.0).of(events.TurnInterrupted) == []


def test_a_typed_message_can_be_retried_at_once() -> None:
    async def script(d: Dialogue) -> None:
        d.session.say("one")
        d.session.retry("two")
        await d.until(events.TurnCompleted)

    assert hold(script).history == [("user", "two"), ("assistant", REPLY)]


def test_a_retry_while_the_user_speaks_drops_the_utterance() -> None:
    async def script(d: Dialogue) -> None:
        d.session.say("one")
        await d.until(events.TurnCompleted)
        await d.speak(500)
        d.session.retry()
        await d.until(events.TurnCompleted, count=2)

    d = hold(script)
    assert d.history == [("user", "one"), ("assistant", REPLY)]
    assert [ignored.reason for ignored in d.of(events.UtteranceIgnored)] == ["cleared"]


def test_the_calls_of_a_retried_turn_leave_the_history_too() -> None:
    conversation = Conversation("sys", budget_tokens=4000)
    call = ToolCall("c1", "get_time", "{}")
    conversation.record("hello", "en", "Hello.")
    steps = [(Message("assistant", "", calls=(call,)), Message("tool", "noon", call_id="c1"))]
    conversation.record("what time is it", "en", "It is noon.", steps=steps)
    assert conversation.retract() == Message("user", "what time is it", "en")
    assert [message.content for message in conversation.messages] == ["hello", "Hello."]
    conversation.retract()
    assert conversation.size == 0
    with pytest.raises(BadInput):
        conversation.retract()


def test_an_earlier_conversation_comes_before_the_first_turn() -> None:
    llm = ScriptedLLM()

    async def script(d: Dialogue) -> None:
        d.session.begin_with(EARLIER)
        d.session.say("What is my name?")
        await d.until(events.TurnCompleted)
        with pytest.raises(BadInput, match="has already begun") as refused:
            d.session.begin_with(EARLIER)
        assert refused.value.code == "conversation_begun"

    d = hold(script, llm=llm)
    earlier = [(message.role, message.content) for message in EARLIER]
    assert asked(llm) == [*earlier, ("user", "What is my name?")]
    assert d.history == [*earlier, ("user", "What is my name?"), ("assistant", REPLY)]


def test_an_earlier_question_can_be_retried() -> None:
    async def script(d: Dialogue) -> None:
        d.session.begin_with(EARLIER)
        d.session.retry("My name is Bea.")
        await d.until(events.TurnCompleted)

    assert hold(script).history == [("user", "My name is Bea."), ("assistant", REPLY)]


def test_a_long_earlier_conversation_is_cut_to_the_budget() -> None:
    conversation = Conversation("sys", budget_tokens=300)
    conversation.begin_with([Message("assistant" if n % 2 else "user", f"{n} " + "word " * 50) for n in range(200)])
    assert conversation.size < 12
    prompt = conversation.prompt("and now", "en")
    assert prompt[0].role == "system"
    assert [message.role for message in prompt[1:3]] == ["user", "assistant"]
    assert prompt[-2].content.startswith("199 ")

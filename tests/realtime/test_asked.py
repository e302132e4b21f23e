"""What a client asks of its session and of a response: it gets it, or is told that it does not."""

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest

from pipeline.audio import Clip
from pipeline.stt import Transcript, Word
from tests.realtime.desk import Desk, hold
from tests.realtime.test_items import MANUAL, WEATHER, create, message
from tests.scripted import ScriptedLLM, ScriptedSTT
from tests.test_tools import CallingLLM

LOGPROBS = ["item.input_audio_transcription.logprobs"]
COMPLETED = "conversation.item.input_audio_transcription.completed"
WRITTEN_DOWN: dict[str, Any] = {
    "audio": {"input": {"turn_detection": {"type": "server_vad", "create_response": False}}}
}


@dataclass
class Doubtful(ScriptedSTT):
    """Tells of each word how sure it is, when it is asked."""

    probability: float = 0.5

    async def transcribe(self, clip: Clip, *, language: str | None, prompt: str | None, words: bool) -> Transcript:
        heard = await super().transcribe(clip, language=language, prompt=prompt, words=words)
        told = [Word(word, 0.0, 0.1, self.probability) for word in heard.text.split()]
        return replace(heard, words=told if words else ())


@pytest.mark.parametrize("session", [{}, MANUAL, WRITTEN_DOWN], ids=["spoken", "manual", "written"])
def test_how_sure_the_recogniser_was_is_told_to_who_wants_to_know(session: dict[str, Any]) -> None:
    async def script(d: Desk) -> None:
        assert (await d.update(**session))["include"] is None
        await d.speak(600)
        if session is MANUAL:
            d.send("input_audio_buffer.commit")
        else:
            await d.silence(600)
        await d.until(COMPLETED, count=1)
        if not session:
            await d.until("response.done", count=1)
        assert (await d.update(include=LOGPROBS))["include"] == LOGPROBS
        await d.speak(600)
        if session is MANUAL:
            d.send("input_audio_buffer.commit")
        else:
            await d.silence(600)
        await d.until(COMPLETED, count=2)

    before, after = hold(script, stt=Doubtful("doctor two")).of(COMPLETED)
    assert "logprobs" not in before
    half = round(math.log(0.5), 4)
    assert after["logprobs"] == [
        {"token": "doctor", "bytes": list(b"doctor"), "logprob": half},
        {"token": "two", "bytes": list(b"two"), "logprob": half},
    ]


def test_a_recogniser_that_does_not_know_how_sure_it_is_says_nothing_of_it() -> None:
    async def script(d: Desk) -> None:
        await d.update(include=LOGPROBS)
        await d.speak(600)
        await d.silence(600)
        await d.until("response.done")

    assert "logprobs" not in hold(script, stt=Doubtful(probability=1.0)).of(COMPLETED)[0]


def test_what_there_is_not_is_null_in_the_answer() -> None:
    async def script(d: Desk) -> None:
        told = await d.update(tracing="auto", audio={"input": {"noise_reduction": {"type": "near_field"}}})
        assert told["tracing"] is None
        assert told["audio"]["input"]["noise_reduction"] is None

    hold(script)


def test_a_function_that_is_not_there_cannot_be_chosen() -> None:
    llm = CallingLLM()
    tides = {"type": "function", "name": "tides"}

    async def script(d: Desk) -> None:
        error = await d.error(d.send("session.update", session={"type": "realtime", "tool_choice": tides}))
        assert (error["code"], error["param"]) == ("invalid_value", "session.tool_choice")
        await d.update(tools=[WEATHER, {**WEATHER, "name": "tides"}], tool_choice=tides)
        error = await d.error(d.send("session.update", session={"type": "realtime", "tools": [WEATHER]}))
        assert (error["code"], error["param"]) == ("invalid_value", "session.tool_choice")
        await create(d, message("user", "hello"))
        error = await d.error(d.send("response.create", response={"tool_choice": {**tides, "name": "winds"}}))
        assert (error["code"], error["param"]) == ("invalid_value", "response.tool_choice")
        d.send("response.create", response={"tools": [WEATHER]})  # the session's choice is not among them
        await d.until("response.done", count=1)

    hold(script, llm=llm)
    assert [[tool.name for tool in tools] for tools in llm.offered] == [["weather"]]


# --- a response that is asked for while the user speaks ---


@pytest.mark.parametrize("session", [{}, WRITTEN_DOWN], ids=["answers", "written"])
@pytest.mark.parametrize("moment", ["speaking", "pausing"])
def test_nobody_is_cut_short_by_a_response_with_instructions(session: dict[str, Any], moment: str) -> None:
    """It is the one to what is being said, in the way that it was asked for; the next one is as always."""

    async def script(d: Desk) -> None:
        await d.update(instructions="be brief", **session)
        await d.speak(600)
        if moment == "pausing":
            await d.silence(300)  # an answer is prepared
        d.send("response.create", response={"instructions": "be rude", "metadata": {"topic": "manners"}})
        if moment == "speaking":
            await d.speak(600)
        await d.silence(600)
        await d.until("response.done", count=1)
        assert d.told == [("system", "be rude"), ("user", "what does the heron do")]
        if not session:
            await d.speak(600)
            await d.silence(600)
            await d.until("response.done", count=2)
            assert d.told[0] == ("system", "be brief")

    d = hold(script)
    assert d.of("error") == []
    assert len(d.of("input_audio_buffer.committed")) == (1 if session else 2)
    metadata = [event["response"]["metadata"] for event in d.of("response.created")]
    assert metadata == [{"topic": "manners"}, None][: 1 if session else 2]


def test_a_second_one_is_one_too_many() -> None:
    async def script(d: Desk) -> None:
        await d.speak(600)
        d.send("response.create")
        d.send("response.create", response={"instructions": "be rude"})
        error = await d.error(d.send("response.create", response={"instructions": "be kind"}))
        assert error["code"] == "conversation_already_has_active_response"
        await d.silence(600)
        await d.until("response.done", count=1)
        await d.silence(2000)

    d = hold(script)
    assert d.told[0] == ("system", "be rude")
    assert len(d.of("response.created")) == 1


def test_one_with_its_own_input_comes_after_what_is_being_said() -> None:
    async def script(d: Desk) -> None:
        await d.speak(600)
        d.send("response.create", response={"input": [message("user", "name a bird")]})
        await d.speak(300)
        await d.silence(600)
        await d.until("response.done", count=2)

    d = hold(script, llm=ScriptedLLM("A heron."))
    asked = [messages[-1].content for messages in d.stages.llm.asked]  # type: ignore[attr-defined]
    assert asked == ["what does the heron do", "name a bird"]
    assert len(d.of("input_audio_buffer.committed")) == 1


@pytest.mark.parametrize("how", ["nothing", "cleared", "committed"])
def test_it_is_given_when_what_was_said_came_to_nothing(how: str) -> None:
    async def script(d: Desk) -> None:
        await create(d, message("user", "hello"))
        await d.speak(600)
        d.send("response.create", response={"instructions": "be rude"})
        match how:
            case "cleared":
                d.send("input_audio_buffer.clear")
            case "committed":
                d.send("input_audio_buffer.commit")
            case _:
                await d.silence(600)
        await d.until("response.done", count=1)

    d = hold(script, stt=ScriptedSTT("" if how == "nothing" else "and more"))
    expected = [("system", "be rude"), ("user", "hello")]
    assert d.told == [*expected, *([("user", "and more")] if how == "committed" else [])]
    assert d.of("error") == []


def test_a_commit_during_a_response_leaves_it_as_it_is() -> None:
    async def script(d: Desk) -> None:
        await d.update(**MANUAL)
        await create(d, message("user", "hello"))
        d.send("response.create")
        await d.until("response.output_audio.delta")
        d.append(500)
        d.send("input_audio_buffer.commit")
        await d.until("response.done", count=1)
        d.send("response.create")
        await d.until("response.done", count=2)

    d = hold(script, llm=ScriptedLLM("A heron."))
    assert [event["response"]["status"] for event in d.of("response.done")] == ["completed", "completed"]
    assert d.of("error") == []
    assert d.told[-1] == ("user", "what does the heron do")

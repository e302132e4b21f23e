"""Options that a client requests for its session or a response: each is applied or refused."""

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest

from pipeline.audio.clip import Clip
from pipeline.listening import noise
from pipeline.settings import Settings
from pipeline.stt import Hinted, Spoken, Transcript, Word
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
    """Reports a confidence for each word on request."""

    probability: float = 0.5

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool) -> Transcript:
        heard = await super().transcribe(clip, language=language, prompt=prompt, words=words)
        told = [Word(word, 0.0, 0.1, self.probability) for word in heard.text.split()]
        return replace(heard, words=told if words else ())


@pytest.mark.parametrize("session", [{}, MANUAL, WRITTEN_DOWN], ids=["spoken", "manual", "written"])
def test_word_confidences_are_sent_to_clients_that_include_them(session: dict[str, Any]) -> None:
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


def test_a_recogniser_without_confidences_sends_none() -> None:
    async def script(d: Desk) -> None:
        await d.update(include=LOGPROBS)
        await d.speak(600)
        await d.silence(600)
        await d.until("response.done")

    assert "logprobs" not in hold(script, stt=Doubtful(probability=1.0)).of(COMPLETED)[0]


def test_unsupported_options_are_null_in_the_session() -> None:
    async def script(d: Desk) -> None:
        told = await d.update(tracing="auto")
        assert told["tracing"] is None

    hold(script)


@pytest.mark.skipif(not noise.available(), reason="the extra noise is not installed")
def test_noise_reduction_keeps_its_strength_until_it_is_changed() -> None:
    async def script(d: Desk) -> None:
        for wanted, strength in (({}, 1.0), ({"strength": 0.25}, 0.25), ({"type": "near_field"}, 0.25)):
            reduction = {"type": "far_field", **wanted}
            told = await d.update(audio={"input": {"noise_reduction": reduction}})
            assert told["audio"]["input"]["noise_reduction"] == {**reduction, "strength": strength}
        told = await d.update(audio={"input": {"noise_reduction": None}})
        assert told["audio"]["input"]["noise_reduction"] is None
        told = await d.update(audio={"input": {"noise_reduction": {"type": "near_field"}}})
        assert told["audio"]["input"]["noise_reduction"] == {"type": "near_field", "strength": 1.0}
        await d.speak(600)
        await d.silence(600)
        await d.until("response.done")

    hold(script)


@pytest.mark.parametrize("strength", [2, -0.1, "high"])
def test_noise_reduction_of_an_impossible_strength_is_refused(
    strength: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise, "available", lambda: True)
    reduction = {"type": "near_field", "strength": strength}

    async def script(d: Desk) -> None:
        session = {"type": "realtime", "audio": {"input": {"noise_reduction": reduction}}}
        error = await d.error(d.send("session.update", session=session))
        assert error["param"] == "session.audio.input.noise_reduction.strength"

    hold(script)


def test_noise_reduction_without_the_library_is_null_in_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "available", lambda: False)

    async def script(d: Desk) -> None:
        told = await d.update(audio={"input": {"noise_reduction": {"type": "near_field"}}})
        assert told["audio"]["input"]["noise_reduction"] is None

    hold(script)


def test_an_unknown_function_cannot_be_chosen() -> None:
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


# --- a response that is requested while the user speaks ---


@pytest.mark.parametrize("session", [{}, WRITTEN_DOWN], ids=["replies", "written"])
@pytest.mark.parametrize("moment", ["speaking", "pausing"])
def test_a_response_request_during_speech_waits_for_the_user(session: dict[str, Any], moment: str) -> None:
    """The requested response answers the current utterance, with the request's options. Later responses use the
    session's.
    """

    async def script(d: Desk) -> None:
        await d.update(instructions="be brief", **session)
        await d.speak(600)
        if moment == "pausing":
            await d.silence(300)  # a speculative reply is prepared
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


def test_the_clients_own_instructions_reach_the_model_as_they_are() -> None:
    """The deployment's come with the date."""

    async def script(d: Desk) -> None:
        for number, instructions in enumerate((None, "be brief", ""), start=1):
            if instructions is not None:
                await d.update(instructions=instructions)
            d.send("response.create")
            await d.until("response.done", count=number)
        told = [(asked[0].content, asked[0].clock is not None) for asked in d.stages.llm.asked]  # type: ignore[attr-defined]
        assert told == [(Settings().system_prompt, True), ("be brief", False), ("", False)]

    hold(script)


def test_a_second_request_with_options_is_refused() -> None:
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


def test_a_request_with_its_own_input_follows_the_current_turn() -> None:
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


def test_a_waiting_request_is_dropped_when_the_client_disconnects() -> None:
    async def script(d: Desk) -> None:
        await d.speak(600)
        d.send("response.create", response={"input": [message("user", "name a bird")]})
        await d.silence(600)
        await d.until("response.output_audio.delta")

    d = hold(script)
    assert len(d.stages.llm.asked) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["nothing", "cleared", "committed"])
def test_a_requested_response_is_sent_when_the_speech_has_no_words(how: str) -> None:
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


def test_a_commit_does_not_change_the_running_response() -> None:
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

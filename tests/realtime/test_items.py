"""Items, responses and sessions of Realtime: client requests, and the messages that the language model receives."""

import asyncio
import base64
from typing import Any

import numpy as np
import pytest

from pipeline.llm import ToolCall
from pipeline.tools import Function, Toolbox, function_of
from server.realtime import requests
from server.realtime import session as realtime_session
from tests.realtime.desk import Desk, hold
from tests.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS
from tests.test_tools import CallingLLM

MANUAL: dict[str, Any] = {"audio": {"input": {"turn_detection": None}}}
WEATHER = {
    "type": "function", "name": "weather", "description": "The weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}  # fmt: skip
LONG = " ".join(f"This is sentence number {n} of a long reply." for n in ("one", "two", "three", "four", "five"))


def message(role: str, text: str, **fields: Any) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}], **fields}


async def create(d: Desk, item: dict[str, Any], **fields: Any) -> str:
    """Create an item; return its id."""
    d.send("conversation.item.create", item=item, **fields)
    event = await d.until("conversation.item.done")
    assert event["item"] == d.of("conversation.item.added")[-1]["item"]
    return str(event["item"]["id"])


# --- items ---


def test_items_keep_the_order_that_the_client_chooses() -> None:
    async def script(d: Desk) -> None:
        await d.update(instructions="be brief")
        one = await create(d, message("user", "one", id="one"))
        assert one == "one"
        await create(d, message("assistant", "three"))
        await create(d, message("user", "two"), previous_item_id="one")
        await create(d, message("system", "zero"), previous_item_id="root")
        assert [event["previous_item_id"] for event in d.of("conversation.item.added")] == [None, "one", "one", None]
        d.send("response.create")
        await d.until("response.done")

    d = hold(script)
    assert d.told == [
        ("system", "be brief"), ("system", "zero"), ("user", "one"), ("user", "two"), ("assistant", "three"),
    ]  # fmt: skip
    assert d.of("conversation.item.added")[-1]["previous_item_id"] is not None


def test_deleted_items_are_forgotten() -> None:
    async def script(d: Desk) -> None:
        await create(d, message("user", "remember nothing", id="one"))
        await create(d, message("user", "hello"))
        d.send("conversation.item.delete", item_id="one")
        assert (await d.until("conversation.item.deleted"))["item_id"] == "one"
        for kind, code in (("delete", "item_delete_invalid_item_id"), ("retrieve", "item_retrieve_invalid_item_id")):
            assert (await d.error(d.send(f"conversation.item.{kind}", item_id="one")))["code"] == code
        d.send("response.create")
        await d.until("response.done")

    assert ("user", "remember nothing") not in hold(script).told


def test_an_invalid_item_is_refused_and_nothing_changes() -> None:
    async def script(d: Desk) -> None:
        await create(d, message("user", "hello", id="one"))
        image = {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}
        sound = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "no base64!"}]}
        for item, fields, code in [
            (message("user", "again", id="one"), {}, "item_create_invalid_item_id"),
            (
                message("user", "x"),
                {"previous_item_id": "absent"},
                "item_create_invalid_previous_item_id",
            ),
            (image, {}, "unsupported_content_type"),
            (sound, {}, "invalid_value"),
            (
                {"type": "function_call_output", "call_id": "absent", "output": "x"},
                {},
                "invalid_tool_call_id",
            ),
            ({"type": "mcp_list_tools", "server_label": "x", "tools": []}, {}, "invalid_value"),
            ({"type": "message", "role": "user"}, {}, "missing_required_parameter"),
            ({"type": "message", "role": "pope", "content": []}, {}, "invalid_value"),
            ({"type": "nothing"}, {}, "invalid_value"),
            ("text", {}, "invalid_type"),
            (message("user", "x" * 200_000), {}, "string_above_max_length"),
        ]:
            error = await d.error(d.send("conversation.item.create", item=item, **fields))
            assert error["code"] == code, (item, error)
        d.send("response.create")
        await d.until("response.done")

    assert hold(script).told[1:] == [("user", "hello")]


def test_the_item_id_of_current_speech_cannot_be_reused() -> None:
    async def script(d: Desk) -> None:
        await d.speak(600)
        coming = d.of("input_audio_buffer.speech_started")[0]["item_id"]
        told = await d.error(d.send("conversation.item.create", item=message("user", "mine", id=coming)))
        assert (told["code"], told["param"]) == ("item_create_invalid_item_id", "item.id")
        await d.silence(600)
        await d.until("response.done", count=1)
        assert await d.words(coming) == "what does the heron do"

    assert len(hold(script).of("error")) == 1


def test_a_long_history_can_be_sent_at_once() -> None:
    async def script(d: Desk) -> None:
        for _ in range(800):
            d.send("conversation.item.create", item=message("user", "hello"))
        await d.until("conversation.item.done", count=800)

    assert hold(script).closed is None


def test_sound_in_an_item_is_transcribed() -> None:
    async def script(d: Desk) -> None:
        pcm = np.full(24_000, 8000, "<i2").tobytes()
        part = {"type": "input_audio", "audio": base64.b64encode(pcm).decode()}
        item = await create(d, {"type": "message", "role": "user", "content": [part]})
        d.send("response.create")
        completed = await d.until("conversation.item.input_audio_transcription.completed")
        assert completed["item_id"] == item
        assert completed["usage"] == {"type": "duration", "seconds": 1.0}
        await d.until("response.done")

    assert hold(script).told[1:] == [("user", "what does the heron do")]


# --- responses ---


def test_a_text_response_is_not_spoken() -> None:
    async def script(d: Desk) -> None:
        await d.update(output_modalities=["text"])
        await create(d, message("user", "hello"))
        d.send("response.create")
        await d.until("response.done")

    d = hold(script)
    assert "tts" not in d.running.calls
    kinds = d.kinds[d.kinds.index("response.created") :]
    assert kinds == [
        "response.created", "response.output_item.added", "conversation.item.added", "response.content_part.added",
        "response.output_text.delta", "response.output_text.done", "response.content_part.done",
        "response.output_item.done", "conversation.item.done", "response.done", "rate_limits.updated",
    ]  # fmt: skip
    assert d.of("response.output_text.done")[0]["text"] == ScriptedLLM().reply_text
    response = d.of("response.done")[0]["response"]
    assert response["output"][0]["content"] == [{"type": "output_text", "text": ScriptedLLM().reply_text}]
    assert response["output_modalities"] == ["text"]


def test_prompt_and_keywords_reach_the_recogniser() -> None:
    stt = ScriptedSTT()

    async def script(d: Desk) -> None:
        hints = {"prompt": "A talk.", "keywords": ["Parley", "Xanthippe"]}
        await d.update(audio={"input": {"transcription": {"model": "whisper-1", **hints}}})
        await d.speak(800)
        await d.until("response.done")

    hold(script, stt=stt)
    assert [(asked.prompt, asked.keywords) for asked in stt.requests] == [("A talk.", ("Parley", "Xanthippe"))]


def test_a_response_is_spoken_at_the_requested_speed() -> None:
    async def script(d: Desk) -> None:
        for count, speed in enumerate([1.0, 1.5], start=1):
            await d.update(audio={"output": {"speed": speed}})
            await create(d, message("user", "hello"))
            d.send("response.create")
            await d.until("response.done", count=count)

    d = hold(script)
    sizes = {done["response"]["id"]: 0 for done in d.of("response.done")}
    for delta in d.of("response.output_audio.delta"):
        sizes[delta["response_id"]] += len(delta["delta"])
    usual, faster = sizes.values()
    assert usual / faster == pytest.approx(1.5, rel=0.1)


def test_a_cancelled_text_response_keeps_the_sent_text() -> None:
    async def script(d: Desk) -> None:
        await create(d, message("user", "hello"))
        d.send("response.create", response={"output_modalities": ["text"]})
        await d.until("response.output_text.delta", count=4)
        d.send("response.cancel")
        item = (await d.until("response.done"))["response"]["output"][0]
        assert item["status"] == "incomplete"
        assert await d.words(item["id"]) == item["content"][0]["text"]
        assert item["content"][0]["text"].startswith("The heron stands quite")

    hold(script, llm=ScriptedLLM(tokens_per_s=5))


def test_a_response_can_have_its_own_options() -> None:
    async def script(d: Desk) -> None:
        await d.update(instructions="be brief", **MANUAL)
        await create(d, message("user", "hello"))
        asked = {"instructions": "be rude", "metadata": {"topic": "x"}, "max_output_tokens": 3}
        d.send("response.create", response=asked)
        response = (await d.until("response.done"))["response"]
        assert response["metadata"] == {"topic": "x"}
        assert response["status"] == "incomplete"
        assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
        assert response["output"][0]["content"][0]["transcript"] == "The heron stands"
        assert d.told[0] == ("system", "be rude")
        d.send("response.create")
        await d.until("response.done", count=2)

    d = hold(script)
    assert d.told[0] == ("system", "be brief")
    assert d.of("response.created")[0]["response"]["metadata"] == {"topic": "x"}
    assert d.of("response.created")[0]["response"]["status"] == "in_progress"


def test_an_out_of_band_response_leaves_no_trace() -> None:
    async def script(d: Desk) -> None:
        await create(d, message("user", "the secret is 42", id="secret"))
        items: list[Any] = [message("user", "classify this"), {"type": "item_reference", "id": "secret"}]
        asked = {"conversation": "none", "output_modalities": ["text"], "metadata": {"n": "1"}, "input": items}
        d.send("response.create", response=asked)
        response = (await d.until("response.done"))["response"]
        assert response["conversation_id"] is None
        assert response["metadata"] == {"n": "1"}
        assert d.told[1:] == [("user", "classify this"), ("user", "the secret is 42")]
        item = response["output"][0]["id"]
        assert (await d.error(d.send("conversation.item.retrieve", item_id=item)))["code"]
        d.send("response.create")
        await d.until("response.done", count=2)
        wrong = {"conversation": "none", "input": [{"type": "item_reference", "id": "absent"}]}
        assert (await d.error(d.send("response.create", response=wrong)))["code"] == "invalid_value"

    d = hold(script)
    assert d.told[1:] == [("user", "the secret is 42")]
    assert d.kinds.count("conversation.item.added") == 2  # the user's message and the second response's


def test_the_input_of_a_response_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_INPUT_CHARS", 500)

    async def script(d: Desk) -> None:
        await create(d, message("user", "hello", id="one"))

        def response(*items: dict[str, Any]) -> dict[str, Any]:
            return {"conversation": "none", "input": [*items]}

        one = {"type": "item_reference", "id": "one"}
        twice = await d.error(d.send("response.create", response=response(one, message("user", "hi"), one)))
        assert (twice["code"], twice["param"]) == ("invalid_value", "response.input[2]")
        parts = [message("user", "a" * 90) for _ in range(6)]
        long = await d.error(d.send("response.create", response=response(*parts)))
        assert (long["code"], long["param"]) == ("string_above_max_length", "response.input")
        d.send("response.create", response=response(one, *parts[:5]))
        assert (await d.until("response.done"))["response"]["status"] == "completed"

    hold(script)


def test_out_of_band_responses_run_beside_the_conversation() -> None:
    async def script(d: Desk) -> None:
        await create(d, message("user", "hello"))
        d.send("response.create")
        await d.until("response.output_audio.delta")
        for n in range(5):
            d.send("response.create", response={"conversation": "none", "input": [], "metadata": {"n": str(n)}})
        await d.until("response.done", count=5)

    d = hold(script, llm=ScriptedLLM(LONG))
    assert d.of("error")[0]["error"]["code"] == "conversation_already_has_active_response"
    done = [event["response"] for event in d.of("response.done")]
    assert sorted((response["metadata"] or {}).get("n", "") for response in done) == ["", "0", "1", "2", "3"]
    assert {response["status"] for response in done} == {"completed"}


def test_a_long_out_of_band_response_does_not_block_the_conversation() -> None:
    async def script(d: Desk) -> None:
        d.send("response.create", response={"conversation": "none", "input": [message("user", "tell me all")]})
        await d.until("response.created")
        d.reads.clear()
        await asyncio.sleep(30)
        d.send("input_audio_buffer.clear")
        await asyncio.sleep(1)
        d.reads.set()
        await d.until("response.done")
        assert len(d.log) > 1024

    d = hold(script, llm=ScriptedLLM(" ".join([LONG] * 20), tokens_per_s=10_000), tts=ScriptedTTS(rtf=0.01))
    assert d.closed is None
    assert d.of("input_audio_buffer.cleared")


def test_calls_of_out_of_band_responses_have_separate_ids() -> None:
    aside = {"conversation": "none", "input": [message("user", "how many eggs")]}

    async def script(d: Desk) -> None:
        for tool in (WEATHER, {"type": "mcp", "server_label": "garden"}):
            await d.update(tools=[tool])
            d.send("response.create", response=aside)
            await d.until("response.done")

    function = function_of(look)
    tools = Toolbox({"look": Function(function.tool, function.run, server="garden")})
    llm = CallingLLM(calls=[ToolCall("call_7", "weather", "{}"), ToolCall("call_8", "look", "{}")])
    d = hold(script, llm=llm, tools=tools)
    for kind, response in zip(("function_call", "mcp_call"), d.of("response.done"), strict=True):
        call = response["response"]["output"][0]
        assert (call["type"], call["id"][:5]) == (kind, "item_")
        told = d.of(
            "response.function_call_arguments.done" if kind == "function_call" else "response.mcp_call.completed"
        )
        assert [event["item_id"] for event in told] == [call["id"]]


def test_an_out_of_band_response_can_be_cancelled_by_its_id() -> None:
    async def script(d: Desk) -> None:
        d.send("response.create", response={"conversation": "none", "input": []})
        id = (await d.until("response.created"))["response"]["id"]
        assert (await d.error(d.send("response.cancel", response_id="resp_other")))["code"]
        d.send("response.cancel", response_id=id)
        response = (await d.until("response.done"))["response"]
        assert response["status_details"]["reason"] == "client_cancelled"

    hold(script, llm=ScriptedLLM(LONG, first_token_s=2))


# --- functions ---


def called(d: Desk) -> dict[str, Any]:
    event: dict[str, Any] = d.of("response.function_call_arguments.done")[0]
    return event


def test_a_client_function_is_called_and_its_result_is_used() -> None:
    async def script(d: Desk) -> None:
        await d.update(tools=[WEATHER], tool_choice="auto")
        await d.speak(600)
        await d.silence(600)
        response = (await d.until("response.done", count=1))["response"]
        call = response["output"][0]
        assert (call["type"], call["name"], call["call_id"]) == ("function_call", "weather", "call_7")
        assert call["arguments"] == '{"city": "Lisbon"}'
        await create(d, {"type": "function_call_output", "call_id": "call_7", "output": "sunny"})
        d.send("response.create")
        response = (await d.until("response.done", count=2))["response"]
        assert response["output"][0]["content"][0]["transcript"] == "I found sunny."

    llm = CallingLLM(calls=[ToolCall("call_7", "weather", '{"city": "Lisbon"}')])
    d = hold(script, llm=llm)
    assert [tool.parameters for tool in llm.offered[0]] == [WEATHER["parameters"]]
    assert d.told[1:] == [("user", "what does the heron do"), ("assistant", ""), ("tool", "sunny")]
    kinds = d.kinds[d.kinds.index("response.created") : d.kinds.index("response.done")]
    assert kinds == [
        "response.created", "response.output_item.added", "conversation.item.added",
        "response.function_call_arguments.delta", "response.function_call_arguments.done",
        "response.output_item.done", "conversation.item.done",
    ]  # fmt: skip


class Chatty(CallingLLM):
    """Says something before the call."""

    async def reply(self, messages, *, tools=(), must_call=False, **_):  # type: ignore[no-untyped-def]
        if messages[-1].role == "user":
            async for delta in ScriptedLLM("Let me have a look at the weather.").reply(messages):
                yield delta
        async for delta in super().reply(messages, tools=tools):
            yield delta


async def result(d: Desk) -> None:
    """Send the function's result, and request a response."""
    output = {"type": "function_call_output", "call_id": "call_7", "output": "sunny"}
    d.send("conversation.item.create", item=output)
    d.send("response.create")


def test_a_result_during_a_spoken_call_is_used_afterwards() -> None:
    async def script(d: Desk) -> None:
        await d.update(tools=[WEATHER])
        await create(d, message("user", "how is the weather"))
        d.send("response.create")
        await d.until("response.function_call_arguments.done")
        await result(d)
        await d.until("response.done", count=2)

    d = hold(script, llm=Chatty(calls=[ToolCall("call_7", "weather", "{}")]))
    assert d.of("error") == []
    first, second = (event["response"] for event in d.of("response.done"))
    assert [item["type"] for item in first["output"]] == ["message", "function_call"]
    assert second["output"][0]["content"][0]["transcript"] == "I found sunny."


def test_a_prepared_call_leaves_the_client_time_to_end_the_users_turn() -> None:
    """pipecat forgets to request the response to a result that it has before its own end of the user's turn."""

    async def script(d: Desk) -> None:
        await d.update(tools=[WEATHER])
        await d.speak(600)
        await d.silence(600)
        await d.until("response.done", count=1)
        await result(d)
        await d.until("response.done", count=2)

    d = hold(script, stt=ScriptedSTT(seconds=0), llm=CallingLLM(calls=[ToolCall("call_7", "weather", "{}")]))
    stopped_s = d.at("input_audio_buffer.speech_stopped")
    assert d.at("response.created") - stopped_s < 0.01
    assert 0.05 <= d.at("response.function_call_arguments.done") - stopped_s < 0.06


@pytest.mark.parametrize("before", [True, False])
def test_speech_while_a_result_is_awaited_is_heard_to_the_end(before: bool) -> None:
    """Reply to the user's speech and to the result in one response. before: the result comes before the speech."""

    async def script(d: Desk) -> None:
        await d.update(tools=[WEATHER])
        await create(d, message("user", "how is the weather"))
        d.send("response.create")
        await d.until("response.function_call_arguments.done")
        if before:
            await result(d)
        await d.speak(1000)
        if not before:
            await result(d)
        await d.speak(500)
        await d.update(tools=[])
        await d.silence(600)
        await d.until("response.done", count=2)
        await d.silence(3000)

    d = hold(script, llm=Chatty(calls=[ToolCall("call_7", "weather", "{}")]))
    assert d.of("error") == []
    assert [event["response"]["status"] for event in d.of("response.done")] == ["cancelled", "completed"]
    assert len(d.of("input_audio_buffer.committed")) == 1
    assert ("tool", "sunny") in d.told
    assert d.told[-1] == ("user", "what does the heron do")


def test_a_response_requested_during_noise_follows_the_noise() -> None:
    stt = ScriptedSTT("")

    async def script(d: Desk) -> None:
        await create(d, message("user", "hello"))
        await d.speak(600)
        d.send("response.create")
        await d.silence(600)
        await d.until("response.done", count=1)

    d = hold(script, stt=stt)
    assert d.told[-1] == ("user", "hello")
    assert d.of("error") == []


def test_forbidden_functions_are_not_offered() -> None:
    llm = CallingLLM(calls=[ToolCall("call_7", "weather", "{}")])

    async def script(d: Desk) -> None:
        await d.update(tools=[WEATHER, {**WEATHER, "name": "tides"}], tool_choice="none")
        await create(d, message("user", "hello"))
        d.send("response.create")
        await d.until("response.done")
        d.send("response.create", response={"tool_choice": {"type": "function", "name": "tides"}})
        await d.until("response.done", count=2)

    hold(script, llm=llm)
    assert [[tool.name for tool in tools] for tools in llm.offered] == [[], ["tides"]]


async def look() -> str:
    """Look it up."""
    return "three eggs"


@pytest.mark.parametrize("shown", [False, True])
def test_server_functions_are_shown_to_clients_that_include_them(shown: bool) -> None:
    function = function_of(look)
    garden = Function(function.tool, function.run, server="garden")
    llm = CallingLLM()

    async def script(d: Desk) -> None:
        if shown:
            await d.update(tools=[{"type": "mcp", "server_label": "garden"}])
        await create(d, message("user", "how many eggs"))
        d.send("response.create")
        response = (await d.until("response.done"))["response"]
        assert response["output"][-1]["type"] == "message" or shown
        if shown:
            (call,) = [item for item in response["output"] if item["type"] == "mcp_call"]
            assert (call["server_label"], call["name"], call["output"]) == ("garden", "look", "three eggs")
            assert (await d.item(call["id"])) == call
        d.send("response.create")
        await d.until("response.done", count=2)

    d = hold(script, llm=llm, tools=Toolbox({"look": garden}))
    assert ("response.mcp_call.completed" in d.kinds) is shown
    assert d.told[1:3] == [("user", "how many eggs"), ("assistant", "")]
    added = [event["item"]["id"] for event in d.of("conversation.item.added")]
    assert all(event["previous_item_id"] in added for event in d.of("conversation.item.added")[1:])


def test_a_cancelled_function_call_is_reported_as_ended() -> None:
    async def slow() -> str:
        """Takes long."""
        await asyncio.sleep(5)
        return "three eggs"

    async def script(d: Desk) -> None:
        await d.update(tools=[{"type": "mcp", "server_label": "garden"}])
        await create(d, message("user", "how many eggs"))
        d.send("response.create")
        await d.until("response.mcp_call.in_progress")
        d.send("response.cancel")
        (call,) = (await d.until("response.done"))["response"]["output"]
        assert (call["type"], call["output"], call["error"]["message"]) == ("mcp_call", None, "It was cancelled.")
        assert d.of("response.output_item.done")[0]["item"] == call
        assert d.of("response.mcp_call.failed")[0]["item_id"] == call["id"]

    function = function_of(slow)
    tools = Toolbox({"slow": Function(function.tool, function.run, server="garden")})
    hold(script, llm=CallingLLM(calls=[ToolCall("call_1", "slow", "{}")]), tools=tools)


def test_a_client_cannot_make_the_service_connect_elsewhere() -> None:
    async def script(d: Desk) -> None:
        for tool in ({"server_url": "http://169.254.169.254/"}, {"connector_id": "connector_gmail"}, {}):
            session = {"type": "realtime", "tools": [{"type": "mcp", "server_label": "x", **tool}]}
            error = await d.error(d.send("session.update", session=session))
            assert error["code"] == "invalid_value"
            assert error["param"] == "session.tools[0]"

    hold(script)


# --- sessions ---


def test_a_session_update_applies_completely_or_not_at_all() -> None:
    async def script(d: Desk) -> None:
        before = d.of("session.created")[0]["session"]
        for session, param in [
            *[
                (
                    {"audio": {"input": {"turn_detection": {"type": "server_vad", name: value}}}},
                    f"turn_detection.{name}",
                )
                for name, value in [
                    ("silence_duration_ms", 1),
                    ("prefix_padding_ms", 9999),
                    ("idle_timeout_ms", -1),
                    ("threshold", 1.5),
                ]
            ],
            ({"tools": [{"type": "function", "name": "two words"}]}, "session.tools[0].name"),
            ({"tools": [{"type": "function", "name": "a", "parameters": "none"}]}, "session.tools[0].parameters"),
            ({"audio": {"output": {"voice": "absent"}}}, "session.audio.output.voice"),
            ({"audio": {"output": {"speed": 9}}}, "session.audio.output.speed"),
            ({"audio": {"input": {"format": {"type": "audio/mp3"}}}}, "session.audio.input.format.type"),
            ({"audio": {"input": {"transcription": {"language": "klingon"}}}}, "language"),
            ({"audio": {"input": {"transcription": {"language": "zz"}}}}, "language"),
            ({"output_modalities": ["text", "smell"]}, "session.output_modalities[1]"),
            ({"model": 5}, "session.model"),
            ({"max_output_tokens": 0}, "session.max_output_tokens"),
            ({"max_output_tokens": "many"}, "session.max_output_tokens"),
            ({"tools": [{"type": "function"}]}, "session.tools[0]"),
            ({"prompt": {"id": "pmpt_1"}}, "session.prompt"),
            ({"type": "transcription"}, "session.type"),
            ({"modalities": ["audio"]}, "session.modalities"),
            ({"type": "dream"}, "session.type"),
        ]:
            sent: dict[str, Any] = {"type": "realtime", "instructions": "never", **session}  # type: ignore[dict-item]
            error = await d.error(d.send("session.update", session=sent))
            assert error["param"].endswith(param), (session, error)
            assert error["type"] == "invalid_request_error"
        assert await d.update(id="sess_mine", object="mine", expires_at=1) == before

    hold(script)


def test_options_left_out_of_an_update_stay() -> None:
    async def script(d: Desk) -> None:
        detection = {"type": "server_vad", "threshold": 0.7, "silence_duration_ms": 300}
        await d.update(instructions="be brief", audio={"input": {"turn_detection": detection}})
        await d.update(audio={"output": {"voice": "marin", "format": {"type": "audio/pcmu"}}})
        session = await d.update(audio={"input": {"transcription": None}})
        assert session["instructions"] == "be brief"
        heard, spoken = session["audio"]["input"], session["audio"]["output"]
        assert (heard["turn_detection"]["threshold"], heard["turn_detection"]["silence_duration_ms"]) == (0.7, 300)
        assert heard["transcription"] is None
        assert (spoken["voice"], spoken["format"]) == ("marin", {"type": "audio/pcmu"})
        await d.speak(600)
        await d.silence(600)
        await d.until("response.done")

    d = hold(script)
    assert not any("transcription" in kind for kind in d.kinds)  # transcription was switched off


def test_a_transcription_session_transcribes_and_never_replies() -> None:
    hypotheses = iter(["what", "what does", "what does the", "what does the heron"])

    class Growing(ScriptedSTT):
        async def transcribe(self, clip, *, language, prompt, words):  # type: ignore[no-untyped-def]
            self.text = next(hypotheses, "what does the heron do")
            return await super().transcribe(clip, language=language, prompt=prompt, words=words)

    async def script(d: Desk) -> None:
        assert d.of("session.created")[0]["session"]["type"] == "transcription"
        session = {"type": "transcription", "audio": {"input": {"turn_detection": {"type": "server_vad"}}}}
        d.send("session.update", session=session)
        await d.until("session.updated")
        await d.speak(3000)
        assert d.of("conversation.item.input_audio_transcription.delta")
        await d.silence(1000)
        assert (await d.error(d.send("response.create")))["code"] == "invalid_value"
        await d.silence(1000)

    d = hold(script, query="intent=transcription", stt=Growing(seconds=0.02))
    deltas = [event["delta"] for event in d.of("conversation.item.input_audio_transcription.delta")]
    assert "".join(deltas) == "what does the heron do"
    assert d.of("conversation.item.input_audio_transcription.completed")[0]["transcript"] == "what does the heron do"
    assert "llm" not in d.running.calls


@pytest.mark.parametrize(
    ("text", "param"),
    [
        ("", None), ("{", None), ("[]", None), ('"x"', None), ("{}", "type"), ('{"type": 7}', "type"),
        ('{"type": "response.audio.start"}', "type"), ('{"type": "input_audio_buffer.append"}', "audio"),
        ('{"type": "input_audio_buffer.append", "audio": 7}', "audio"),
        ('{"type": "input_audio_buffer.append", "audio": "%%%"}', "audio"),
        ('{"type": "session.update"}', "session"), ('{"type": "output_audio_buffer.clear"}', "type"),
        ('{"type": "response.create", "response": {"input": [{"type": "nothing"}]}}', "response.input"),
        ("[" * 100_000, None),
        ('{"type": NaN}', None),
    ],
)  # fmt: skip
def test_an_invalid_event_is_reported_and_the_session_continues(text: str, param: str | None) -> None:
    async def script(d: Desk) -> None:
        d.text(text)
        error = (await d.until("error"))["error"]
        assert error["type"] == "invalid_request_error"
        assert (error["param"] or "").startswith(param or "")
        assert error["code"] in (
            "unknown_or_invalid_event", "missing_required_parameter", "invalid_value", "invalid_type",
        )  # fmt: skip
        await d.update()

    hold(script)


def test_a_slow_reader_gets_an_error_and_is_disconnected() -> None:
    async def script(d: Desk) -> None:
        d.reads.clear()
        for _ in range(1100):
            d.send("input_audio_buffer.clear")
        await d.silence(500)
        d.reads.set()
        await d.silence(1000)

    d = hold(script)
    assert d.closed is not None
    assert d.closed[0] == 1013
    assert d.of("error")[-1]["error"]["code"] == "overloaded"


def test_a_reader_that_never_reads_again_is_disconnected() -> None:
    async def script(d: Desk) -> None:
        d.send("response.create", response={"conversation": "none", "input": []})
        await d.until("response.created")
        d.reads.clear()
        for _ in range(1100):
            d.send("input_audio_buffer.clear")
        await d.silence(10_000)
        assert d.running.now == []
        assert d.over

    hold(script, llm=ScriptedLLM(LONG, tokens_per_s=2))


def test_a_session_has_a_maximum_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime_session, "MAX_SESSION_S", 60.0)

    async def script(d: Desk) -> None:
        await d.silence(61_000)

    d = hold(script)
    assert d.closed is not None
    assert d.of("error")[-1]["error"]["code"] == "session_expired"


def test_a_silent_session_ends() -> None:
    async def script(d: Desk) -> None:
        await d.silence(31_000)

    d = hold(script, idle_timeout_s=30)
    assert d.closed == (1000, "The conversation was silent for too long and is closed.")

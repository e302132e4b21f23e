"""Ollama's contract and its deviations, over a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.errors import EngineError, EngineUnavailable
from pipeline.llm import CLOCK, Generation, Message, Tool, Usage, streaming
from pipeline.llm.ollama import installed, open_engine, probe
from pipeline.settings import Settings
from pipeline.support.json_types import JsonObject
from pipeline.support.progress import Progress
from tests.llm_replies import (
    ASKED,
    LIGHT,
    REPLY,
    check_a_server_that_goes_away,
    check_that_closing_disconnects,
    check_that_silence_is_given_up,
    failure,
    quiet,
    said,
)
from tests.servers.ollama import FakeOllama, Traps
from tests.servers.running import closed_port, running
from tests.waiting import WAIT_S


def settings(address: str, **changes: Any) -> Settings:
    return Settings(_env_file=None, llama_endpoint=address, **changes)  # type: ignore[call-arg]


@pytest.fixture
def server() -> FakeOllama:
    return FakeOllama(reply=REPLY)


@pytest.fixture
async def address(server: FakeOllama) -> AsyncIterator[str]:
    async with running(server.app()) as url:
        yield url


async def test_reply_streams_and_ends_with_its_usage(address: str, server: FakeOllama) -> None:
    async with open_engine(settings(address), quiet) as opened:
        deltas = [delta async for delta in opened.engine.reply(ASKED)]
    assert "".join(delta.text for delta in deltas) == REPLY
    assert len(deltas) > 5
    assert [delta.usage for delta in deltas if delta.usage] == [deltas[-1].usage] == [Usage(5, 8)]
    assert opened.model == "llama3.2"
    assert opened.device == address.removeprefix("http://")


async def test_model_is_warmed_up_and_asked_not_to_think(address: str, server: FakeOllama) -> None:
    changes = {"model_idle_seconds": 90, "history_tokens": 1414, "llm_max_tokens": 50}
    async with open_engine(settings(address, **changes), quiet) as opened:
        (warm_up,) = server.requests
        await said(opened.engine)
    request = server.requests[1]
    assert warm_up["messages"] == []
    assert warm_up["options"] == request["options"] == {"num_ctx": 2048, "temperature": 0.7, "num_predict": 50}
    assert warm_up["keep_alive"] == request["keep_alive"] == 90
    assert request["think"] is False
    assert not request.get("tools")


async def test_the_models_of_all_servers_that_answer_are_listed(address: str, server: FakeOllama) -> None:
    server.models = ["qwen3:8b", "llama3.2:latest"]
    assert await installed(settings(f"http://127.0.0.1:{closed_port()},{address}")) == ["llama3.2:latest", "qwen3:8b"]


async def test_reply_is_requested_in_the_language_of_the_question(address: str, server: FakeOllama) -> None:
    async with open_engine(settings(address), quiet) as opened:
        await said(opened.engine, [ASKED[0], Message("user", "Quem é você?", language="pt")])
        await said(opened.engine, [Message("user", "¿Quién eres?", language="es")])
        await said(opened.engine)
    systems = [[m["content"] for m in r["messages"] if m["role"] == "system"] for r in server.requests[1:]]
    assert "Be brief." in systems[0][0]
    assert "Answer in Portuguese." in systems[0][0]
    assert "Answer in Spanish." in systems[1][0]
    assert systems[2] == ["Be brief."]


async def test_options_of_one_reply_are_passed_on(address: str, server: FakeOllama) -> None:
    schema: JsonObject = {"type": "object", "properties": {"x": {"type": "integer"}}}
    wanted = Generation(
        temperature=0.1,
        top_p=0.5,
        seed=7,
        max_tokens=9,
        stop=("small model",),
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    )
    async with open_engine(settings(address), quiet) as opened:
        words = "".join([delta.text async for delta in opened.engine.reply(ASKED, generation=wanted)])
        _ = [delta async for delta in opened.engine.reply(ASKED)]
    assert words == REPLY.partition("small model")[0]
    request, later = server.requests[1:]
    changed = {"temperature": 0.1, "top_p": 0.5, "seed": 7, "num_predict": 9}
    assert request["options"] == {"num_ctx": later["options"]["num_ctx"], **changed}
    assert request["format"] == schema
    assert "format" not in later


async def test_tools_are_passed_on(address: str, server: FakeOllama) -> None:
    async with open_engine(settings(address), quiet) as opened:
        _ = [delta async for delta in opened.engine.reply(ASKED, tools=[LIGHT])]
    (sent,) = server.requests[1]["tools"]
    assert sent["function"]["name"] == "light"


@pytest.mark.parametrize(
    "traps", [Traps(thinking="Let me see …"), Traps(think_in_content="Let me see … a < b"), Traps(refuse_think=True)]
)
async def test_thinking_is_removed_from_the_reply(address: str, server: FakeOllama, traps: Traps) -> None:
    server.traps = traps
    async with open_engine(settings(address), quiet) as opened:
        assert await said(opened.engine) == REPLY
        assert await said(opened.engine) == REPLY


async def test_think_is_omitted_after_the_server_rejects_it(address: str, server: FakeOllama) -> None:
    server.traps = Traps(refuse_think=True)
    async with open_engine(settings(address), quiet) as opened:
        await said(opened.engine)
        await said(opened.engine)
    assert ["think" in request for request in server.requests] == [False, True, False, False]


@pytest.mark.parametrize(
    ("traps", "sentence"),
    [
        (Traps(error_after=3, message="llama runner process has terminated"), "llama runner process has terminated"),
        (Traps(cut_after=3), "Ollama ended the stream before the reply was complete"),
        (Traps(garbage_after=3), "does not speak Ollama's protocol"),
        (Traps(status=503, message="server busy"), "busy"),
        (Traps(status=500, message="out of memory"), "500"),
        (Traps(status=404, message="model 'llama3.2' not found"), "ollama pull llama3.2"),
    ],
)
async def test_each_failure_is_one_helpful_sentence(
    address: str, server: FakeOllama, traps: Traps, sentence: str
) -> None:
    async with open_engine(settings(address), quiet) as opened:
        server.traps = traps
        with pytest.raises(EngineError, match=sentence) as caught:
            await said(opened.engine)
        assert "\n" not in caught.value.message
        server.traps = Traps()
        assert await said(opened.engine) == REPLY


async def test_text_before_a_failure_is_delivered(address: str, server: FakeOllama) -> None:
    server.traps = Traps(error_after=3)
    heard = []
    async with open_engine(settings(address), quiet) as opened:
        with pytest.raises(EngineError):
            async for delta in opened.engine.reply(ASKED):
                heard.append(delta.text)
    assert "".join(heard) == "I am a"


@pytest.mark.parametrize("traps", [Traps(first_token_s=5), Traps(stall_after=2)])
async def test_silent_model_times_out_and_is_disconnected(address: str, server: FakeOllama, traps: Traps) -> None:
    server.traps = traps
    await check_that_silence_is_given_up(open_engine, settings(address), server)


async def test_endless_thinking_times_out(address: str, server: FakeOllama, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "FIRST_TOKEN_TIMEOUT_S", 0.5)
    server.traps = Traps(think_in_content="so " * 100)
    server.tokens_per_second = 20
    error = await failure(open_engine, settings(address))
    assert error.code == "timeout"


async def test_closing_the_reply_closes_the_connection(address: str, server: FakeOllama) -> None:
    await check_that_closing_disconnects(open_engine, settings(address), server)
    assert server.finished == 0


async def test_cancelling_the_reader_closes_the_connection(address: str, server: FakeOllama) -> None:
    server.traps = Traps(first_token_s=600)
    async with open_engine(settings(address), quiet) as opened:
        task = asyncio.create_task(said(opened.engine))
        await asyncio.wait_for(server.asked.wait(), WAIT_S)
        server.disconnected.clear()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.disconnected.wait(), WAIT_S)


async def test_replies_stream_concurrently(address: str, server: FakeOllama) -> None:
    async with open_engine(settings(address), quiet) as opened:
        replies = await asyncio.gather(*(said(opened.engine) for _ in range(20)))
    assert set(replies) == {REPLY}


async def test_stopped_server_is_reported(server: FakeOllama) -> None:
    await check_a_server_that_goes_away(open_engine, settings, server, "does not respond")


async def test_probe_accepts_the_implied_tag(address: str, server: FakeOllama) -> None:
    server.models = ["qwen3:0.6b", "hub/team/fine:latest", "llama3.2:latest"]
    for model in ("llama3.2", "llama3.2:latest", "qwen3:0.6b", "hub/team/fine"):
        await probe(settings(address, llama_model=model))


async def test_probe_gives_the_remedy_for_a_missing_model(address: str, server: FakeOllama) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        await probe(settings(address, llama_model="qwen3"))
    assert "ollama pull qwen3" in caught.value.remedy
    assert "LLAMA_PULL=true" in caught.value.remedy
    await probe(settings(address, llama_model="qwen3", llama_pull=True))


async def test_another_model_is_used_if_none_was_set(address: str, server: FakeOllama) -> None:
    server.models, server.embedding = ["minilm:latest", "qwen3:8b", "gemma3:4b"], {"minilm:latest"}
    await probe(settings(address))
    async with open_engine(settings(address), quiet) as opened:
        assert await said(opened.engine) == REPLY
    assert opened.model == "qwen3:8b"
    assert [note for note in opened.notes if "so qwen3:8b is used" in note]
    assert {request["model"] for request in server.requests} == {"qwen3:8b"}


@pytest.mark.parametrize("models", [[], ["minilm:latest"]])
async def test_a_server_without_a_model_that_can_converse_is_unavailable(
    address: str, server: FakeOllama, models: list[str]
) -> None:
    server.models, server.embedding = models, {"minilm:latest"}
    with pytest.raises(EngineUnavailable, match=r"does not have the model llama3\.2"):
        await probe(settings(address))


async def test_several_servers_never_choose_a_model(address: str, server: FakeOllama) -> None:
    server.models = ["qwen3:8b"]
    with pytest.raises(EngineUnavailable, match=r"does not have the model llama3\.2"):
        await probe(settings(f"{address},{address}"))


async def test_probe_fails_quickly_if_no_server_answers(address: str, server: FakeOllama) -> None:
    server.traps = Traps(slow_api_s=600)
    for url in (f"http://127.0.0.1:{closed_port()}", address):
        async with asyncio.timeout(30):
            with pytest.raises(EngineUnavailable, match="does not respond"):
                await probe(settings(url))


async def test_missing_model_is_pulled_if_allowed(address: str, server: FakeOllama) -> None:
    seen: list[Progress] = []
    async with open_engine(settings(address, llama_model="qwen3", llama_pull=True), seen.append) as opened:
        assert await said(opened.engine) == REPLY
    assert server.pulls == ["qwen3"]
    steps = [(step.done, step.total) for step in seen if step.task == "Downloading qwen3"]
    assert steps == sorted(steps)
    assert steps[-1] == (5000, 5000)


async def test_missing_model_is_not_pulled_without_permission(address: str, server: FakeOllama) -> None:
    with pytest.raises(EngineUnavailable, match="does not have the model qwen3"):
        async with open_engine(settings(address, llama_model="qwen3"), quiet):
            pass
    assert server.pulls == []


@pytest.mark.parametrize("traps", [Traps(pull_error="file does not exist"), Traps(pull_cut=True)])
async def test_failed_pull_is_reported(address: str, server: FakeOllama, traps: Traps) -> None:
    server.traps = traps
    with pytest.raises(EngineUnavailable) as caught:
        async with open_engine(settings(address, llama_model="qwen3", llama_pull=True), quiet):
            pass
    assert "ollama pull qwen3" in caught.value.remedy


async def test_tool_calls_and_their_results_are_exchanged(address: str, server: FakeOllama) -> None:
    server.calls = [("light", {"on": True})]
    async with open_engine(settings(address), quiet) as opened:
        deltas = [delta async for delta in opened.engine.reply(ASKED, tools=[LIGHT])]
        (call,) = [call for delta in deltas for call in delta.calls]
        assert (call.name, json.loads(call.arguments)) == ("light", {"on": True})
        results = [Message("assistant", "", calls=(call,)), Message("tool", "it is on", call_id=call.id)]
        assert await said(opened.engine, [*ASKED, *results]) == REPLY
    told = server.requests[-1]["messages"][-2:]
    assert told[0]["tool_calls"] == [{"function": {"name": "light", "arguments": {"on": True}}}]
    assert (told[1]["role"], told[1]["content"]) == ("tool", "it is on")


async def test_required_call_is_requested_by_a_json_schema(address: str, server: FakeOllama) -> None:
    server.reply = '{"name": "light", "arguments": {"on": true}}'
    async with open_engine(settings(address), quiet) as opened:
        deltas = [delta async for delta in opened.engine.reply(ASKED, tools=[LIGHT], must_call=True)]
    form = server.requests[-1]["format"]["properties"]
    assert (form["name"], form["arguments"]) == ({"const": "light"}, LIGHT.parameters)
    (call,) = [call for delta in deltas for call in delta.calls]
    assert (call.name, json.loads(call.arguments)) == ("light", {"on": True})
    assert "".join(delta.text for delta in deltas) == ""


async def test_model_without_tool_support_is_asked_without_tools(address: str, server: FakeOllama) -> None:
    server.traps = Traps(refuse_tools=True, refuse_think=True)
    async with open_engine(settings(address), quiet) as opened:
        for _ in range(2):
            deltas = [delta async for delta in opened.engine.reply(ASKED, tools=[LIGHT])]
            assert "".join(delta.text for delta in deltas) == REPLY


async def test_a_model_that_cannot_ask_for_the_time_gets_it(address: str, server: FakeOllama) -> None:
    asked = [Message("system", "Be brief.", clock=datetime(2026, 11, 30, 18, 20, tzinfo=UTC)), *ASKED[1:]]
    clock = Tool(CLOCK, "The time.", {"type": "object", "properties": {}})
    told = []
    for tools, traps in (([clock], Traps()), ([LIGHT], Traps()), ((), Traps()), ([clock], Traps(refuse_tools=True))):
        server.traps = traps
        async with open_engine(settings(address), quiet) as opened:
            async for _ in opened.engine.reply(asked, tools=tools):
                pass
        told.append(server.requests[-1]["messages"][0]["content"])
    date = "Be brief. It is Monday, 30 November 2026."
    timed = f"{date} The conversation began at 18:20."
    assert told == [date, timed, timed, timed]

"""Chat completions of an OpenAI-compatible server, over a real socket."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pipeline.errors import ConfigError, EngineError, EngineUnavailable
from pipeline.llm import Message, Tool, Usage
from pipeline.llm.openai import open_engine, probe
from pipeline.settings import Settings
from tests.llm_replies import (
    ASKED,
    LIGHT,
    REPLY,
    check_a_server_that_goes_away,
    check_that_closing_disconnects,
    check_that_silence_is_given_up,
    quiet,
    said,
)
from tests.servers.chat import ChatTraps, FakeChat
from tests.servers.running import closed_port, running


def settings(address: str, **changes: Any) -> Settings:
    return Settings(_env_file=None, llm_openai_url=f"{address}/v1", **changes)  # type: ignore[call-arg]


@pytest.fixture
def server() -> FakeChat:
    return FakeChat(reply=REPLY)


@pytest.fixture
async def address(server: FakeChat) -> AsyncIterator[str]:
    async with running(server.app()) as url:
        yield url


async def test_reply_streams_and_ends_with_its_usage(address: str, server: FakeChat) -> None:
    async with open_engine(settings(address, llm_max_tokens=9), quiet) as opened:
        deltas = [delta async for delta in opened.engine.reply(ASKED)]
    assert "".join(delta.text for delta in deltas) == REPLY
    assert len(deltas) > 5
    assert [delta.usage for delta in deltas if delta.usage] == [deltas[-1].usage] == [Usage(7, 8)]
    (request,) = server.requests
    assert (request["temperature"], request["max_tokens"], request["stream"]) == (0.7, 9, True)
    assert request["messages"] == [{"role": m.role, "content": m.content} for m in ASKED]


async def test_first_listed_model_is_used_without_a_setting(address: str, server: FakeChat) -> None:
    async with open_engine(settings(address), quiet) as opened:
        assert opened.model == "tiny"
    async with open_engine(settings(address, llm_openai_model="other"), quiet) as opened:
        await said(opened.engine)
    assert server.requests[0]["model"] == "other"


async def test_server_without_a_model_list_requires_a_model_name(address: str, server: FakeChat) -> None:
    server.models = []
    with pytest.raises(EngineUnavailable) as caught:
        async with open_engine(settings(address), quiet):
            pass
    assert "LLM_OPENAI_MODEL" in caught.value.remedy


async def test_reply_is_requested_in_the_language_of_the_question(address: str, server: FakeChat) -> None:
    async with open_engine(settings(address), quiet) as opened:
        await said(opened.engine, [ASKED[0], Message("user", "Quem é você?", language="pt")])
    assert "Answer in Portuguese." in server.requests[0]["messages"][0]["content"]


async def test_tools_and_extra_fields_are_passed_on(address: str, server: FakeChat) -> None:
    extra = '{"chat_template_kwargs": {"enable_thinking": false}}'
    async with open_engine(settings(address, llm_openai_extra=extra), quiet) as opened:
        for must_call in (False, True):
            _ = [delta async for delta in opened.engine.reply(ASKED, tools=[LIGHT], must_call=must_call)]
    request, demand = server.requests
    assert request["tools"][0]["function"]["name"] == "light"
    assert (request.get("tool_choice"), demand["tool_choice"]) == (None, "required")
    assert request["chat_template_kwargs"] == {"enable_thinking": False}


async def test_invalid_extra_fields_are_rejected_at_start(address: str) -> None:
    with pytest.raises(ConfigError, match="LLM_OPENAI_EXTRA"):
        async with open_engine(settings(address, llm_openai_extra="[1"), quiet):
            pass


@pytest.mark.parametrize("traps", [ChatTraps(reasoning="Let me see …"), ChatTraps(think_in_content="a < b …")])
async def test_thinking_is_removed_from_the_reply(address: str, server: FakeChat, traps: ChatTraps) -> None:
    server.traps = traps
    async with open_engine(settings(address), quiet) as opened:
        assert await said(opened.engine) == REPLY


async def test_stream_options_are_omitted_after_a_rejection(address: str, server: FakeChat) -> None:
    server.traps = ChatTraps(refuse_stream_options=True)
    async with open_engine(settings(address), quiet) as opened:
        assert await said(opened.engine) == REPLY
        assert await said(opened.engine) == REPLY
    assert ["stream_options" in request for request in server.requests] == [True, False, False]


@pytest.mark.parametrize(
    ("traps", "sentence"),
    [
        (ChatTraps(error_after=3, message="out of memory"), "out of memory"),
        (ChatTraps(cut_after=3), "ended the stream before the reply was complete"),
        (ChatTraps(garbage_after=3), "does not speak OpenAI's protocol"),
        (ChatTraps(status=503), "busy"),
        (ChatTraps(status=429), "busy"),
        (ChatTraps(status=404), "does not have the model tiny"),
        (ChatTraps(status=400, message="context is too long"), "context is too long"),
        (ChatTraps(status=500, message="boom"), "500"),
    ],
)
async def test_each_failure_is_one_helpful_sentence(
    address: str, server: FakeChat, traps: ChatTraps, sentence: str
) -> None:
    async with open_engine(settings(address), quiet) as opened:
        server.traps = traps
        with pytest.raises(EngineError, match=sentence):
            await said(opened.engine)
        assert len(server.requests) == 1
        server.traps = ChatTraps()
        assert await said(opened.engine) == REPLY


@pytest.mark.parametrize("traps", [ChatTraps(first_token_s=5), ChatTraps(stall_after=2)])
async def test_silent_model_times_out_and_is_disconnected(address: str, server: FakeChat, traps: ChatTraps) -> None:
    server.traps = traps
    await check_that_silence_is_given_up(open_engine, settings(address), server)


async def test_closing_the_reply_closes_the_connection(address: str, server: FakeChat) -> None:
    await check_that_closing_disconnects(open_engine, settings(address), server)


async def test_stopped_server_is_reported(server: FakeChat) -> None:
    await check_a_server_that_goes_away(open_engine, settings, server, "failed")


async def test_probe_reports_a_missing_server_and_a_wrong_key(address: str, server: FakeChat) -> None:
    await probe(settings(address))
    with pytest.raises(EngineUnavailable, match="No language model server"):
        await probe(settings(f"http://127.0.0.1:{closed_port()}"))
    server.key = "secret"
    with pytest.raises(EngineUnavailable, match="refuses the key"):
        await probe(settings(address, llm_openai_key="wrong"))
    await probe(settings(address, llm_openai_key="secret"))


async def test_tool_calls_in_chunks_are_joined_and_results_are_sent(address: str, server: FakeChat) -> None:
    tools = [LIGHT, Tool("door", "Open it", {"type": "object"})]
    server.calls = [("light", {"on": True}), ("door", {"which": "front"})]
    async with open_engine(settings(address), quiet) as opened:
        deltas = [delta async for delta in opened.engine.reply(ASKED, tools=tools)]
        calls = [call for delta in deltas for call in delta.calls]
        assert [(call.name, json.loads(call.arguments)) for call in calls] == server.calls
        results = [Message("tool", "done", call_id=call.id) for call in calls]
        answer = [*ASKED, Message("assistant", "", calls=tuple(calls)), *results]
        deltas = [delta async for delta in opened.engine.reply(answer, tools=tools)]
        assert "".join(delta.text for delta in deltas) == REPLY
    told = server.requests[-1]["messages"][-3:]
    assert [call["id"] for call in told[0]["tool_calls"]] == [message["tool_call_id"] for message in told[1:]]

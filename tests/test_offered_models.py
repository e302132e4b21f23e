"""The language models that a conversation can choose, over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest

from pipeline.errors import BadInput
from pipeline.llm import Generation, LanguageModel, openai
from pipeline.llm.auto import open_auto
from pipeline.llm.offered import OfferedModels
from pipeline.llm.ollama import open_engine
from pipeline.settings import Settings
from tests.llm_replies import ASKED, REPLY, quiet
from tests.servers.chat import FakeChat
from tests.servers.ollama import FakeOllama, Traps
from tests.servers.running import closed_port, running


def settings(**changes: Any) -> Settings:
    return Settings(_env_file=None, **changes)  # type: ignore[call-arg]


async def reply(model: LanguageModel, **generation: Any) -> str:
    return "".join([delta.text async for delta in model.reply(ASKED, generation=Generation(**generation))])


@pytest.fixture
def server() -> FakeOllama:
    return FakeOllama(models=["llama3.2:latest", "qwen3:8b", "minilm:latest"], embedding={"minilm:latest"}, reply=REPLY)


@pytest.fixture
async def address(server: FakeOllama) -> AsyncIterator[str]:
    async with running(server.app()) as url:
        yield url


async def test_the_models_of_ollama_are_listed_and_one_replies(address: str, server: FakeOllama) -> None:
    async with open_engine(settings(llama_endpoint=address), quiet) as opened:
        offered = OfferedModels(opened.engine, usual=lambda: "llama3.2")
        assert list(await offered.names()) == ["llama3.2", "qwen3:8b"]
        assert await offered.find("llama3.2:latest") == "llama3.2"
        chosen = await offered.find(" qwen3:8b ")
        assert await reply(opened.engine, llm_model=chosen, temperature=0.1) == REPLY
        assert await reply(opened.engine) == REPLY
    load, other, usual = server.requests
    assert (load["model"], other["model"], usual["model"]) == ("llama3.2", "qwen3:8b", "llama3.2")
    assert (other["options"]["temperature"], usual["options"]["temperature"]) == (0.1, 0.7)


async def test_an_unknown_model_is_refused_with_those_that_exist(address: str) -> None:
    async with open_engine(settings(llama_endpoint=address), quiet) as opened:
        there = r"There is no language model 'gpt' to choose; there are: llama3\.2, qwen3:8b\."
        with pytest.raises(BadInput, match=there) as no:
            await OfferedModels(opened.engine).find("gpt")
    assert (no.value.code, no.value.param) == ("unknown_model", "llm_model")


async def test_one_model_that_cannot_call_functions_does_not_change_another(address: str, server: FakeOllama) -> None:
    async with open_engine(settings(llama_endpoint=address), quiet) as opened:
        server.traps = Traps(refuse_think=True)
        assert await reply(opened.engine, llm_model="qwen3:8b") == REPLY
        server.traps = Traps()
        assert await reply(opened.engine) == REPLY
    assert "think" not in server.requests[-2]
    assert server.requests[-1]["think"] is False


async def test_the_list_is_kept_for_a_moment_and_while_the_server_is_away(
    address: str, server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_engine(settings(llama_endpoint=address), quiet) as opened:
        offered = OfferedModels(opened.engine)
        first = await asyncio.gather(*(offered.names() for _ in range(20)))
        assert (first[0], server.listed) == (["llama3.2", "qwen3:8b"], 3)  # the start has listed twice
        server.models.append("gemma3:4b")
        assert "gemma3:4b" not in await offered.names()
        monkeypatch.setattr("pipeline.llm.offered.FRESH_S", 0.0)
        assert "gemma3:4b" in await offered.names()
        server.traps.slow_api_s = 3600
        monkeypatch.setattr("pipeline.llm.offered.DEADLINE_S", 0.05)
        assert "gemma3:4b" in await offered.names()
        assert await offered.find("gemma3:4b") == "gemma3:4b"


async def test_a_model_of_the_last_list_is_found_without_waiting_for_a_newer_one(
    address: str, server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_engine(settings(llama_endpoint=address), quiet) as opened:
        offered = OfferedModels(opened.engine)
        await offered.names()
        listed = server.listed
        server.models.append("gemma3:4b")
        monkeypatch.setattr("pipeline.llm.offered.FRESH_S", 0.0)
        for _ in range(3):
            with pytest.raises(StopIteration) as found:  # it returns without a pause
                offered.find("qwen3:8b").send(None)
            assert found.value.value == "qwen3:8b"
        assert "gemma3:4b" in await offered.names()
        assert server.listed == listed + 1, "one request for all"


async def test_the_operator_limits_the_choice(address: str) -> None:
    async with open_engine(settings(llama_endpoint=address), quiet) as opened:
        for allowed, names in (
            ("qwen3:8b", ["qwen3:8b", "llama3.2"]), ("none-of-them", ["llama3.2"]), ("all", ["qwen3:8b", "llama3.2"]),
        ):  # fmt: skip
            offered = OfferedModels(opened.engine, usual=lambda: "llama3.2", allowed=allowed)
            assert set(await offered.names()) == set(names)


async def test_of_several_servers_only_common_models_are_offered() -> None:
    one, other = FakeOllama(models=["llama3.2:latest", "a:1b"]), FakeOllama(models=["a:1b", "llama3.2:latest", "b:1b"])
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(running(server.app())) for server in (one, other)]
        opened = await stack.enter_async_context(open_engine(settings(llama_endpoint=",".join(urls)), quiet))
        assert list(await OfferedModels(opened.engine).names()) == ["llama3.2", "a:1b"]
        await asyncio.gather(*(reply(opened.engine, llm_model="a:1b") for _ in "12"))
    assert {server.requests[-1]["model"] for server in (one, other)} == {"a:1b"}


async def test_an_openai_server_with_a_named_model_offers_others_only_if_allowed() -> None:
    server = FakeChat(models=["small", "large", "huge"], reply=REPLY)
    async with running(server.app()) as url:
        for changes, names in (
            ({}, ["small", "large", "huge"]),
            ({"llm_openai_model": "large"}, ["large"]),
            ({"llm_openai_model": "large", "llm_models": "small"}, ["small", "large"]),
            ({"llm_openai_model": "large", "llm_models": "all"}, ["small", "large", "huge"]),
        ):
            chosen = settings(llm_openai_url=f"{url}/v1", **changes)
            async with openai.open_engine(chosen, quiet) as opened:
                offered = OfferedModels(
                    opened.engine, usual=partial(getattr, chosen, "llm_openai_model"), allowed=chosen.llm_models
                )
                assert list(await offered.names()) == names
                await reply(opened.engine, llm_model="small")
                assert server.requests[-1]["model"] == "small"


async def test_auto_offers_the_models_of_ollama_and_keeps_them_while_it_is_away(
    server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = closed_port()
    async with open_auto(settings(llama_endpoint=f"http://127.0.0.1:{port}"), quiet) as model:
        offered = OfferedModels(model, usual=lambda: "llama3.2")
        assert list(await offered.names()) == []
        with pytest.raises(BadInput, match="there are: none"):
            await offered.find("llama3.2")
        assert await offered.find_if_any("llama3.2") is None
        assert await reply(model, llm_model="qwen3:8b")  # by the built-in responder
        async with running(server.app(), port):
            offered = OfferedModels(model, usual=lambda: "llama3.2")
            assert list(await offered.names()) == ["llama3.2", "qwen3:8b"]
        monkeypatch.setattr("pipeline.llm.offered.FRESH_S", 0.0)
        assert await reply(model, llm_model="qwen3:8b") != REPLY  # by the built-in responder
        assert list(await offered.names()) == ["llama3.2", "qwen3:8b"], "the list is kept"
        assert await offered.find("qwen3:8b") == await offered.find_if_any("qwen3:8b") == "qwen3:8b"

"""One language model on several servers, over real sockets: balanced, and without those that do not respond."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import pytest

from pipeline.errors import EngineError, EngineUnavailable
from pipeline.llm import LanguageModel, balanced, ollama
from pipeline.llm.openai import open_engine, probe
from pipeline.settings import Settings
from tests.llm_replies import ASKED, quiet, said
from tests.servers.chat import FakeChat
from tests.servers.ollama import FakeOllama
from tests.servers.running import closed_port, running
from tests.waiting import WAIT_S

ONE, TWO = "I am the first.", "I am the second."


def settings(*addresses: str) -> Settings:
    urls = ", ".join(f"{address}/v1" for address in addresses)
    return Settings(_env_file=None, llm_openai_url=urls, llm_openai_model="tiny")  # type: ignore[call-arg]


@pytest.fixture
def recheck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balanced, "RECHECK_S", 0.05)


@asynccontextmanager
async def two_servers(**first: Any) -> AsyncIterator[tuple[FakeChat, FakeChat, Settings]]:
    one, two = FakeChat(reply=ONE, **first), FakeChat(reply=TWO)
    async with running(one.app()) as at_one, running(two.app()) as at_two:
        yield one, two, settings(at_one, at_two)


async def test_concurrent_replies_are_spread_over_the_servers() -> None:
    async with two_servers(tokens_per_second=5.0) as (one, two, chosen), open_engine(chosen, quiet) as opened:
        async with aclosing(opened.engine.reply(ASKED)) as first:
            await anext(first)
            assert await said(opened.engine) == TWO
        assert (len(one.requests), len(two.requests)) == (1, 1)
        assert len(opened.device.split(", ")) == 2


@pytest.mark.usefixtures("recheck")
async def test_a_server_that_is_down_is_left_out_until_it_responds() -> None:
    port, one, two = closed_port(), FakeChat(reply=ONE), FakeChat(reply=TWO)
    async with running(two.app()) as up:
        chosen = settings(f"http://127.0.0.1:{port}", up)
        await probe(chosen)
        async with open_engine(chosen, quiet) as opened:
            assert [await said(opened.engine) for _ in range(3)] == [TWO] * 3
            assert any(str(port) in note for note in opened.notes)
            async with running(one.app(), port):
                await until_it_says(opened.engine, ONE)


@pytest.mark.usefixtures("recheck")
async def test_a_server_that_dies_is_replaced_in_the_same_turn() -> None:
    port, one, two = closed_port(), FakeChat(reply=ONE), FakeChat(reply=TWO)
    async with running(two.app()) as up, AsyncExitStack() as first:
        await first.enter_async_context(running(one.app(), port))
        async with open_engine(settings(f"http://127.0.0.1:{port}", up), quiet) as opened:
            assert await said(opened.engine) == ONE
            await first.aclose()
            assert [await said(opened.engine) for _ in range(3)] == [TWO] * 3
            async with running(one.app(), port):
                await until_it_says(opened.engine, ONE)


async def until_it_says(engine: LanguageModel, wanted: str) -> None:
    """Ask until this reply comes."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if await said(engine) == wanted:
                return


async def test_a_refused_request_is_not_repeated_elsewhere() -> None:
    async with two_servers() as (one, two, chosen), open_engine(chosen, quiet) as opened:
        one.traps.status = 400
        with pytest.raises(EngineError, match="refused the request"):
            await said(opened.engine)
        assert not two.requests


async def test_without_any_server_the_first_ones_error_is_raised() -> None:
    ports = closed_port(), closed_port()
    chosen = settings(*(f"http://127.0.0.1:{port}" for port in ports))
    with pytest.raises(EngineUnavailable, match=str(ports[0])):
        await probe(chosen)
    with pytest.raises(EngineUnavailable, match=str(ports[0])):
        async with open_engine(chosen, quiet):
            pass


async def test_several_ollamas_share_the_replies() -> None:
    one, two = FakeOllama(tokens_per_second=5.0), FakeOllama()
    async with running(one.app()) as at_one, running(two.app()) as at_two:
        chosen = Settings(_env_file=None, llama_endpoint=f"{at_one},{at_two}/")  # type: ignore[call-arg]
        async with ollama.open_engine(chosen, quiet) as opened, aclosing(opened.engine.reply(ASKED)) as first:
            await anext(first)
            assert await said(opened.engine)
    # The requests without messages load the model.
    assert [sum(bool(request["messages"]) for request in each.requests) for each in (one, two)] == [1, 1]

"""Prompts and checks shared by the tests of language models behind a server."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import pytest

from pipeline.engines import Opened
from pipeline.errors import EngineError
from pipeline.llm import LanguageModel, Message, Tool, streaming
from pipeline.settings import Settings
from pipeline.support.progress import Progress, Report
from tests.servers.running import running
from tests.waiting import WAIT_S

ASKED = [Message("system", "Be brief."), Message("user", "Who are you?")]
REPLY = "I am a small model. I run here."
LIGHT = Tool("light", "Switch the light", {"type": "object", "properties": {"on": {"type": "boolean"}}})
Open = Callable[[Settings, Report], AbstractAsyncContextManager[Opened[Any]]]


class Server(Protocol):
    """A scripted server (`tests.servers`)."""

    reply: str
    tokens_per_second: float
    disconnected: asyncio.Event

    def app(self) -> Any: ...


def quiet(_: Progress) -> None:
    """Ignore the progress."""


async def said(model: LanguageModel, asked: list[Message] = ASKED) -> str:
    return "".join([delta.text async for delta in model.reply(asked)])


async def failure(open_engine: Open, settings: Settings) -> EngineError:
    """Return the error with which a reply fails."""
    async with open_engine(settings, quiet) as opened:
        with pytest.raises(EngineError) as caught:
            await said(opened.engine)
    return caught.value


async def check_that_silence_is_given_up(open_engine: Open, settings: Settings, server: Server) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "FIRST_TOKEN_TIMEOUT_S", 0.3)
        patch.setattr(streaming, "TOKEN_TIMEOUT_S", 0.3)
        error = await failure(open_engine, settings)
    assert error.code == "timeout"
    await asyncio.wait_for(server.disconnected.wait(), WAIT_S)


async def check_that_closing_disconnects(open_engine: Open, settings: Settings, server: Server) -> None:
    server.reply, server.tokens_per_second = "word " * 5000, 50
    async with open_engine(settings, quiet) as opened:
        reply = opened.engine.reply(ASKED)
        await anext(reply)
        await reply.aclose()
        await asyncio.wait_for(server.disconnected.wait(), WAIT_S)  # the whole reply would take longer


async def check_a_server_that_goes_away(
    open_engine: Open, settings: Callable[[str], Settings], server: Server, sentence: str
) -> None:
    async with running(server.app()) as url:
        engine = open_engine(settings(url), quiet)
        opened = await engine.__aenter__()
    with pytest.raises(EngineError, match=sentence):
        await said(opened.engine)
    await engine.__aexit__(None, None, None)

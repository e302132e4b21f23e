"""A service with both telephone transports, in this process, with a language model that keeps what it is asked."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from tests.in_process import in_process
from tests.server_process import Service
from tests.servers.ollama import FakeOllama
from tests.servers.running import closed_port, running
from tests.telephone import asterisk, twilio
from tests.telephone.phone import Phone
from tests.waiting import eventually

PLACES = 2
LONG = "One two three four five six seven eight. Nine ten eleven twelve thirteen. Fourteen fifteen sixteen seventeen."
SHORT = "It is ten past nine."


@dataclass
class Exchange:
    """A service that answers calls."""

    service: Service
    audiosocket: int
    """Port for Asterisk."""
    ollama: FakeOllama

    def calling(self, transport: str, **options: Any) -> AbstractAsyncContextManager[Phone]:
        """Hold a call. transport: twilio or asterisk."""
        if transport == "twilio":
            return twilio.calling(self.service.url, **options)
        return asterisk.calling(self.audiosocket, **options)

    def said(self) -> list[tuple[str, str]]:
        """Return the conversation that the language model was last asked to continue, without the instructions."""
        messages = self.ollama.requests[-1]["messages"] if self.ollama.requests else []
        return [(one["role"], one["content"]) for one in messages if one["role"] != "system"]

    async def told(self, role: str, content: str) -> list[tuple[str, str]]:
        """Wait until the conversation contains a message; return it all."""
        await eventually(lambda: (role, content) in self.said())
        return self.said()

    async def free(self) -> None:
        """Wait until no conversation is open."""

        def sessions() -> int:
            return int(httpx.get(f"{self.service.url}/status").json()["sessions"]["open"])

        await eventually(lambda: not sessions())


@pytest.fixture(scope="module")
def ollama() -> Iterator[tuple[FakeOllama, str]]:
    fake = FakeOllama()
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(running(fake.app())) as address:
        yield fake, address


@pytest.fixture(scope="module")
def exchange(ollama: tuple[FakeOllama, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    fake, address = ollama
    port = closed_port()
    settings = {
        "TWILIO_AUTH_TOKEN": twilio.TOKEN, "AUDIOSOCKET_ADDRESS": f"127.0.0.1:{port}", "MAX_SESSIONS": str(PLACES),
        "LLM_ENGINE": "ollama", "LLAMA_ENDPOINT": address,
    }  # fmt: skip
    with in_process(tmp_path_factory.mktemp("exchange"), heard="what does the heron do", **settings) as service:
        yield Exchange(service, port, fake)


@pytest.fixture
async def line(exchange: Exchange) -> AsyncIterator[Callable[..., AbstractAsyncContextManager[Phone]]]:
    """Return a function that opens a call; after the test, all calls are over."""
    exchange.ollama.reply = SHORT
    exchange.ollama.requests.clear()
    yield exchange.calling
    await exchange.free()

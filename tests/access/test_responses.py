"""Large responses count in their caller's share of the memory while the client does not read them."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from pipeline.errors import Overloaded
from pipeline.settings import Settings
from server.access import Access, AccessMiddleware, budgets, work_pace
from server.access.callers import Caller
from server.access.limits import Budget, Share
from server.access.responses import CHUNK_BYTES
from server.openai.speech_output import SpeechOutput
from tests.access.calls import Route, scope
from tests.test_spoken_words import one_word, spoken
from tests.waiting import eventually

ANNA, BEN = "anna-" + "a" * 40, "ben-" + "b" * 40
DATA = bytes(range(256)) * 12_000
PATH = "/jobs/x/download"


@dataclass
class Client:
    """A client that reads from when `reads` is set."""

    reads: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[MutableMapping[str, Any]] = field(default_factory=list)

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)
        await self.reads.wait()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


async def nothing() -> dict[str, Any]:
    """Wait for a disconnect that does not come."""
    await asyncio.Event().wait()
    raise AssertionError


def service(make: Callable[[], Response], most: int) -> tuple[AccessMiddleware, Access]:
    """Return an application behind the access check whose every response is made by `make`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budgets, "MEMORY_BYTES", most)
        access = Access(Settings(api_keys=f"anna:transcribe:{ANNA},ben:transcribe:{BEN}"))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await make()(scope, receive, send)

    return AccessMiddleware(app, access), access


def request(app: AccessMiddleware, client: Client, key: str, path: str = PATH) -> asyncio.Task[None]:
    sent = scope(Route("GET", path), {"Authorization": f"Bearer {key}"})
    return asyncio.create_task(app(sent, nothing, client.send))


async def test_an_unread_response_takes_the_room_of_its_caller_and_of_no_other() -> None:
    app, access = service(lambda: Response(DATA), 2 * len(DATA) + 1000)
    deaf, second, other = Client(), Client(), Client()
    second.reads.set()
    other.reads.set()
    first = request(app, deaf, ANNA)
    await eventually(lambda: access.budgets.memory.held == len(DATA))
    await request(app, second, ANNA)
    assert [message.get("status") for message in second.sent] == [503, None]
    assert json.loads(second.body)["error"]["code"] == "overloaded"
    await request(app, other, BEN)
    assert (other.sent[0]["status"], other.body) == (200, DATA)
    deaf.reads.set()
    await first
    assert (deaf.sent[0]["status"], deaf.body) == (200, DATA)
    assert access.budgets.memory.held == 0


async def test_a_large_response_is_passed_on_in_chunks() -> None:
    for make in (lambda: Response(DATA), lambda: StreamingResponse(iter([b"head", DATA, b"tail"]))):
        client = Client()
        client.reads.set()
        app, _ = service(make, 10**8)
        await request(app, client, ANNA)
        assert max(len(message.get("body", b"")) for message in client.sent) == CHUNK_BYTES
        assert client.body in (DATA, b"head" + DATA + b"tail")
        assert [message.get("more_body", False) for message in client.sent[1:]].count(False) == 1
        assert not client.sent[-1].get("more_body")


async def test_a_response_waits_between_parts_if_its_caller_is_too_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(work_pace, "WORK_BURST_S", 0.0)

    async def parts() -> AsyncGenerator[bytes, None]:
        for _ in range(3):
            until = time.thread_time() + 0.02
            while time.thread_time() < until:
                pass
            yield b"part"

    app, access = service(lambda: StreamingResponse(parts()), 10**8)
    client = Client()
    client.reads.set()
    begun = time.monotonic()
    with access.work.conversation(Caller("ben", frozenset())):
        await request(app, client, ANNA)
    assert client.body == b"part" * 3
    assert time.monotonic() - begun > 3 * 0.02 / work_pace.WORK_PER_S * 0.9


async def test_a_disconnect_gives_the_room_back() -> None:
    app, access = service(lambda: Response(DATA), 10**8)
    first = request(app, Client(), ANNA)
    await eventually(lambda: access.budgets.memory.held == len(DATA))
    first.cancel()
    await asyncio.wait([first])
    assert access.budgets.memory.held == 0


@pytest.mark.parametrize(("most", "fits"), [(10**7, True), (100_000, False)])
async def test_speech_with_the_times_of_its_words_counts_while_it_is_made(most: int, fits: bool) -> None:
    """Three seconds of 48,000 bytes, thrice."""
    held = Share(Budget(most), ("key", "anna"))
    whole = SpeechOutput("pcm", 1.0, one_word).whole(spoken(3), held)
    if fits:
        assert len(json.loads(await whole)["timestamps"]) == 3
        assert held.bytes == 0, "the response counts its own bytes"
    else:
        with pytest.raises(Overloaded):
            await whole

"""State that processes share through Redis: conversations to resume, places, and a secret."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from jobs.cache import open_cache
from pipeline.conversation.history import Conversation
from pipeline.conversation.saved import restored, saved
from pipeline.llm import Message, ToolCall
from pipeline.support.background import background
from pipeline.support.json_types import JsonObject
from pipeline.workers.sharing.link import Link
from server.access.callers import USE, Caller
from server.access.client_secrets import ClientSecrets
from server.access.page_tokens import PageTokens
from server.fronts.state import SharedState
from server.sharing.main_process import ThroughMainProcess
from server.sharing.opening import Shared
from server.sharing.places import Elsewhere, Taken
from server.sharing.redis import open_redis
from server.sharing.values import ValuesHere
from server.talk.copies import Copies
from tests.servers.redis_server import needs_redis, redis
from tests.servers.running import closed_port
from tests.waiting import eventually

ANNA = ("key", "anna")


def spoken_to() -> Conversation:
    conversation = Conversation("Be brief.", budget_tokens=1000)
    steps = [(Message("assistant", "", calls=(ToolCall("1", "clock", "{}"),)), Message("tool", "noon", call_id="1"))]
    conversation.record("what time is it", "en", "It is noon.", steps=steps)
    return conversation


async def test_a_restored_conversation_has_the_same_prompt() -> None:
    conversation = spoken_to()
    other = restored(saved(conversation), budget_tokens=1000)
    assert other.prompt("and now", "en") == conversation.prompt("and now", "en")
    assert (other.id, other.language) == (conversation.id, conversation.language)


async def test_a_copy_has_the_heard_part_of_a_running_reply() -> None:
    conversation = spoken_to()
    reply = conversation.place().id
    other = restored(saved(conversation, (reply, "Once upon")), budget_tokens=1000)
    assert other.messages[-1].content == "Once upon …"


@asynccontextmanager
async def through_main_process(
    fronts: int, kind: type[ThroughMainProcess] = ThroughMainProcess
) -> AsyncIterator[list[ThroughMainProcess]]:
    """Share between fronts, all in this process."""
    state = SharedState()
    async with AsyncExitStack() as stack:
        shared: list[ThroughMainProcess] = []
        for number in range(fronts):
            main, front = [await Link.over(end) for end in socket.socketpair()]
            state.join(main, str(number))
            for link in (main, front):
                await stack.enter_async_context(background(link.run()))
            shared.append(kind(front))
        yield shared


def test_expired_values_do_not_stay_in_memory() -> None:
    now = [0.0]
    values = ValuesHere(10, 1000, clock=lambda: now[0])
    values.put("old", "what a user has said", 10.0)
    values.put("new", "something else", 30.0)
    now[0] = 20.0
    values.sweep()
    assert "old" not in values._values
    assert values.get("new")


async def one_of_two_gets_it(shared: Sequence[Shared]) -> None:
    """Resume a conversation in two processes at once, while its connection is still open in a third one."""
    left: list[str] = []
    conversation = spoken_to()
    here, *there = (Copies(one, 60, most=10, budget_tokens=1000) for one in shared)
    for copies, one in zip([here, *there], shared, strict=True):
        one.when_taken(copies.give_up)
    here.open("token", ANNA, lambda: saved(conversation), lambda: left.append("here"))
    assert await here.write()
    found = await asyncio.gather(*(copies.take("token", ANNA) for copies in there))
    for number, (copies, resumed) in enumerate(zip(there, found, strict=True)):
        if resumed is not None:
            copies.open("token", ANNA, partial(saved, resumed), partial(left.append, str(number)))
    here.changed("token", ANNA)
    for copies in [here, *there]:
        assert await copies.write()
    assert "here" in left
    kept = sum(resumed is not None for resumed in found) - (len(left) - 1)
    assert kept == 1, (found, left)


async def test_one_of_two_fronts_that_resume_at_once_keeps_the_conversation() -> None:
    async with through_main_process(3) as shared:
        await one_of_two_gets_it(shared)


@needs_redis
async def test_one_of_two_machines_that_resume_at_once_keeps_the_conversation(tmp_path: Path) -> None:
    port = closed_port()
    with redis(tmp_path, port):
        async with AsyncExitStack() as stack:
            url = f"redis://127.0.0.1:{port}"
            await one_of_two_gets_it([await stack.enter_async_context(open_redis(url)) for _ in range(3)])


@needs_redis
async def test_conversations_and_places_are_shared_through_redis(tmp_path: Path) -> None:
    port = closed_port()
    url = f"redis://127.0.0.1:{port}"
    left: list[bool] = []
    with redis(tmp_path, port):
        async with open_redis(url) as one, open_redis(url) as other:
            elsewhere = Elsewhere()
            one.share_places(lambda: {"conversations": Taken(2, {ANNA: 2})}, {"conversations": Elsewhere()})
            other.share_places(lambda: {"conversations": Taken(0)}, {"conversations": elsewhere})
            await eventually(lambda: elsewhere.of[ANNA] == 2)

            here, there = (Copies(shared, 60, most=10, budget_tokens=1000) for shared in (one, other))
            conversation = spoken_to()
            here.open("token", ANNA, lambda: saved(conversation), lambda: left.append(True))
            assert await here.write()
            assert await there.take("token", ("key", "peter")) is None
            resumed = await there.take("token", ANNA)
            assert resumed is not None
            assert resumed.messages == conversation.messages
            assert await there.take("token", ANNA) is None, "a token works once"
            here.changed("token", ANNA)
            await here.write()
            assert left, "the connection that had it ends"


async def test_a_copy_that_cannot_be_written_stops_no_other() -> None:
    def fail() -> JsonObject:
        raise ValueError

    async with through_main_process(2) as shared:
        here, there = (Copies(one, 60, most=10, budget_tokens=1000) for one in shared)
        conversation = spoken_to()
        here.open("first", ANNA, fail, lambda: None)
        here.open("token", ANNA, lambda: saved(conversation), lambda: None)
        assert await here.write()
        assert await there.take("token", ANNA) is not None


async def test_copies_go_on_after_any_error_of_the_shared_values() -> None:
    class Failing(ThroughMainProcess):
        async def remove(self, key: str) -> None:
            raise ValueError(key)

    async with through_main_process(1, Failing) as [front]:
        here = Copies(front, 60, most=10, budget_tokens=1000)
        here.open("token", ANNA, lambda: saved(spoken_to()), lambda: None)
        here.forget("token", ANNA)
        assert not await here.write(), "it is tried again"


@needs_redis
async def test_many_commands_at_once_wait_for_a_connection(tmp_path: Path) -> None:
    port = closed_port()
    url = f"redis://127.0.0.1:{port}"
    with redis(tmp_path, port):
        async with open_redis(url) as one, open_cache(url) as cache:
            await one.put("key", "value", 60)
            assert set(await asyncio.gather(*(one.get("key") for _ in range(100)))) == {"value"}
            await cache.put("job", "body")
            assert set(await asyncio.gather(*(cache.get("job") for _ in range(100)))) == {"body"}


async def test_only_plausible_secrets_are_looked_up_elsewhere() -> None:
    asked: list[str] = []

    class Asked(ThroughMainProcess):
        async def get(self, key: str) -> str | None:
            asked.append(key)
            return await super().get(key)

    async with through_main_process(1, Asked) as [front]:
        secrets, other = ClientSecrets(), ClientSecrets()
        secrets.shared = other.shared = front
        made, _ = secrets.make(Caller("app", USE), {}, 60.0)
        await secrets.tell(made)
        for value, path in (("ek_x", "/v1/realtime"), ("ek_" + "x" * 1000, "/v1/realtime"), (made, "/health")):
            assert await other.look_up(value, path) is None
        assert not asked
        assert await other.look_up(made, "/v1/realtime") is not None


@needs_redis
async def test_a_redis_that_has_lost_its_memory_ends_no_conversation(tmp_path: Path) -> None:
    port = closed_port()
    left: list[bool] = []
    async with open_redis(f"redis://127.0.0.1:{port}") as one:
        conversation = spoken_to()
        here, there = (Copies(one, 60, most=10, budget_tokens=1000) for _ in range(2))
        here.open("token", ANNA, lambda: saved(conversation), lambda: left.append(True))
        with redis(tmp_path, port):
            assert await here.write()
        here.changed("token", ANNA)
        assert not await here.write(), "Redis is gone"
        with redis(tmp_path, port):
            assert await here.write()
            assert not left
            assert await there.take("token", ANNA) is not None


@needs_redis
async def test_a_closed_connection_is_resumed_where_it_was_without_redis(tmp_path: Path) -> None:
    port = closed_port()
    conversation = spoken_to()
    async with open_redis(f"redis://127.0.0.1:{port}") as one:
        here, there = (Copies(one, 60, most=10, budget_tokens=1000) for _ in range(2))
        with redis(tmp_path, port):
            for token in ("gone", "forgotten", "moved"):
                here.open(token, ANNA, lambda: saved(conversation), lambda: None)
                here.close(token, ANNA)
            assert await here.write()
            moved = await there.take("moved", ANNA)
            assert moved is not None
            there.open("moved", ANNA, lambda: saved(moved), lambda: None)
            assert await there.write()
            there.forget("moved", ANNA)  # the client has a new token
            assert await there.write()
            assert await here.take("moved", ANNA) is None
        assert await here.take("gone", ANNA) is not None, "Redis is gone"
        with redis(tmp_path, port):
            assert await here.take("forgotten", ANNA) is not None, "Redis has lost its memory"


@needs_redis
async def test_page_tokens_are_shared_once_redis_is_there(tmp_path: Path) -> None:
    port = closed_port()
    url = f"redis://127.0.0.1:{port}"
    async with open_redis(url) as one, open_redis(url) as other:
        here, there = (PageTokens("", 60.0) for _ in range(2))
        await one.share_secret(here.share)
        await other.share_secret(there.share)
        caller = Caller("app", USE)
        assert there.find(here.make(caller)[0]) is None
        with redis(tmp_path, port):
            await eventually(lambda: there.find(here.make(caller)[0]))

"""Models that the main process has, called by fronts over links."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest

from pipeline.errors import EngineError, WorkerCrashed
from pipeline.support.background import background
from pipeline.workers import EngineSpec, Hosting, Serving, Worker
from pipeline.workers.caller import Urgency, calling
from pipeline.workers.sharing.link import Link
from pipeline.workers.sharing.models import FrontCalls, SharedModels
from pipeline.workers.sharing.worker import open_shared, receive
from tests.waiting import eventually

SPEC = EngineSpec("counter", "tests.workers.engines:Counter", 10)
SERVING = Serving(30.0, batched=frozenset({"hear"}), batch=4)


class Fronts:
    """A main process and its fronts, all in this process."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.models = SharedModels(Hosting(isolated=True, max_wait_s=15.0, idle_s=0.0))
        self.calls: list[FrontCalls] = []
        """The calls of each front."""
        self._stack = stack

    async def front(self) -> tuple[Link, Link]:
        """Start a front; return its end of the link, and the main process's."""
        main, front = [await Link.over(end) for end in socket.socketpair()]
        self.calls.append(self.models.join(main))
        receive(front)
        for link in (main, front):
            await self._stack.enter_async_context(background(link.run()))
        return front, main

    async def worker(self, spec: EngineSpec = SPEC) -> Worker:
        """Open the model in a new front."""
        front, _ = await self.front()
        return await self._stack.enter_async_context(open_shared(front, spec, SERVING))


@pytest.fixture
async def fronts() -> AsyncIterator[Fronts]:
    async with AsyncExitStack() as stack:
        fronts = Fronts(stack)
        stack.push_async_callback(fronts.models.close)
        await stack.enter_async_context(background(fronts.models.watch()))
        yield fronts


async def test_fronts_share_one_process_of_a_model(fronts: Fronts) -> None:
    one, other = await fronts.worker(), await fronts.worker()
    assert await one.call("pid") == await other.call("pid")
    assert [i async for i in other.stream("count", 20, 0)] == list(range(10, 30))


async def test_errors_are_those_of_the_engine(fronts: Fronts) -> None:
    one = await fronts.worker()
    with pytest.raises(EngineError, match="asked to fail") as raised:
        await one.call("fail")
    assert raised.value.code == "timeout"
    with pytest.raises(EngineError, match="strange"):
        await one.call("fail_strangely")
    with pytest.raises(WorkerCrashed):
        await one.call("die")
    await eventually(lambda: one.load().restarts > 0)
    with pytest.raises(EngineError, match="below zero"):
        await fronts.worker(EngineSpec("counter", SPEC.target, -1))
    assert await one.call("echo", 1) == 1


async def test_a_closed_stream_stops_the_engine_of_the_main_process(fronts: Fronts, tmp_path: Path) -> None:
    one, notes = await fronts.worker(), tmp_path / "steps"
    async with aclosing(one.stream("note", str(notes), 1000, 0.02)) as stream:
        await anext(stream)
    assert await one.call("echo", 1) == 1
    assert len(notes.read_text().splitlines()) < 500


async def test_a_slow_reader_stops_its_call_and_no_other(fronts: Fronts, tmp_path: Path) -> None:
    one, notes = await fronts.worker(), tmp_path / "steps"
    other = await fronts.worker(EngineSpec("other", SPEC.target, 0))
    async with aclosing(one.stream("note", str(notes), 10_000, 0)) as stream:
        await anext(stream)
        assert await other.call("echo", "quick") == "quick"
        await asyncio.sleep(0.3)
        assert len(notes.read_text().splitlines()) < 10_000


async def test_a_front_that_does_not_respond_holds_no_replica(fronts: Fronts) -> None:
    frozen, other = await fronts.worker(), await fronts.worker()
    async with aclosing(frozen.stream("count", 10_000, 0)) as stream:
        await anext(stream)
        await eventually(lambda: any(one.telling for one in fronts.calls[0]._running.values()))
        fronts.calls[0].stall()
        assert await other.call("echo", "quick") == "quick"
        with pytest.raises(EngineError, match="did not respond"):
            async for _ in stream:
                pass


async def test_a_waiting_call_that_becomes_urgent_overtakes(fronts: Fronts) -> None:
    one, other = await fronts.worker(), await fronts.worker()
    order: list[str] = []

    async def call(worker: Worker, name: str) -> None:
        order.append(await worker.call("echo", name))

    async with aclosing(one.stream("count", 100, 0.02)) as running, asyncio.TaskGroup() as calls:
        await anext(running)
        with calling(session="a", urgency=Urgency.LATER):
            calls.create_task(call(other, "first"))
        with calling(session="b", urgency=Urgency.LATER) as speculative:
            calls.create_task(call(one, "second"))
        await eventually(lambda: one.load().waiting == 2)
        speculative.hasten(Urgency.NOW)
        await asyncio.sleep(0.05)
        await running.aclose()
    assert order == ["second", "first"]


async def test_a_model_outlives_a_front_until_its_successor_is_there(fronts: Fronts) -> None:
    front, main = await fronts.front()
    async with AsyncExitStack() as stack:
        worker = await stack.enter_async_context(open_shared(front, SPEC, SERVING))
        pid = await worker.call("pid")
        main.close()  # the front has died
        successor = await fronts.worker()
        await fronts.models.forget(main)
        assert await successor.call("pid") == pid

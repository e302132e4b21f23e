"""Who is served next by a shared model."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pipeline.errors import Overloaded
from pipeline.workers.scheduler import Scheduler, Urgency, calling, for_session, less_urgent
from tests import virtual_time

Model = Callable[..., Coroutine[Any, Any, None]]


def served(calls: list[tuple[str, Urgency]], *, max_waiting: int = 100, size: int = 1) -> list[str]:
    """The order in which calls are served that all arrive while the model is busy."""
    order: list[str] = []

    async def run() -> None:
        scheduler = Scheduler("model", max_waiting=max_waiting, size=size)

        async def use(name: str) -> None:
            await scheduler.enter()
            order.append(name)
            await asyncio.sleep(0.1)
            scheduler.leave()

        tasks = [asyncio.create_task(use("busy")) for _ in range(size)]
        await asyncio.sleep(0.01)
        for session, urgency in calls:
            with calling(session=session, urgency=urgency):
                tasks.append(asyncio.create_task(use(session)))
        await asyncio.gather(*tasks)
        assert (scheduler.running, scheduler.waiting) == (0, 0)

    virtual_time.run(run())
    return order[size:]


def test_urgent_calls_come_first() -> None:
    calls = [("file", Urgency.FILE), ("partial", Urgency.LATER), ("guess", Urgency.AHEAD), ("final", Urgency.NOW)]
    assert served(calls) == ["final", "guess", "partial", "file"]


def test_sessions_take_turns_however_much_one_of_them_asks() -> None:
    calls = [("greedy", Urgency.NOW)] * 5 + [("a", Urgency.NOW), ("b", Urgency.NOW), ("a", Urgency.NOW)]
    assert served(calls) == ["greedy", "a", "b", "greedy", "a", "greedy", "greedy", "greedy"]


def test_too_many_waiting_are_refused_at_once_with_a_time_to_come_back() -> None:
    with pytest.raises(Overloaded) as raised:
        served([("a", Urgency.NOW)] * 4, max_waiting=3)
    assert raised.value.retry_after_s > 0


def test_a_guess_that_is_committed_becomes_urgent_while_it_waits() -> None:
    order: list[str] = []

    async def run() -> None:
        scheduler = Scheduler("model", max_waiting=10)

        async def use(name: str) -> None:
            await scheduler.enter()
            order.append(name)
            await asyncio.sleep(0.1)
            scheduler.leave()

        tasks = [asyncio.create_task(use("busy"))]
        await asyncio.sleep(0.01)
        for name in ("first", "second"):
            with calling(session=name, urgency=Urgency.AHEAD) as caller:
                tasks.append(asyncio.create_task(use(name)))
        await asyncio.sleep(0.01)
        caller.urgency = Urgency.NOW
        await asyncio.gather(*tasks)

    virtual_time.run(run())
    assert order == ["busy", "second", "first"]


@pytest.mark.parametrize("when_s", [0.05, 0.1])  # while it waits; in the moment in which its turn comes
def test_a_caller_that_gives_up_blocks_nobody(when_s: float) -> None:
    async def run() -> None:
        scheduler = Scheduler("model", max_waiting=10)
        await scheduler.enter()
        waiting = asyncio.create_task(scheduler.enter())
        loop = asyncio.get_running_loop()
        loop.call_later(0.1, scheduler.leave)
        loop.call_later(when_s, waiting.cancel)
        await asyncio.wait([waiting])
        await asyncio.sleep(0.2)
        assert (scheduler.running, scheduler.waiting) == (0, 0)
        await scheduler.enter()

    virtual_time.run(run())


def test_the_caller_of_a_session_stays_the_same_one() -> None:
    with calling(session="a", urgency=Urgency.AHEAD) as caller:
        with for_session("a") as inner:
            assert inner is caller
        with for_session("b") as other:
            assert (other.session, other.urgency) == ("b", Urgency.AHEAD)


def test_less_urgent_never_makes_more_urgent() -> None:
    with calling(urgency=Urgency.FILE), less_urgent(Urgency.LATER) as caller:
        assert caller.urgency is Urgency.FILE
    with calling(urgency=Urgency.NOW), less_urgent(Urgency.LATER) as caller:
        assert caller.urgency is Urgency.LATER

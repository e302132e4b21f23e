"""Who is served next by a shared model."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from pipeline.errors import Overloaded
from pipeline.workers.scheduler import Caller, Scheduler, Urgency, calling, current, for_session, less_urgent
from tests import virtual_time


@dataclass(eq=False)
class Call:
    """What waits; `served` tells that its turn came."""

    name: str = ""
    method: str = "hear"
    batched: bool = False
    caller: Caller = field(default_factory=current)
    served: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def model(
    scheduler: Scheduler[Call], order: list[list[str]], *, size: int = 1, most: int = 1
) -> AsyncIterator[None]:
    """Replicas that need a tenth of a second for a call or a batch, and write down what they served."""

    async def replica() -> None:
        while True:
            calls = await scheduler.take(most)
            order.append([call.name for call in calls])
            for call in calls:
                call.served.set()
            await asyncio.sleep(0.1)
            scheduler.finished(calls, 0.1)

    replicas = [asyncio.create_task(replica()) for _ in range(size)]
    await asyncio.sleep(0.01)
    try:
        yield
    finally:
        for task in replicas:
            task.cancel()
        await asyncio.wait(replicas)


def served(calls: list[tuple[str, Urgency]], *, max_waiting: int = 100, size: int = 1) -> list[str]:
    """The order in which calls are served that all arrive while the model is busy."""
    order: list[list[str]] = []

    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=max_waiting, size=size)
        async with model(scheduler, order, size=size):
            for _ in range(size):
                scheduler.put(Call("busy"))
            await asyncio.sleep(0.01)
            waiting = []
            for session, urgency in calls:
                with calling(session=session, urgency=urgency):
                    waiting.append(Call(session))
                    scheduler.put(waiting[-1])
            await asyncio.gather(*(call.served.wait() for call in waiting))
            await asyncio.sleep(0.2)
            assert (scheduler.running, scheduler.waiting) == (0, 0)

    virtual_time.run(run())
    return [name for names in order[size:] for name in names]


def test_urgent_calls_come_first() -> None:
    calls = [("file", Urgency.FILE), ("partial", Urgency.LATER), ("guess", Urgency.AHEAD), ("final", Urgency.NOW)]
    assert served(calls) == ["final", "guess", "partial", "file"]


def test_sessions_take_turns_however_much_one_of_them_asks() -> None:
    calls = [("greedy", Urgency.NOW)] * 5 + [("a", Urgency.NOW), ("b", Urgency.NOW), ("a", Urgency.NOW)]
    assert served(calls) == ["greedy", "a", "b", "greedy", "a", "greedy", "greedy", "greedy"]


def test_accounts_take_turns_however_many_sessions_one_has() -> None:
    order: list[list[str]] = []

    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=100)
        async with model(scheduler, order):
            scheduler.put(Call("busy"))
            await asyncio.sleep(0.01)
            for session in ("m1", "m2", "m1", "m3", "a1", "m4", "a1"):
                with calling(session=session, account=session[0]):
                    scheduler.put(Call(session))
            await asyncio.sleep(1)

    virtual_time.run(run())
    assert [name for names in order[1:] for name in names] == ["m1", "a1", "m2", "a1", "m3", "m4", "m1"]


def test_one_account_cannot_fill_the_queue_with_many_sessions() -> None:
    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=32)
        for number in range(16):
            with calling(session=f"m{number}", account="mallory"):
                scheduler.put(Call())
        with calling(session="one more", account="mallory"), pytest.raises(Overloaded):
            scheduler.put(Call())
        with calling(session="a", account="anna"):
            scheduler.put(Call())

    virtual_time.run(run())


def test_too_many_waiting_are_refused_at_once_with_a_time_to_come_back() -> None:
    with pytest.raises(Overloaded) as raised:
        served([("a", Urgency.NOW)] * 4, max_waiting=3)
    assert raised.value.retry_after_s > 0


def test_as_many_as_there_are_replicas_are_served_beside_those_that_wait() -> None:
    assert served([("a", Urgency.NOW)] * 3, max_waiting=3, size=2) == ["a"] * 3


def test_one_session_cannot_fill_the_queue_for_all_others() -> None:
    with pytest.raises(Overloaded):
        served([("greedy", Urgency.NOW)] * 9, max_waiting=32)
    assert len(served([("greedy", Urgency.NOW)] * 8 + [("a", Urgency.NOW)], max_waiting=32)) == 9
    assert len(served([("files", Urgency.FILE)] * 20, max_waiting=32)) == 20


def test_what_would_wait_too_long_is_refused_at_once_but_no_file() -> None:
    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=100, max_wait_s=0.35)
        order: list[list[str]] = []
        async with model(scheduler, order):
            for _ in range(5):  # one runs, four wait, for 0.1 s each
                scheduler.put(Call())
                await asyncio.sleep(0)
            with calling(urgency=Urgency.LATER), pytest.raises(Overloaded) as raised:
                scheduler.put(Call())
            assert raised.value.retry_after_s == pytest.approx(0.5)
            with calling(urgency=Urgency.FILE):
                scheduler.put(Call("file"))
            await asyncio.sleep(0.25)
            with calling(urgency=Urgency.LATER):
                scheduler.put(Call("later"))  # two were served meanwhile, and the file comes after it
            await asyncio.sleep(1)
        assert order[-2:] == [["later"], ["file"]]

    virtual_time.run(run())


@pytest.mark.parametrize("ended", [False, True], ids=["while a window runs", "between two windows"])
def test_a_file_that_has_begun_is_not_refused_in_its_middle(ended: bool) -> None:
    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=1)

        def put(session: str) -> None:
            with calling(session=session, urgency=Urgency.FILE):
                scheduler.put(Call(session))

        put("a")
        taken = await scheduler.take()
        if ended:
            scheduler.finished(taken, 0.1)
        put("b")
        put("a")
        with pytest.raises(Overloaded):
            put("c")

    virtual_time.run(run())


def test_a_guess_that_is_committed_becomes_urgent_while_it_waits() -> None:
    order: list[list[str]] = []

    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=10)
        async with model(scheduler, order):
            scheduler.put(Call("busy"))
            for name in ("first", "second"):
                with calling(session=name, urgency=Urgency.AHEAD) as caller:
                    scheduler.put(Call(name))
            await asyncio.sleep(0.01)
            caller.urgency = Urgency.NOW
            await asyncio.sleep(1)

    virtual_time.run(run())
    assert order == [["busy"], ["second"], ["first"]]


def test_what_is_given_up_while_it_waits_is_never_served() -> None:
    order: list[list[str]] = []

    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=10)
        async with model(scheduler, order):
            scheduler.put(Call("busy"))
            await asyncio.sleep(0.01)
            unwanted = Call("unwanted")
            scheduler.put(unwanted)
            scheduler.put(Call("wanted"))
            scheduler.remove(unwanted)
            await asyncio.sleep(1)
            scheduler.remove(unwanted)  # nothing to do, and no error

    virtual_time.run(run())
    assert order == [["busy"], ["wanted"]]


def test_a_call_that_reaches_a_replica_as_it_stops_is_not_lost() -> None:
    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=10)
        taking = asyncio.create_task(scheduler.take())
        await asyncio.sleep(0.01)
        scheduler.put(Call("mine"))
        taking.cancel()
        await asyncio.wait([taking])
        assert taking.cancelled()
        assert scheduler.running == 0
        assert [call.name for call in await scheduler.take()] == ["mine"]
        taking = asyncio.create_task(scheduler.take())
        await asyncio.sleep(0.01)
        taking.cancel()
        scheduler.put(Call("other"))  # while the cancelled one has not run yet
        await asyncio.wait([taking])
        assert [call.name for call in await scheduler.take()] == ["other"]

    virtual_time.run(run())


def batches(arrivals: list[tuple[float, Call]], *, most: int, gather_s: float) -> list[tuple[float, list[str]]]:
    """When (seconds) which calls were taken together by one replica that needs 0.1 s for whatever it takes."""
    taken: list[tuple[float, list[str]]] = []

    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=100, gather_s=gather_s)
        loop = asyncio.get_running_loop()
        start = loop.time()
        for index, (after_s, call) in enumerate(arrivals):
            loop.call_later(after_s + index * 1e-5, scheduler.put, call)  # timers of one moment have no order
        served = 0
        while served < len(arrivals):
            calls = await scheduler.take(most)
            taken.append((round(loop.time() - start, 2), [call.name for call in calls]))
            served += len(calls)
            await asyncio.sleep(0.1)
            scheduler.finished(calls, 0.1)

    virtual_time.run(run())
    return taken


def alike(*names: str, urgency: Urgency = Urgency.NOW, method: str = "hear") -> list[Call]:
    return [Call(name, method, True, Caller(name, urgency)) for name in names]


def test_a_call_alone_waits_for_no_others_and_those_behind_it_are_taken_together() -> None:
    arrivals = [(0.05 + index / 100, call) for index, call in enumerate(alike("a", "b", "c", "d", "e"))]
    assert batches(arrivals, most=3, gather_s=0.0) == [(0.05, ["a"]), (0.15, ["b", "c", "d"]), (0.25, ["e"])]


def test_only_what_is_alike_is_taken_together() -> None:
    calls = [
        *alike("busy", "now"),
        *alike("later", urgency=Urgency.LATER),
        *alike("other", method="align"),
        *alike("too"),
        Call("alone", caller=Caller("alone")),
    ]
    taken = batches([(0.0, call) for call in calls], most=8, gather_s=0.0)
    assert [names for _, names in taken] == [["busy"], ["now", "too"], ["other"], ["alone"], ["later"]]


def test_while_many_come_together_a_batch_waits_for_as_many_as_before_and_not_longer_than_it_may() -> None:
    first = [(0.0, call) for call in alike("a", "b", "c")]
    second = [(0.2 + index * 0.01, call) for index, call in enumerate(alike("b", "c"))]
    third = [(0.4, call) for call in alike("a")]
    assert batches([*first, *second, *third], most=8, gather_s=0.02) == [
        (0.0, ["a"]),
        (0.1, ["b", "c"]),
        (0.21, ["b", "c"]),  # the second came 10 ms after the first, and was waited for
        (0.42, ["a"]),  # nobody came: 20 ms are lost, once
    ]
    late = [(5.0, call) for call in alike("a")]
    assert batches([*first, *late], most=8, gather_s=0.02)[2] == (5.0, ["a"])  # long ago is not now


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

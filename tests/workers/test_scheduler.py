"""The order in which a shared model serves its calls."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from pipeline.errors import Overloaded
from pipeline.support.background import background
from pipeline.workers.caller import Caller, Urgency, calling, current, for_file, for_session, less_urgent
from pipeline.workers.scheduler import CONVERSING_S, Scheduler
from tests import virtual_time


@dataclass(eq=False)
class Call:
    """A waiting call; `served` reports its turn."""

    name: str = ""
    method: str = "hear"
    batched: bool = False
    caller: Caller = field(default_factory=current)
    served: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def model(
    scheduler: Scheduler[Call], order: list[list[str]], *, size: int = 1, most: int = 1
) -> AsyncIterator[None]:
    """Replicas that need a tenth of a second for a call or a batch, and log what they served."""

    async def replica(number: int) -> None:
        while True:
            calls = await scheduler.take(most, replica=number)
            order.append([call.name for call in calls])
            for call in calls:
                call.served.set()
            await asyncio.sleep(0.1)
            scheduler.finished(calls, 0.1)

    replicas = [asyncio.create_task(replica(number)) for number in range(size)]
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


def test_sessions_take_turns_whatever_one_of_them_sends() -> None:
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


def test_calls_over_the_queue_limit_are_refused_with_a_retry_delay() -> None:
    with pytest.raises(Overloaded) as raised:
        served([("a", Urgency.NOW)] * 4, max_waiting=3)
    assert raised.value.retry_after_s > 0


def test_calls_for_free_replicas_do_not_count_as_waiting() -> None:
    assert served([("a", Urgency.NOW)] * 3, max_waiting=3, size=2) == ["a"] * 3


def test_one_session_cannot_fill_the_queue() -> None:
    with pytest.raises(Overloaded):
        served([("greedy", Urgency.NOW)] * 9, max_waiting=32)
    assert len(served([("greedy", Urgency.NOW)] * 8 + [("a", Urgency.NOW)], max_waiting=32)) == 9
    assert len(served([("files", Urgency.FILE)] * 20, max_waiting=32)) == 20


def test_calls_that_would_wait_too_long_are_refused_except_files() -> None:
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
                scheduler.put(Call("later"))  # two were served meanwhile, and the file comes after that one
            await asyncio.sleep(1)
        assert order[-2:] == [["later"], ["file"]]

    virtual_time.run(run())


@pytest.mark.parametrize("ended", [False, True], ids=["while a window runs", "between two windows"])
def test_a_running_file_is_not_refused_midway(ended: bool) -> None:
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


def test_files_for_which_no_user_waits_take_no_room_from_others() -> None:
    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=2)

        def put(session: str, urgency: Urgency) -> None:
            with calling(session=session, urgency=urgency):
                scheduler.put(Call(session))

        for name in "ab":
            put(name, Urgency.IDLE)
        with pytest.raises(Overloaded):
            put("c", Urgency.IDLE)
        for name in "de":
            put(name, Urgency.FILE)
        with pytest.raises(Overloaded):
            put("f", Urgency.FILE)
        put("user", Urgency.NOW)

    virtual_time.run(run())


def test_a_committed_speculative_call_becomes_urgent_in_the_queue() -> None:
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


def test_a_call_cancelled_while_waiting_is_never_served() -> None:
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


def test_a_call_that_reaches_a_stopping_replica_is_not_lost() -> None:
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
    """Start times (seconds) and calls of each batch of one replica, which needs 0.1 s per batch."""
    taken: list[tuple[float, list[str]]] = []

    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=100, gather_s=gather_s)
        loop = asyncio.get_running_loop()
        start = loop.time()
        for index, (after_s, call) in enumerate(arrivals):
            loop.call_later(after_s + index * 1e-5, scheduler.put, call)  # timers for the same time have no order
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


def test_a_lone_call_starts_at_once_and_later_ones_form_a_batch() -> None:
    arrivals = [(0.05 + index / 100, call) for index, call in enumerate(alike("a", "b", "c", "d", "e"))]
    assert batches(arrivals, most=3, gather_s=0.0) == [(0.05, ["a"]), (0.15, ["b", "c", "d"]), (0.25, ["e"])]


def test_only_similar_calls_are_batched() -> None:
    calls = [
        *alike("busy", "now"),
        *alike("later", urgency=Urgency.LATER),
        *alike("other", method="align"),
        *alike("too"),
        Call("alone", caller=Caller("alone")),
    ]
    taken = batches([(0.0, call) for call in calls], most=8, gather_s=0.0)
    assert [names for _, names in taken] == [["busy"], ["now", "too"], ["other"], ["alone"], ["later"]]


def test_a_batch_waits_briefly_for_as_many_calls_as_the_last_one() -> None:
    first = [(0.0, call) for call in alike("a", "b", "c")]
    second = [(0.2 + index * 0.01, call) for index, call in enumerate(alike("b", "c"))]
    third = [(0.4, call) for call in alike("a")]
    assert batches([*first, *second, *third], most=8, gather_s=0.02) == [
        (0.0, ["a"]),
        (0.1, ["b", "c"]),
        (0.21, ["b", "c"]),  # the second came 10 ms after the first, and the batch waited for it
        (0.42, ["a"]),  # no other call came: 20 ms are lost, once
    ]
    late = [(5.0, call) for call in alike("a")]
    # A batch from long ago does not make the next one wait.
    assert batches([*first, *late], most=8, gather_s=0.02)[2] == (5.0, ["a"])


def test_replicas_share_the_waiting_calls() -> None:
    order: list[list[str]] = []

    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=100, size=2)
        async with model(scheduler, order, size=2, most=8):
            for call in alike(*"abcdefgh"):
                scheduler.put(call)
            await asyncio.sleep(0.15)

    virtual_time.run(run())
    assert order == [["a", "c", "d", "e"], ["b", "f", "g", "h"]]


def test_files_have_small_batches_while_somebody_converses() -> None:
    taken: list[int] = []

    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=100)

        async def take(count: int) -> None:
            for call in alike(*"abcdefgh"[:count], urgency=Urgency.FILE):
                scheduler.put(call)
            calls = await scheduler.take(1, 8, 2)
            taken.append(len(calls))
            scheduler.finished(calls, 0.1)

        await take(4)
        (said,) = alike("said", urgency=Urgency.LATER)
        scheduler.put(said)
        scheduler.finished(await scheduler.take(1, 8, 2), 0.1)
        await take(4)
        await asyncio.sleep(CONVERSING_S)
        await take(4)

    virtual_time.run(run())
    assert taken == [4, 2, 6]


def test_files_leave_a_replica_free_for_users_who_converse() -> None:
    order: list[list[str]] = []

    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=100, size=2)
        async with model(scheduler, order, size=2):
            (said,) = alike("said", urgency=Urgency.NOW)
            scheduler.put(said)
            await asyncio.sleep(0.15)
            for call in alike(*"abc", urgency=Urgency.FILE):
                scheduler.put(call)
            await asyncio.sleep(0.05)
            (asked,) = alike("asked", urgency=Urgency.NOW)
            scheduler.put(asked)
            await asyncio.sleep(0.01)
            assert order == [["said"], ["a"], ["asked"]]
            await asyncio.sleep(0.5)
            assert order[3:] == [["b"], ["c"]]
            await asyncio.sleep(CONVERSING_S)
            order.clear()
            for call in alike(*"defg", urgency=Urgency.FILE):
                scheduler.put(call)
            await asyncio.sleep(0.15)
            assert order == [["d"], ["e"], ["f"], ["g"]]
            assert scheduler.running == 2

    virtual_time.run(run())


def test_a_call_of_the_service_itself_takes_nothing_from_files() -> None:
    taken: list[int] = []

    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=100)
        scheduler.put(Call("described"))
        scheduler.finished(await scheduler.take(), 0.1)
        for call in alike(*"abcd", urgency=Urgency.FILE):
            scheduler.put(call)
        taken.append(len(await scheduler.take(1, 4, 1)))

    virtual_time.run(run())
    assert taken == [4]


def test_sessions_of_one_account_leave_a_replica_free_for_others() -> None:
    order: list[list[str]] = []

    def of(account: str, session: str, name: str) -> Call:
        return Call(name, caller=Caller(session, account=account))

    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=100, size=2)
        async with model(scheduler, order, size=2):
            for number in range(4):  # alone, the account uses both
                scheduler.put(of("many", str(number), f"many {number}"))
            await asyncio.sleep(0.15)
            assert len(order) == 4
            scheduler.put(of("one", "anna", "first"))
            await asyncio.sleep(0.15)
            order.clear()
            for number in range(4):
                scheduler.put(of("many", str(number), f"many {number}"))
            await asyncio.sleep(0.01)
            scheduler.put(of("one", "anna", "second"))
            await asyncio.sleep(0.01)
            assert order[:2] == [["many 0"], ["second"]]
            await asyncio.sleep(0.5)
            assert order[2:] == [["many 1"], ["many 2"], ["many 3"]]
            order.clear()
            await asyncio.sleep(CONVERSING_S)
            for number in range(2):
                scheduler.put(of("many", str(number), f"many {number}"))
            await asyncio.sleep(0.01)
            assert len(order) == 2

    virtual_time.run(run())


class Replicas:
    """A model whose first replica has the highest priority; a call takes a tenth of a second."""

    def __init__(self, size: int = 2) -> None:
        self.scheduler = Scheduler[Call]("model", max_waiting=100, size=size)
        self.on: dict[str, int] = {}
        """Replica of each call that has begun."""
        self._size = size

    def put(self, name: str, account: str, urgency: Urgency = Urgency.NOW, session: str = "") -> Call:
        call = Call(name, caller=Caller(session or name, urgency, account))
        self.scheduler.put(call)
        return call

    async def ask(self, name: str, account: str) -> None:
        """Put a call, and wait until it has ended."""
        await self.put(name, account).served.wait()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async def replica(number: int) -> None:
            while True:
                (call,) = await self.scheduler.take(replica=number)
                self.on[call.name] = number
                await asyncio.sleep(0.1)
                self.scheduler.finished([call], 0.1)
                call.served.set()

        async with AsyncExitStack() as stack:
            for number in range(self._size):
                await stack.enter_async_context(background(replica(number)))
            await asyncio.sleep(0.01)
            yield


def test_an_account_with_many_calls_leaves_others_the_first_replica() -> None:
    async def run() -> None:
        model = Replicas()
        async with model.open():
            await model.ask("hello", "anna")
            for number in range(30):
                model.put(f"many {number}", "mallory")
            await asyncio.sleep(0.35)  # the first of them had a turn on each
            model.on.clear()
            for number in range(10):
                await model.ask(f"question {number}", "anna")
                await asyncio.sleep(0.05)
            await asyncio.gather(*(model.ask(f"question at once {number}", "anna") for number in range(3)))
            assert {model.on[name] for name in model.on if name.startswith("question")} == {0}
            assert {model.on[name] for name in model.on if name.startswith("many")} == {1}

    virtual_time.run(run())


def test_one_call_at_a_time_is_on_the_first_replica() -> None:
    async def run() -> None:
        model = Replicas()
        async with model.open():
            for number in range(10):
                await model.ask(f"often {number}", "anna")
            await model.ask("once", "bob")
            await model.ask("next", "anna")
            assert set(model.on.values()) == {0}
            model.put("other", "bob")
            await asyncio.sleep(0.05)
            model.put("partial", "anna", Urgency.LATER, "talk")
            await asyncio.sleep(0.06)
            model.put("final", "anna", session="talk")
            await asyncio.sleep(0.01)
            assert (model.on["other"], model.on["partial"], model.on["final"]) == (0, 1, 0)

    virtual_time.run(run())


def test_files_leave_the_first_replica_to_conversations() -> None:
    async def run() -> None:
        model = Replicas()
        async with model.open():
            await model.ask("hello", "anna")
            for number in range(3):
                model.put(f"file {number}", "bob", Urgency.FILE)
            await asyncio.sleep(0.05)
            await model.ask("question", "anna")
            await asyncio.sleep(0.5)
            assert model.on == {"hello": 0, "question": 0, **dict.fromkeys(("file 0", "file 1", "file 2"), 1)}

    virtual_time.run(run())


def test_calls_of_an_account_do_not_join_a_batch_on_the_last_replica() -> None:
    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=100, size=2)

        def put(name: str, account: str) -> None:
            scheduler.put(Call(name, batched=True, caller=Caller(name, account=account)))

        put("first", "anna")
        scheduler.finished(await scheduler.take(8), 0.01)
        put("before", "mallory")
        scheduler.finished(await scheduler.take(8), 0.1)
        put("long", "mallory")
        (long,) = await scheduler.take(8, replica=1)
        put("question", "anna")
        for number in range(4):
            put(f"long {number}", "mallory")
        batch = await scheduler.take(8)
        assert [call.name for call in batch] == ["question"]
        scheduler.finished([long], 0.1)
        assert {call.caller.account for call in await scheduler.take(8, replica=1)} == {"mallory"}

    virtual_time.run(run())


@pytest.mark.parametrize(
    ("session", "first", "both"),
    [("anna", Urgency.LATER, True), ("anna", Urgency.NOW, False), ("", Urgency.LATER, False)],
)
def test_a_session_is_not_behind_its_less_urgent_calls(session: str, first: Urgency, both: bool) -> None:
    """Calls without a session are those of requests, of which an account can send many."""
    order: list[list[str]] = []

    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=100, size=2)
        async with model(scheduler, order, size=2):
            scheduler.put(Call("other", caller=Caller("other", account="other")))
            await asyncio.sleep(0.15)
            for name, urgency in (("first", first), ("final", Urgency.NOW)):
                scheduler.put(Call(name, caller=Caller(session, urgency, account="one")))
            await asyncio.sleep(0.01)
            assert order == [["other"], ["first"], ["final"]][: 3 if both else 2]

    virtual_time.run(run())


def test_files_use_all_replicas_again_when_users_are_gone() -> None:
    order: list[list[str]] = []

    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=1000, size=2)
        async with model(scheduler, order, size=2):
            (said,) = alike("said", urgency=Urgency.NOW)
            scheduler.put(said)
            await asyncio.sleep(0.1)
            for call in alike(*(str(number) for number in range(900)), urgency=Urgency.FILE):
                scheduler.put(call)
            await asyncio.sleep(CONVERSING_S)
            one_replica = len(order)
            await asyncio.sleep(10)
            assert 190 < len(order) - one_replica < 210
            assert 290 < one_replica < 310

    virtual_time.run(run())


@pytest.mark.parametrize(("seconds", "others", "together"), [(0.1, True, 1), (0.1, False, 8), (0.01, True, 8)])
def test_one_account_has_a_small_part_of_a_batch_while_others_wait(seconds: float, others: bool, together: int) -> None:
    """A slow model runs few calls of one account together, so that another user need not wait for all of them."""

    async def run() -> None:
        scheduler = Scheduler[Call]("model", max_waiting=100)

        def put(name: str, account: str) -> None:
            with calling(session=name, urgency=Urgency.NOW, account=account):
                scheduler.put(Call(name, batched=True))

        for _ in range(100):  # so that it knows how long a call takes
            put("warm", "mallory")
            scheduler.finished(await scheduler.take(), seconds)
        if others:
            put("question", "anna")
            scheduler.finished(await scheduler.take(), seconds)
        for number in range(8):
            put(f"flood {number}", "mallory")
        batch = await scheduler.take(8)
        assert len(batch) == together
        if others:
            scheduler.finished(batch, seconds * together)
            put("next question", "anna")
            for number in range(8):
                put(f"more {number}", "mallory")
            batch = await scheduler.take(8)
            assert batch[0].name == "next question"
        assert sum(call.caller.account == "mallory" for call in batch) <= together

    virtual_time.run(run())


def test_a_sessions_caller_is_reused() -> None:
    with calling(session="a", urgency=Urgency.AHEAD) as caller:
        with for_session("a") as inner:
            assert inner is caller
        with for_session("b") as other:
            assert (other.session, other.urgency) == ("b", Urgency.AHEAD)


def test_lowering_the_urgency_never_raises_it() -> None:
    with calling(urgency=Urgency.FILE), less_urgent(Urgency.LATER) as caller:
        assert caller.urgency is Urgency.FILE
    with calling(urgency=Urgency.NOW), less_urgent(Urgency.LATER) as caller:
        assert caller.urgency is Urgency.LATER


def test_files_for_which_no_user_waits_come_last() -> None:
    with calling(urgency=Urgency.IDLE), for_file("of a folder"):
        idle = [Call(f"idle {number}") for number in range(2)]
    with calling(urgency=Urgency.NOW), for_file("of a user"):
        file = Call("file")
    assert [one.caller.urgency for one in (*idle, file)] == [Urgency.IDLE, Urgency.IDLE, Urgency.FILE]

    async def script() -> None:
        scheduler: Scheduler[Call] = Scheduler("stt", max_waiting=10)
        order: list[list[str]] = []
        async with model(scheduler, order):
            for call in (*idle, file):
                scheduler.put(call)
            await asyncio.gather(*(call.served.wait() for call in (*idle, file)))
        assert order == [["idle 0"], ["file"], ["idle 1"]]

    virtual_time.run(script())

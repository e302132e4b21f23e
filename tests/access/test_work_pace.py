"""Callers whose requests use much of the event loop, which all share."""

import asyncio
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from server.access import rates, work_pace
from server.access.callers import Caller
from server.access.pace import PACE_WAIT_S
from server.access.work_pace import HERE as OWN
from server.access.work_pace import PRESENT_S, WORK_BURST_S, WORK_PER_S, Charge, WorkPace, counted_work, paced
from tests.in_process import in_process
from tests.waiting import until

ANNA, BEN, HERE = Caller("anna", frozenset()), Caller("ben", frozenset()), Caller("", frozenset(), kind="anonymous")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def spend(pace: WorkPace, caller: Caller, seconds: float) -> float:
    """Return how long a request waits that then uses this CPU time."""
    wait_s, charge = pace.reserve(caller)
    charge.seconds = seconds
    charge.end()
    return wait_s


def test_a_caller_that_is_alone_never_waits() -> None:
    pace = WorkPace(Clock())
    assert [spend(pace, ANNA, WORK_BURST_S) for _ in range(20)] == [0.0] * 20


@pytest.mark.parametrize("conversing", [True, False])
def test_a_caller_waits_while_others_use_the_service(conversing: bool) -> None:
    clock = Clock()
    pace = WorkPace(clock)
    with pace.conversation(BEN):
        if not conversing:
            spend(pace, BEN, 0.0)
        spend(pace, ANNA, WORK_BURST_S + 0.1)
        wait_s = spend(pace, ANNA, 0.0)
        assert wait_s == pytest.approx(0.1 / WORK_PER_S)
        assert spend(pace, BEN, 0.0) == 0.0
        clock.now += wait_s + 0.1
        assert spend(pace, ANNA, 0.0) == 0.0, "after its wait"
    if conversing:
        clock.now += PRESENT_S + 1
        spend(pace, ANNA, 2 * WORK_BURST_S)
        assert spend(pace, ANNA, 0.0) == 0.0, "the other conversation has ended"


def test_others_count_until_they_have_been_away_and_questions_do_not_count() -> None:
    clock = Clock()
    pace = WorkPace(clock)
    spend(pace, BEN, 0.0)
    clock.now += PRESENT_S + 1
    spend(pace, ANNA, 2 * WORK_BURST_S)
    pace.reserve(BEN, "GET")[1].end()
    assert spend(pace, ANNA, 0.0) == 0.0


def test_a_debt_from_the_time_alone_ends_within_seconds() -> None:
    pace = WorkPace(Clock())
    for _ in range(100):
        spend(pace, ANNA, 1.0)
    spend(pace, BEN, 0.0)
    assert spend(pace, ANNA, 0.0) <= 2 * PACE_WAIT_S


def test_requests_at_once_begin_one_after_the_other() -> None:
    clock = Clock()
    pace = WorkPace(clock)
    for _ in range(50):
        spend(pace, ANNA, 0.2)
    clock.now += PACE_WAIT_S
    spend(pace, BEN, 0.0)
    waits = [pace.reserve(ANNA)[0] for _ in range(4)]
    assert all(later - earlier > 0.5 for earlier, later in pairwise(waits)), waits


def test_this_machines_own_callers_do_not_wait() -> None:
    pace = WorkPace(Clock())
    spend(pace, BEN, 0.0)
    assert [spend(pace, HERE, WORK_BURST_S) for _ in range(5)] == [0.0] * 5


def charged() -> Charge:
    return WorkPace().reserve(ANNA)[1]


def busy(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def itself() -> None:
    await asyncio.sleep(0)
    busy(0.1)


async def in_a_task() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(itself())


async def in_a_thread() -> None:
    await asyncio.to_thread(busy, 0.1)


async def failing() -> None:
    try:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)
    except TimeoutError:
        busy(0.1)


@pytest.mark.parametrize("work", [itself, in_a_task, in_a_thread, failing])
async def test_the_time_of_tasks_and_threads_counts(work: Callable[[], object]) -> None:
    began = time.perf_counter()
    async with counted_work():
        await (charge := charged()).run(work())  # type: ignore[arg-type]
        own_s = time.perf_counter() - began
        await asyncio.gather(in_a_task(), in_a_thread())  # of another caller
    assert 0.09 < charge.seconds <= own_s


async def test_a_long_request_counts_while_it_runs_and_waits_between_its_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(work_pace, "WORK_BURST_S", 0.0)
    pace, waited = WorkPace(), list[float]()

    async def work() -> None:
        for _ in range(2):
            busy(0.02)
            await asyncio.sleep(0)  # a step ends
            assert pace.wait_s(ANNA.counted_as or OWN) > 0.01
            began = time.monotonic()
            await paced()
            waited.append(time.monotonic() - began)

    async with counted_work():
        with pace.conversation(BEN):
            await pace.reserve(ANNA)[1].run(work())
        assert min(waited) > 0.01
        began = time.monotonic()
        await paced()  # outside of a request
    assert time.monotonic() - began < max(waited)


async def test_what_outlives_its_request_is_not_counted() -> None:
    left: list[asyncio.Task[None]] = []

    async def work() -> None:
        left.append(asyncio.create_task(itself()))

    async with counted_work():
        await (charge := charged()).run(work())
        await left[0]
        await asyncio.sleep(0)
    assert charge.seconds < 0.05


async def test_a_result_and_an_error_pass_through() -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("here")

    assert await charged().run(answer()) == 42
    with pytest.raises(LookupError, match="here"):
        await charged().run(fail())
    task = asyncio.create_task(charged().run(asyncio.sleep(60)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_busy_caller_is_refused_and_others_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_pace, "WORK_BURST_S", 0.0)
    monkeypatch.setattr(work_pace, "WORK_PER_S", 1e-4)
    for module in (work_pace, rates):
        monkeypatch.setattr(module, "PACE_WAIT_S", 0.2)
    annas, bens = "anna-0123456789abcdefghij", "ben-0123456789abcdefghij"
    with in_process(tmp_path, API_KEYS=f"anna:transcribe:{annas},ben:talk:{bens}") as server:

        def library() -> httpx.Response:
            headers = {"Authorization": f"Bearer {annas}"}
            return httpx.get(f"{server.url}/library", headers=headers, timeout=60)

        assert [library().status_code for _ in range(5)] == [200] * 5
        with server.connect(additional_headers={"Authorization": f"Bearer {bens}"}):
            refused = [library() for _ in range(2)][-1]
            assert refused.status_code == 429, refused.text
            assert "rate_limited" in refused.text
            assert int(refused.headers["Retry-After"]) >= 1
            with server.connect(additional_headers={"Authorization": f"Bearer {bens}"}):
                pass
        until(lambda: library().status_code == 200)

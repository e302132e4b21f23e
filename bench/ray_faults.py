"""Lost replicas of a model on Ray, under load: calls lost, and the time until the next good result.

    python -m bench.ray_faults [KILLS] [FREEZES]

Needs the extra `ray`. Eight callers transcribe without a pause on two replicas whose engine waits 80 ms. One replica
after another is killed (SIGKILL), then frozen (SIGSTOP), each time once both serve again. `slowest` is the longest call
that was running or began in the 10 s after the fault: what a user waits for the next good result.
"""

import asyncio
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass

from bench.rows import Rows
from pipeline.errors import ParleyError
from pipeline.settings import Settings
from pipeline.support.background import background
from pipeline.workers import EngineSpec, Serving, Worker, open_model_host, open_worker

CALLERS = 8
WORK_S = 0.08
AFTER_S = 10.0
REPLACED_S = 120.0
"""Timeout for a new replica."""


class Waits:
    """An engine that waits as long as a small model computes."""

    def __init__(self, config: None) -> None:
        pass

    def transcribe(self, number: int) -> Iterator[tuple[int, int] | None]:
        """Yields the number, and the process of the replica."""
        for _ in range(4):
            time.sleep(WORK_S / 4)
            yield None
        yield number, os.getppid()


@dataclass(slots=True)
class Seen:
    """One call."""

    began: float
    took_s: float
    failed: bool


async def call(worker: Worker, number: int) -> int:
    """Run one call; return the process of its replica."""
    async with aclosing(worker.stream("transcribe", number)) as steps:
        async for step in steps:
            if step is not None:
                assert step[0] == number, "a result of another call"
                return int(step[1])
    raise AssertionError("no result")


async def keep_calling(worker: Worker, seen: list[Seen], replicas: dict[int, float]) -> None:
    """Call without a pause. replicas: the time at which each was seen last."""
    number = 0
    while True:
        number += 1
        began = time.monotonic()
        try:
            replicas[await call(worker, number)] = time.monotonic()
            seen.append(Seen(began, time.monotonic() - began, failed=False))
        except ParleyError as error:
            print(f"  lost: {error.message}", flush=True)
            seen.append(Seen(began, time.monotonic() - began, failed=True))


async def both(replicas: dict[int, float], without: set[int]) -> int:
    """Wait until two replicas serve; return one of them."""
    async with asyncio.timeout(REPLACED_S):
        while True:
            await asyncio.sleep(0.2)
            now = time.monotonic()
            serving = [pid for pid, at in replicas.items() if now - at < 1 and pid not in without]
            if len(serving) == 2:
                return serving[0]


async def measure(kills: int, freezes: int) -> None:
    rows = Rows("fault", "number", "calls", "lost", "slowest p50", "slowest p95", "both again p50")
    settings = Settings(model_host="ray")
    spec = EngineSpec("waits", "bench.ray_faults:Waits", None)
    seen: list[Seen] = []
    replicas: dict[int, float] = {}
    async with (
        open_model_host(settings),
        open_worker(spec, settings, Serving(30, 2)) as worker,
        background(all_callers(worker, seen, replicas)),
    ):
        lost: set[int] = set()
        for name, number, times in (("kill -9", signal.SIGKILL, kills), ("SIGSTOP", signal.SIGSTOP, freezes)):
            slowest, again, calls, failed = [], [], 0, 0
            for _ in range(times):
                victim = await both(replicas, lost)
                lost.add(victim)
                at = time.monotonic()
                os.kill(victim, number)
                await asyncio.sleep(AFTER_S)
                after = [one for one in seen if at - one.took_s <= one.began <= at + AFTER_S]
                calls += len(after)
                failed += sum(one.failed for one in after)
                slowest.append(max(one.took_s for one in after))
                await both(replicas, lost)
                again.append(time.monotonic() - at)
            if times > 1:
                seconds = (
                    statistics.median(slowest),
                    statistics.quantiles(slowest, n=20)[-1],
                    statistics.median(again),
                )
                rows.add(name, str(times), str(calls), str(failed), *(f"{value:.2f} s" for value in seconds))


async def all_callers(worker: Worker, seen: list[Seen], replicas: dict[int, float]) -> None:
    """Run all callers."""
    await asyncio.gather(*(keep_calling(worker, seen, replicas) for _ in range(CALLERS)))


if __name__ == "__main__":
    asyncio.run(measure(*(int(argument) for argument in (sys.argv[1:] + ["10", "5"][len(sys.argv) - 1 :]))))

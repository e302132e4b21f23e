"""Wait until a condition is true, with a deadline that is long enough for a busy machine."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import psutil

T = TypeVar("T")
WAIT_S = 60.0
LOOK_S = 0.02
MOST_LOOK_S = 0.1


def until(condition: Callable[[], T], within_s: float = WAIT_S) -> T:
    """Return the result of `condition` as soon as it is true. At the deadline, fail with its last result."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {found!r}"
        time.sleep(pause_s(deadline - within_s))
    return found


def pause_s(started: float) -> float:
    """Return the seconds until the next look: longer in a long wait, because looking takes the time of others."""
    return min(MOST_LOOK_S, max(LOOK_S, (time.monotonic() - started) / 20))


async def eventually(condition: Callable[[], T], within_s: float = WAIT_S) -> T:
    """Do the same as `until` without blocking the event loop."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {found!r}"
        await asyncio.sleep(pause_s(deadline - within_s))
    return found


def left_of(processes: Iterable[psutil.Process], within_s: float = WAIT_S) -> list[psutil.Process]:
    """Wait until these processes have ended; return those that still run at the deadline. Do not use
    `psutil.wait_procs`, which also waits until their parent has asked for their exit codes: the first process of a
    container can need seconds for that."""
    deadline = time.monotonic() + within_s
    left = list(processes)
    while (left := [one for one in left if not ended(one)]) and time.monotonic() < deadline:
        time.sleep(pause_s(deadline - within_s))
    return left


def ended(process: psutil.Process) -> bool:
    """Whether a process has ended, even if its parent has not asked for its exit code."""
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True

"""Wait until a condition is true, with a deadline that is long enough for a busy machine."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

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

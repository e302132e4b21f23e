"""Waiting until something is so: with a deadline that a busy machine keeps, and no longer than it takes."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
WAIT_S = 60.0
LOOK_S = 0.02


def until(condition: Callable[[], T], within_s: float = WAIT_S) -> T:
    """What `condition` gives as soon as it is true. Fails with what it gave last."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {found!r}"
        time.sleep(LOOK_S)
    return found


async def eventually(condition: Callable[[], T], within_s: float = WAIT_S) -> T:
    """As `until`, while the event loop goes on."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {found!r}"
        await asyncio.sleep(LOOK_S)
    return found

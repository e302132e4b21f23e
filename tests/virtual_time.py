"""An event loop whose clock jumps instead of waiting: a dialogue of minutes runs in milliseconds, deterministically.

Only for tasks that wait for each other and for time: sockets, threads and processes do not move this clock.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from pipeline.speech import detector

T = TypeVar("T")
LONGEST_S = 3600.0
"""A script that takes longer than this in virtual time hangs."""


class _JumpingSelector(selectors.DefaultSelector):
    """Advances the loop's clock by the timeout instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("deadlock: every task waits and no timer is set")
        self.now += max(0.0, timeout)
        if self.now > LONGEST_S:
            raise RuntimeError("the dialogue takes hours: a task waits for an event that never comes")
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The event loop with the jumping clock."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on virtual time. Fails if tasks are left over: a task must not outlive its starter."""
    detector.load()  # a thread would not move this clock

    results: list[T] = []  # not the result of the task: asyncio would format it whole (seconds for our audio)

    async def checked() -> None:
        results.append(await coroutine)
        await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, f"left running: {left}"

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(checked())
    return results[0]

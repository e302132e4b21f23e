"""An event loop whose clock jumps instead of waiting: a dialogue of minutes runs in milliseconds, always alike.

Only for tasks that wait for each other and for time: nothing outside (sockets, threads, processes) moves this clock.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
LONGEST_S = 3600.0
"""A script that runs longer than this on its own clock hangs."""


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting, moves the loop's clock by what it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits and nothing is left that could happen")
        self.now += max(0.0, timeout)
        if self.now > LONGEST_S:
            raise RuntimeError("a dialogue of hours: something waits for what never comes")
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """See the module's docstring."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end on virtual time. Fails when tasks are left over: nothing may outlive what started it."""

    results: list[T] = []  # not the task's own: when it is done, asyncio prints that one whole (seconds for our sounds)

    async def checked() -> None:
        results.append(await coroutine)
        await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, f"left running: {left}"

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(checked())
    return results[0]

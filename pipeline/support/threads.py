"""Threads: iterate over a blocking generator in one, the cores that they run on, and whose work comes first there."""

import asyncio
import contextvars
import os
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

T = TypeVar("T")

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""CPU cores that this process may use."""
NICENESS = 3
"""Niceness of the models' processes relative to the service. The service has little to compute, but must do it at once,
because the sound of all users passes through it. With 5, it took too much of a core from them when it was busy."""


async def in_threads(steps: Generator[T, None, None], stop: Callable[[], None]) -> AsyncGenerator[T, None]:
    """Yield the items of `steps` (none of them None), produced in a dedicated thread; closes `steps` in any case.

    stop: ends a blocking wait in a step, called from another thread. A cancelled step is then awaited, because a
    running generator cannot be closed. The thread is not one of the shared ones, which a slow file would block for
    other work.
    """
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, thread_name_prefix="steps")
    try:
        while True:
            context = contextvars.copy_context()
            step = loop.run_in_executor(thread, partial(context.run, next, steps, None))
            try:
                item = await asyncio.shield(step)
            except asyncio.CancelledError:
                stop()
                await asyncio.wait([step])
                step.exception()  # mark as retrieved: its error is not needed
                raise
            if item is None:
                return
            yield item
    finally:
        stop()
        steps.close()
        thread.shutdown(wait=False)

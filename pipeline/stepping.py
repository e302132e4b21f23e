"""A generator that blocks, stepped through in a thread."""

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

T = TypeVar("T")


async def in_threads(steps: Generator[T, None, None], stop: Callable[[], None]) -> AsyncGenerator[T, None]:
    """The same items (none of them None), made in a thread of their own; closes `steps` in any case.

    stop: ends what a step waits for, from another thread. A cancelled step is waited for after that: a generator that
    runs cannot be closed. The thread is not one of the shared ones, which a slow file would keep from everything else.
    """
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, thread_name_prefix="stepping")
    try:
        while True:
            context = contextvars.copy_context()
            step = loop.run_in_executor(thread, partial(context.run, next, steps, None))
            try:
                item = await asyncio.shield(step)
            except asyncio.CancelledError:
                stop()
                await asyncio.wait([step])
                step.exception()  # looked at: nobody waits for what it says
                raise
            if item is None:
                return
            yield item
    finally:
        stop()
        steps.close()
        thread.shutdown(wait=False)

"""A generator that blocks, stepped through in threads."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from typing import TypeVar

T = TypeVar("T")


async def in_threads(steps: Generator[T, None, None]) -> AsyncGenerator[T, None]:
    """The same items (none of them None), each made in a thread; closes `steps` in any case.

    A cancelled step is waited for: a generator that runs cannot be closed.
    """
    try:
        while True:
            step = asyncio.ensure_future(asyncio.to_thread(next, steps, None))
            try:
                item = await asyncio.shield(step)
            except asyncio.CancelledError:
                await asyncio.wait([step])
                step.exception()  # looked at: nobody waits for what it says
                raise
            if item is None:
                return
            yield item
    finally:
        steps.close()

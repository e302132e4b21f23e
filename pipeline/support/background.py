"""Tasks beside a block of code."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def background(work: Coroutine[object, object, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Run a task beside the block. When the block ends, the task is cancelled and has ended.

    For blocks that a TaskGroup does not suit: the block can contain a `yield`, an error of the task does not cancel the
    block (await the task to get it), and an error of the block is raised as it is.
    """
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])

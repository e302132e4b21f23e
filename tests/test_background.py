"""Tasks beside a block."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from pipeline.support.background import background


async def test_task_ends_with_the_block() -> None:
    async with background(asyncio.sleep(3600)) as task:
        await asyncio.sleep(0)
        assert not task.done()
    assert task.cancelled()


async def test_result_is_read_by_awaiting_the_task() -> None:
    async with background(asyncio.sleep(0, "done")) as task:
        assert await task == "done"


async def test_error_of_the_block_comes_unwrapped_after_the_task_has_ended() -> None:
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    with pytest.raises(KeyError):
        async with background(work()):
            await asyncio.sleep(0)
            raise KeyError
    assert cleaned


async def test_error_of_the_task_leaves_the_block_running() -> None:
    async def fail() -> None:
        raise KeyError

    async with background(fail()) as task:
        await asyncio.wait([task])
        await asyncio.sleep(0)
    assert isinstance(task.exception(), KeyError)


async def test_closing_a_generator_ends_the_task_of_its_block() -> None:
    started: list[asyncio.Task[None]] = []

    async def numbers() -> AsyncGenerator[int, None]:
        async with background(asyncio.sleep(3600)) as task:
            started.append(task)
            yield 1
            yield 2

    items = numbers()
    assert await anext(items) == 1
    await items.aclose()
    assert started[0].cancelled()

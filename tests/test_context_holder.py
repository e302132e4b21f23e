"""Engines opened at the same time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pipeline.support.context_holder import ContextHolder, open_together
from tests import virtual_time


@asynccontextmanager
async def slow(name: str, log: list[str], *, seconds: float = 1.0, fails: bool = False) -> AsyncIterator[str]:
    try:
        async with asyncio.timeout(60):  # must be entered and exited in the same task
            await asyncio.sleep(seconds)
            if fails:
                raise ValueError(name)
            yield name
    finally:
        log.append(f"closed {name}")


def test_engines_open_concurrently_and_close_with_the_block() -> None:
    async def run() -> None:
        log: list[str] = []
        start = asyncio.get_running_loop().time()
        async with open_together(slow("a", log), slow("b", log), slow("c", log)) as opened:
            assert opened == ["a", "b", "c"]
            assert asyncio.get_running_loop().time() - start == pytest.approx(1)
            assert log == []
        assert sorted(log) == ["closed a", "closed b", "closed c"]

    virtual_time.run(run())


def test_failed_engine_closes_the_others_and_its_error_is_raised() -> None:
    async def run() -> None:
        log: list[str] = []
        with pytest.raises(ValueError, match="bad"):
            async with open_together(
                slow("a", log), slow("bad", log, seconds=0.5, fails=True), slow("c", log, seconds=9)
            ):
                raise AssertionError("never entered")
        assert sorted(log) == ["closed a", "closed bad", "closed c"]

    virtual_time.run(run())


def test_closing_cancels_an_engine_that_still_opens() -> None:
    async def run() -> None:
        log: list[str] = []
        keeper = ContextHolder(slow("a", log, seconds=100))
        await asyncio.sleep(1)
        await keeper.close()
        assert log == ["closed a"]

    virtual_time.run(run())

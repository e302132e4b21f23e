"""Values that are opened on demand: shared attempts, remembered failures, reopening."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pipeline.errors import EngineError, Overloaded
from pipeline.support.on_demand import Failures, OnDemand
from tests import virtual_time

OPEN_S, RETRY_S = 3.0, 60.0


class Opening:
    """Opens "value" in OPEN_S, or raises `error`. `log` has an entry for each attempt and each closing."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.error: Exception | None = None

    @asynccontextmanager
    async def context(self) -> AsyncIterator[str]:
        self.log.append("open")
        await asyncio.sleep(OPEN_S)
        if self.error is not None:
            raise self.error
        yield "value"
        self.log.append("close")


def test_concurrent_callers_share_an_attempt_and_the_value_stays() -> None:
    async def run() -> None:
        opening = Opening()
        value = OnDemand(opening.context)
        assert value.value is None
        first = asyncio.create_task(value.get())
        await asyncio.sleep(1)
        others = [asyncio.create_task(value.get()) for _ in range(3)]
        first.cancel()
        assert await asyncio.gather(*others) == ["value"] * 3
        assert (await value.get(), value.value, opening.log) == ("value", "value", ["open"])
        await value.close()
        assert (value.value, opening.log) == (None, ["open", "close"])
        assert await value.get() == "value"
        await value.close()

    virtual_time.run(run())


def test_a_failure_is_remembered_for_a_while() -> None:
    async def run() -> None:
        opening = Opening()
        opening.error = EngineError("broken")
        value = OnDemand(opening.context, Failures(RETRY_S))
        told = await asyncio.gather(value.get(), value.get(), return_exceptions=True)
        assert (told, value.failed) == ([opening.error, opening.error], True)
        await asyncio.sleep(RETRY_S - 1)
        with pytest.raises(EngineError):
            await value.get()
        assert opening.log == ["open"]
        opening.error = None
        await asyncio.sleep(1)
        assert (await value.get(), opening.log) == ("value", ["open", "open"])
        await value.close()

    virtual_time.run(run())


def test_the_failure_of_an_attempt_without_a_waiting_caller_is_remembered() -> None:
    async def run() -> None:
        opening = Opening()
        opening.error = ValueError("broken")
        value = OnDemand(opening.context, Failures(RETRY_S))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await value.get()
        await asyncio.sleep(OPEN_S)
        with pytest.raises(ValueError, match="broken"):
            await value.get()
        assert opening.log == ["open"]

    virtual_time.run(run())


@pytest.mark.parametrize("failures", [None, Failures(RETRY_S)], ids=["no memory", "memory"])
def test_overload_is_not_remembered(failures: Failures | None) -> None:
    async def run() -> None:
        opening = Opening()
        opening.error = Overloaded("full")
        value = OnDemand(opening.context, failures)
        for _ in range(2):
            with pytest.raises(Overloaded):
                await value.get()
        assert opening.log == ["open"] * 2

    virtual_time.run(run())


def test_closing_cancels_an_attempt() -> None:
    async def run() -> None:
        opening = Opening()
        value = OnDemand(opening.context)
        waiting = asyncio.create_task(value.get())
        await asyncio.sleep(1)
        await value.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert opening.log == ["open"]

    virtual_time.run(run())

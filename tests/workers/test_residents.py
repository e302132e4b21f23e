"""Models within a memory budget: shared loads, eviction, refusals."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import pytest

from pipeline.errors import EngineError, Overloaded
from pipeline.workers.residents import DoesNotFit, Residents
from tests import virtual_time

LOAD_S, UNLOAD_S = 3.0, 0.5


class Models:
    """Loads that take time, and a log of events."""

    def __init__(self, budget_mb: int = 100, kept_mb: int = 10) -> None:
        self.residents: Residents[str] = Residents(budget_mb, kept_mb)
        self.log: list[str] = []
        self.failing = False
        self.mb = 0
        self.most_mb = 0

    def context(self, name: str, mb: int) -> Callable[[], AbstractAsyncContextManager[str]]:
        @asynccontextmanager
        async def loading() -> AsyncIterator[str]:
            self.mb += mb
            self.most_mb = max(self.most_mb, self.mb)
            try:
                await asyncio.sleep(LOAD_S)
                if self.failing:
                    raise EngineError("broken")
                self.log.append(f"+{name}")
                yield name
            finally:
                await asyncio.sleep(UNLOAD_S)
                self.mb -= mb
                self.log.append(f"-{name}")

        return loading

    def using(self, name: str, mb: int = 30) -> AbstractAsyncContextManager[str]:
        return self.residents.using(name, mb, self.context(name, mb))

    async def use(self, name: str, mb: int = 30, seconds: float = 1.0) -> str:
        async with self.using(name, mb) as model:
            await asyncio.sleep(seconds)
            return model


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_load_is_shared_and_the_model_stays() -> None:
    async def run() -> None:
        models = Models()
        assert await asyncio.gather(*(models.use("a") for _ in range(5))) == ["a"] * 5
        assert now() == LOAD_S + 1
        await models.use("a", seconds=0)
        assert now() == LOAD_S + 1
        assert models.log == ["+a"]
        await models.residents.close()
        assert models.log == ["+a", "-a"]

    virtual_time.run(run())


def test_the_least_recently_used_idle_model_is_unloaded() -> None:
    async def run() -> None:
        models = Models()
        for name in "abc":
            await models.use(name, seconds=0)
        await models.use("a", seconds=0)
        await models.use("d")
        assert models.residents.loaded == ["c", "a", "d"]
        async with models.using("c"):
            await models.use("e", 60, seconds=0)
        assert sorted(models.residents.loaded) == ["c", "e"]
        assert models.most_mb <= 90
        await models.residents.close()

    virtual_time.run(run())


def test_a_model_that_cannot_fit_unloads_nothing() -> None:
    async def run() -> None:
        models = Models()
        await models.use("a", seconds=0)
        with pytest.raises(DoesNotFit, match="about 91 MB; 90 MB"):
            await models.use("huge", 91)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(models.using("b", 50))
            with pytest.raises(Overloaded) as refused:
                await models.use("c", 41)
            assert refused.value.retry_after_s > 0
            assert models.residents.loaded == ["a", "b"]
            await models.use("c", 40, seconds=0)
        assert sorted(models.residents.loaded) == ["b", "c"]
        await models.residents.close()

    virtual_time.run(run())


def test_a_model_being_unloaded_is_reloaded_later_and_only_once() -> None:
    async def run() -> None:
        models = Models()
        await models.use("a", 60, seconds=0)
        both = asyncio.gather(models.use("b", 60, seconds=0), _after(0.1, models.use("a", 60, seconds=0)))
        with pytest.raises(Overloaded):  # "b" is in use by the caller that waits for it to load
            await both
        await asyncio.sleep(10)
        await models.use("a", 60, seconds=0)
        assert models.log == ["+a", "-a", "+b", "-b", "+a"]
        assert models.most_mb == 60
        await models.residents.close()

    virtual_time.run(run())


def test_a_failed_load_fails_all_waiters_and_is_retried_by_the_next() -> None:
    async def run() -> None:
        models = Models()
        models.failing = True
        told = await asyncio.gather(*(models.use("a") for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in told] == [EngineError] * 3
        assert models.residents.loaded == []
        models.failing = False
        assert await models.use("a") == "a"
        assert models.log == ["-a", "+a"]
        await models.residents.close()

    virtual_time.run(run())


def test_a_leaving_caller_does_not_break_the_load_of_others() -> None:
    async def run() -> None:
        models = Models()
        first, second = asyncio.create_task(models.use("a")), asyncio.create_task(models.use("a"))
        await asyncio.sleep(1)
        first.cancel()
        assert await second == "a"
        third = asyncio.create_task(models.use("b"))
        await asyncio.sleep(1)
        third.cancel()
        models.failing = True  # without waiters; the next caller does not get this error
        await asyncio.sleep(10)
        models.failing = False
        assert await models.use("b") == "b"
        await models.residents.close()
        assert models.residents.used_mb == 10
        assert models.mb == 0

    virtual_time.run(run())


async def _after(seconds: float, work: "asyncio.Future[str] | object") -> object:
    await asyncio.sleep(seconds)
    return await work  # type: ignore[misc]

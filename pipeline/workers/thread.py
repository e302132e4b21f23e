"""An engine in a thread of this process: for tests, and where a process for each model is not wanted."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from pipeline.workers import EngineSpec
from pipeline.workers.child import build
from pipeline.workers.scheduler import Scheduler


class _End:
    """What `next` gives when a generator has no more items."""


class ThreadWorker:
    """See `pipeline.workers.Worker`. `async with` loads the engine. A hung call cannot be killed here."""

    def __init__(self, spec: EngineSpec, *, max_waiting: int) -> None:
        self._spec = spec
        self._scheduler = Scheduler(spec.name, max_waiting=max_waiting)
        # One thread: calls of one engine never overlap, and a generator's close comes after its running step.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=spec.name)
        self._engine: Any = None

    async def __aenter__(self) -> Self:
        try:
            self._engine = await self._run(build, self._spec)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._thread.shutdown)
        self._engine = None

    async def call(self, method: str, *args: Any) -> Any:
        await self._scheduler.enter()
        try:
            return await self._run(getattr(self._engine, method), *args)
        finally:
            self._scheduler.leave()

    async def stream(self, method: str, *args: Any) -> AsyncGenerator[Any, None]:
        await self._scheduler.enter()
        items = None
        try:
            items = await self._run(getattr(self._engine, method), *args)
            assert inspect.isgenerator(items)  # noqa: S101  # what `stream` is for
            while (item := await self._run(next, items, _End)) is not _End:
                yield item
        finally:
            if items is not None:
                self._thread.submit(items.close)
            self._scheduler.leave()

    async def _run(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

"""An engine in a thread of this process: for tests, and where a process for each model is not wanted."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pipeline.workers import EngineSpec
from pipeline.workers.model_call import ModelCall
from pipeline.workers.run_calls import build, run
from pipeline.workers.wire import Call

T = TypeVar("T")


class ThreadHost:
    """See `pipeline.workers.pool.Host`. A hung call cannot be ended here: only its caller's deadline helps."""

    def __init__(self, spec: EngineSpec) -> None:
        self.restarts = 0
        self._spec = spec
        # One thread: calls of one engine never overlap, and a generator is closed after its current step.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=spec.name)
        self._engine: object = None

    @property
    def loaded(self) -> bool:
        return self._engine is not None

    def when_lost(self, tell: Callable[[], None] | None) -> bool:
        """See Host. A thread is never lost."""
        return False

    async def load(self) -> None:
        """See Host."""
        if self._engine is None:
            self._engine = await self._run(build, self._spec)

    async def unload(self) -> None:
        """See Host. Waits for a running call."""
        await self._run(lambda: None)
        self._engine = None

    async def serve(self, calls: Sequence[ModelCall]) -> None:
        """See Host."""
        messages = [Call(number, call.method, call.args) for number, call in enumerate(calls)]
        steps = run(self._engine, messages, lambda number: calls[number].cancelled)
        try:
            while (message := await self._run(next, steps, None)) is not None:
                await calls[message.number].take(message)
        finally:
            self._thread.submit(steps.close)  # type: ignore[attr-defined]  # it is a generator

    async def _run(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

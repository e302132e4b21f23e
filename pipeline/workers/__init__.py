"""Where local models run.

An engine that runs a local model is a plain synchronous class: its constructor takes one picklable config and loads
the model; its public methods are ordinary functions or generators. It knows nothing of asyncio or processes. A worker
makes it asynchronous, in a process of its own (`process.py`) or in a thread (`thread.py`), one call at a time.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """How to build an engine: in this process or in another one."""

    name: str
    """For logs and errors: "sphinx", "xtts"."""
    target: str
    """module:Class of the synchronous engine."""
    config: Any
    """Its constructor's one argument; must be picklable."""


class Worker(Protocol):
    """One engine behind an asynchronous front, shared by all sessions, one call at a time, first come first served."""

    async def call(self, method: str, *args: Any) -> Any:
        """Run an ordinary method. Raises what it raised, WorkerCrashed, or Overloaded when too many wait."""
        ...

    def stream(self, method: str, *args: Any) -> AsyncGenerator[Any, None]:
        """Run a generator method; closing the stream stops it at its next item. Raises as `call` does."""
        ...


@asynccontextmanager
async def open_worker(spec: EngineSpec, settings: Settings) -> AsyncIterator[Worker]:
    """A worker whose engine is loaded; ended with the block. Raises what the engine's constructor raised."""
    if settings.isolate_models:
        from pipeline.workers.process import ProcessWorker

        process = ProcessWorker(spec, max_waiting=settings.max_waiting, start_timeout_s=settings.worker_start_timeout_s)
        async with process:
            yield process
    else:
        from pipeline.workers.thread import ThreadWorker

        async with ThreadWorker(spec, max_waiting=settings.max_waiting) as thread:
            yield thread

"""Where local models run.

An engine that runs a local model is a plain synchronous class: its constructor takes one picklable config and loads
the model; its public methods are ordinary functions or generators. It knows nothing of asyncio or processes. A worker
makes it asynchronous, in processes of its own (`process.py`) or in threads (`thread.py`): one scheduler
(`scheduler.py`) before one or more copies of it (`pool.py`), each of which runs one call, or one batch, at a time.
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
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
    downloads: bool = False
    """It fetches weights by itself, so its process may know the proxies (`environment.py`)."""


@dataclass(frozen=True, slots=True)
class Serving:
    """How a model serves its calls, and how it is watched."""

    silence_s: float
    """A call from which nothing comes for so long hangs: its process is ended."""
    replicas: int = 1
    """Copies of the model, each with memory of its own."""
    batched: frozenset[str] = frozenset()
    """Methods that have a form for many calls at once (see `running.py`)."""
    batch: int = 1
    """Calls of those that are run together at most."""
    file_batch: int = 1
    """The same for calls without a listener, those of files."""
    gather_s: float = 0.0
    """How long a batch waits for as many calls as the one before it had; see `Scheduler.take`."""


@dataclass(frozen=True, slots=True)
class Load:
    """How busy a model is."""

    replicas: int
    loaded: int
    """Replicas whose model is in memory."""
    running: int
    """Calls."""
    waiting: int
    restarts: int
    """How often a replica was lost and started again."""
    lag_s: float = 0.0
    """How long calls have waited lately that somebody waits for in silence, in seconds."""


class Worker(Protocol):
    """A model behind an asynchronous front, shared by all sessions."""

    async def call(self, method: str, *args: Any) -> Any:
        """Run an ordinary method. Raises what it raised, WorkerCrashed, or Overloaded when too many wait.

        A call whose process dies before anything came from it is begun once more by itself; so is one of a file whose
        process hangs.
        """
        ...

    def stream(self, method: str, *args: Any) -> AsyncGenerator[Any, None]:
        """Run a generator method; closing the stream stops it at its next item. Raises as `call` does."""
        ...

    def load(self) -> Load:
        """How busy it is now."""
        ...


def open_worker(spec: EngineSpec, settings: Settings, serving: Serving) -> AbstractAsyncContextManager[Worker]:
    """A worker whose engine is loaded; ended with the block. Raises what the engine's constructor raised."""
    from pipeline.workers.pool import Host, Pool
    from pipeline.workers.process import ProcessHost
    from pipeline.workers.thread import ThreadHost

    hosts: list[Host] = [
        ProcessHost(
            spec,
            start_timeout_s=settings.worker_start_timeout_s,
            silence_s=serving.silence_s,
            niceness=settings.worker_nice,
        )
        if settings.isolate_models
        else ThreadHost(spec)
        for _ in range(serving.replicas)
    ]
    pool = Pool(
        spec.name,
        hosts,
        serving,
        max_waiting=settings.max_waiting,
        max_wait_s=settings.max_wait_s,
        idle_s=settings.model_idle_seconds,
    )
    return pool.open()

"""Workers: processes and threads that run local models.

An engine that runs a local model is a plain synchronous class. Its constructor takes one picklable config and loads the
model; its public methods are ordinary functions or generators. It knows nothing of asyncio or processes. A worker makes
it asynchronous, in separate processes (`process.py`) or in threads (`thread.py`): one scheduler (`scheduler.py`) in
front of one or more copies of it (`pool.py`), each of which runs one call, or one batch, at a time. With MODEL_HOST=ray
the copies are on a Ray cluster, each with a scheduler of its own (`on_ray/`). With PROCESSES, the main process has the
workers, and the processes that serve connections call them there (`sharing/`).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.support.threads import NICENESS

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from pipeline.workers.hardware import Hardware
    from pipeline.workers.pool import Pool

START_TIMEOUT_S = 120.0
"""Timeout for loading a local model, in seconds, without downloads."""
MAX_WAIT_S = 20.0
"""Maximum time that a conversation's call waits for a model, in seconds: after it, the user has probably left. A call
that is expected to wait longer is refused at once. Files wait without a limit."""
SPARE_NICENESS = 5
"""Niceness of a model's further replicas relative to the first one, which files and accounts with many calls leave to
others (`scheduler.py`): on a core that they share, they get a quarter of the time. A process without privileges cannot
raise its priority again, so it is fixed, and does not follow the call that runs."""
MAX_WAITING = 32
"""Calls that can wait for one model; further ones are refused at once."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """How to build an engine, in this process or in another one."""

    name: str
    """Name in logs and errors: "sphinx", "xtts"."""
    target: str
    """module:Class of the synchronous engine."""
    config: object
    """The one argument of its constructor; must be picklable."""
    downloads: bool = False
    """Whether it fetches weights itself, so that its process needs the proxies (`environment.py`)."""
    identity: tuple[object, ...] | None = None
    """Values that make it another model, if the config has others, too, such as measured ones. Processes that open
    equal models share one. None: the whole config."""

    def same_model(self, other: "EngineSpec") -> bool:
        """Whether the other engine is the same model, and need not be loaded again."""
        if (self.name, self.target) != (other.name, other.target):
            return False
        if self.identity is not None or other.identity is not None:
            return self.identity == other.identity
        return self.config == other.config


@dataclass(frozen=True, slots=True)
class Serving:
    """How a model serves its calls, and how it is monitored."""

    silence_s: float
    """A call that returns nothing for this long is considered hung, and its process is ended."""
    replicas: int = 1
    """Copies of the model, each with its own memory."""
    batched: frozenset[str] = frozenset()
    """Methods that can also run many calls at once (see `run_calls.py`)."""
    batch: int = 1
    """Maximum number of these calls that run together."""
    file_batch: int = 1
    """The same for calls of files."""
    file_batch_beside_users: int = 1
    """The same while conversations use the model, which wait until a batch has ended."""
    gather_s: float = 0.0
    """Time that a batch waits for as many calls as the previous one had; see `Scheduler.take`."""


@dataclass(frozen=True, slots=True)
class Hosting:
    """How the replicas of one machine run."""

    isolated: bool
    """Each in a process of its own, not in a thread."""
    max_wait_s: float
    """Maximum wait of a conversation's call."""
    idle_s: float
    """Time without calls after which a replica is unloaded; 0: never."""
    retry: bool = True
    """Whether a call of a lost replica is retried here, and not by its caller."""


@dataclass(frozen=True, slots=True)
class Load:
    """How busy a model is."""

    replicas: int
    loaded: int
    """Replicas whose model is in memory."""
    running: int
    """Calls that run."""
    waiting: int
    restarts: int
    """How often a replica was lost and restarted."""
    lag_s: float = 0.0
    """Recent waiting time of calls that a user waits for in silence, in seconds."""
    host: str = "local"
    """Place of the replicas: local or ray. On Ray, calls and waits are those of this process."""


class Worker(Protocol):
    """An asynchronous interface to a model, shared by all sessions."""

    async def call(self, method: str, *args: object) -> Any:
        """Run an ordinary method. Raises the method's own errors, WorkerCrashed, or Overloaded when too many calls
        wait.

        If the process dies before the call has returned anything, the call is retried once; so is a call of a file
        whose process hangs.
        """
        ...

    def stream(self, method: str, *args: object) -> AsyncGenerator[Any, None]:
        """Run a generator method; closing the stream stops it at its next item. Raises the same errors as `call`."""
        ...

    def load(self) -> Load:
        """Return how busy the model is now."""
        ...


def open_worker(
    spec: EngineSpec, settings: "Settings", serving: Serving, *, here: bool = False
) -> AbstractAsyncContextManager[Worker]:
    """Open a worker and load its engine; end it with the block. Raises the errors of the engine's constructor.

    here: run it on this machine, whatever MODEL_HOST is.
    """
    if settings.model_host == "ray" and not here:
        from pipeline.workers.on_ray.worker import open_on_ray

        return open_on_ray(spec, settings, serving)
    if settings.processes > 1:
        from pipeline.workers.sharing import joined

        if (link := joined()) is not None:
            from pipeline.workers.sharing.worker import open_shared

            return open_shared(link, spec, serving)
    return open_here(spec, serving, hosting_of(settings))


def hosting_of(settings: "Settings") -> Hosting:
    """Return how the replicas of this machine run."""
    return Hosting(settings.model_host != "thread", MAX_WAIT_S, settings.model_idle_seconds)


def open_here(spec: EngineSpec, serving: Serving, hosting: Hosting) -> AbstractAsyncContextManager["Pool"]:
    """Open a worker on this machine. Raises the errors of the engine's constructor."""
    from pipeline.workers.pool import Host, Pool
    from pipeline.workers.process import ProcessHost
    from pipeline.workers.thread import ThreadHost

    hosts: list[Host] = [
        ProcessHost(
            spec,
            start_timeout_s=START_TIMEOUT_S,
            silence_s=serving.silence_s,
            niceness=NICENESS + (SPARE_NICENESS if number else 0),
        )
        if hosting.isolated
        else ThreadHost(spec)
        for number in range(serving.replicas)
    ]
    pool = Pool(
        spec.name,
        hosts,
        serving,
        max_waiting=MAX_WAITING,
        max_wait_s=hosting.max_wait_s,
        idle_s=hosting.idle_s,
        retry=hosting.retry,
    )
    return pool.open()


async def models_hardware(settings: "Settings") -> "Hardware":
    """Return the hardware that local models run on: this machine's, or that of a node of the Ray cluster. Raises
    ConfigError."""
    if settings.model_host == "ray":
        from pipeline.workers.on_ray.connection import connected

        async with connected(settings) as cluster:
            return await cluster.hardware(settings.ray_gpus)
    from pipeline.workers.hardware import this_machine

    return await asyncio.to_thread(this_machine)


@asynccontextmanager
async def open_model_host(settings: "Settings") -> AsyncIterator[asyncio.Event]:
    """Stay connected to the machines of MODEL_HOST while the block runs, so that all workers share one connection.
    Yields an event that is set if this process loses them for good. Raises ConfigError."""
    if settings.model_host == "ray":
        from pipeline.workers.on_ray.connection import connected

        async with connected(settings) as cluster:
            yield cluster.lost
    else:
        yield asyncio.Event()

"""The service's side of a model on Ray: calls its replicas, and retries a call of a lost one."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.errors import EngineError, Overloaded, WorkerCrashed
from pipeline.settings import Settings
from pipeline.telemetry import metrics, tracing
from pipeline.workers import MAX_WAIT_S, START_TIMEOUT_S, EngineSpec, Hosting, Load, Serving, Worker
from pipeline.workers.caller import Caller, Urgency, current
from pipeline.workers.lag import Lag
from pipeline.workers.on_ray.cluster import LOOK_S, Cluster, Placement
from pipeline.workers.on_ray.connection import connected
from pipeline.workers.on_ray.living import doubt_all
from pipeline.workers.on_ray.messages import ALIVE_S, Alive, Ended, Message, Request
from pipeline.workers.results import ResultsWorker
from pipeline.workers.wire import Done, Failed, Item, dump, unpack

ISOLATED = True
"""Whether a replica runs its model in a process of its own, which it restarts after a crash."""
UNAVAILABLE_S = 15.0
"""Time for which a model that starts may be unavailable, in seconds: it was unloaded just before."""


@asynccontextmanager
async def open_on_ray(spec: EngineSpec, settings: Settings, serving: Serving) -> AsyncIterator[Worker]:
    """Run a model on the cluster of the settings while the block runs. Raises ConfigError, the errors of the engine's
    constructor, or EngineError when it is not ready in time."""
    hosting = Hosting(ISOLATED, MAX_WAIT_S, settings.model_idle_seconds, retry=False)
    placement = Placement(settings.ray_gpus, settings.ray_max_replicas, settings.model_idle_seconds)
    async with connected(settings) as cluster, cluster.deployed(spec, serving, hosting, placement) as (name, handle):
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                message = unpack(await _ready(handle))
                if isinstance(message, Failed):
                    await cluster.discard(name)  # also from an existing cluster: no other process can use it
                    raise message.error
                await cluster.complete(name, serving.replicas)
        except TimeoutError:
            raise EngineError(f"{spec.name} was not ready on Ray after {START_TIMEOUT_S:g} s.") from None
        yield RayWorker(spec.name, name, handle, serving.replicas, cluster, to_zero=placement.to_zero)


async def _ready(handle: Any) -> bytes:
    """Wait until a replica has loaded the model. A model that was unloaded a moment ago counts as unavailable until
    Serve has told its new replicas to all processes."""
    from ray.serve.exceptions import DeploymentUnavailableError

    deadline = time.monotonic() + UNAVAILABLE_S
    while True:
        try:
            ready: bytes = await handle.ready.remote()
            return ready
        except DeploymentUnavailableError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(LOOK_S)


@dataclass(slots=True, eq=False)
class _Flight:
    """A call on its way, itself and not its state: `RayWorker` removes it from a list."""

    running: bool = False
    ended: bool = False


class RayWorker(ResultsWorker):
    """See `pipeline.workers.Worker`. Serve chooses the replica with fewer calls of two."""

    def __init__(
        self, name: str, application: str, handle: Any, replicas: int, cluster: Cluster, *, to_zero: bool
    ) -> None:
        """application: the model's name on the cluster. handle: its DeploymentHandle. to_zero: whether there may be no
        replica, so that a call waits for the start of one."""
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        self._name = name
        self._application = application
        self._replicas = replicas
        self._cluster = cluster
        self._first_s = START_TIMEOUT_S if to_zero else ALIVE_S
        self._run = handle.options(method_name="run", stream=True)
        self._losses = (RayError, RayServeException)
        self._lost = 0
        self._lag = Lag()
        self._flights: list[_Flight] = []
        self._waits = {urgency: metrics.queue_wait_seconds.labels(name, urgency.name.lower()) for urgency in Urgency}
        self._refusals = metrics.queue_refusals.labels(name)
        self._busy_seconds = metrics.model_busy_seconds.labels(name)

    def load(self) -> Load:
        """See Worker. Calls and waits are those of this process."""
        running = sum(flight.running for flight in self._flights)
        loaded = self._cluster.replicas.get(self._application, self._replicas)
        return Load(
            replicas=max(self._replicas, loaded),
            loaded=loaded,
            running=running,
            waiting=len(self._flights) - running,
            restarts=self._lost,
            lag_s=round(self._lag.seconds, 3),
            host="ray",
        )

    async def _results(self, method: str, args: tuple[object, ...]) -> AsyncGenerator[Item | Done, None]:
        caller = current()
        file = caller.urgency >= Urgency.FILE
        request = dump(Request(method, args, caller))
        about = f"{self._name}.{method}"
        given = False
        # A lost replica keeps its call until the end, so that Serve counts it there and chooses another one.
        with ExitStack() as sent:
            try:
                async with aclosing(self._attempt(request, caller, about, sent, self._first_s)) as results:
                    async for result in results:
                        given = given or result.value is not None
                        yield result
                    return
            except WorkerCrashed as error:
                self._lost += 1
                doubt_all()
                if given or (error.code != WorkerCrashed.code and not file):
                    raise
            # A file has time to wait for a new replica.
            first_s = START_TIMEOUT_S if file else self._first_s
            async with aclosing(self._attempt(request, caller, about, sent, first_s)) as results:
                async for result in results:
                    yield result

    async def _attempt(
        self, request: bytes, caller: Caller, about: str, sent: ExitStack, first_s: float
    ) -> AsyncGenerator[Item | Done, None]:
        """Send a call to a replica. Raises WorkerCrashed when it is lost. sent: cancels the call at its end, if it has
        not ended. first_s: longest wait for a replica and its first message."""
        flight = _Flight()
        around = tracing.around()
        self._flights.append(flight)
        try:
            response = self._run.remote(request)
            sent.callback(lambda: flight.ended or response.cancel())
            deadline_s = first_s
            while True:
                message = await self._next(response, deadline_s)
                deadline_s = ALIVE_S
                if isinstance(message, Ended):
                    flight.ended = True
                    self._note(message, caller, about, around)
                    if isinstance(message.result, Failed):
                        raise message.result.error
                    yield message.result
                    return
                flight.running = not isinstance(message, Alive) or message.running
                if isinstance(message, Item):
                    yield message
        finally:
            self._flights.remove(flight)

    async def _next(self, response: Any, deadline_s: float) -> Message:
        try:
            async with asyncio.timeout(deadline_s):
                message: Message = unpack(await anext(response))
        except TimeoutError:
            raise WorkerCrashed(f"{self._name} did not respond for {deadline_s:g} s.") from None
        except StopAsyncIteration:
            raise WorkerCrashed(f"{self._name} ended its call early.") from None
        except self._losses as error:
            raise WorkerCrashed(f"{self._name} lost its replica ({type(error).__name__}).") from None
        return message

    def _note(self, end: Ended, caller: Caller, about: str, around: Any) -> None:
        """Count a call that has ended, and add the engine's work to the caller's trace."""
        if isinstance(end.result, Failed) and isinstance(end.result.error, Overloaded):
            self._refusals.inc()
        if end.waited_s is not None:
            self._waits[caller.urgency].observe(end.waited_s)
            if caller.urgency is Urgency.NOW:
                self._lag.note(end.waited_s)
        if (ran := end.result.ran) is not None:
            self._busy_seconds.inc((ran.ended_ns - ran.began_ns) / 1e9 / ran.together)
            tracing.happened(about, around, ran.began_ns, ran.ended_ns, {"process.pid": ran.pid})

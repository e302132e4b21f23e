"""A model's replicas behind one scheduler; `open_worker` opens it."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

from pipeline.errors import EngineError, Overloaded, ParleyError, WorkerCrashed
from pipeline.telemetry import metrics, tracing
from pipeline.workers import Load, Serving
from pipeline.workers.caller import Caller, Urgency, current
from pipeline.workers.lag import Lag
from pipeline.workers.model_call import ModelCall
from pipeline.workers.results import ResultsWorker
from pipeline.workers.scheduler import Scheduler
from pipeline.workers.wire import Done, Item

log = logging.getLogger(__name__)


class Host(Protocol):
    """One replica: an engine in a process or a thread. Called only by its own loop in the pool."""

    restarts: int
    """How often the engine was lost and loaded again."""

    @property
    def loaded(self) -> bool:
        """Whether the engine is in memory."""
        ...

    async def load(self) -> None:
        """Load the engine, again if it was lost. Raises the errors of its constructor, or EngineError."""
        ...

    async def serve(self, calls: Sequence[ModelCall]) -> None:
        """Run these calls, which are of one method, together until they end. Raises WorkerCrashed when the engine is
        lost; unfinished calls then stay open."""
        ...

    async def unload(self) -> None:
        """Free the engine's memory."""
        ...

    def when_lost(self, tell: Callable[[], None] | None) -> bool:
        """Return whether a loaded engine was lost; if not, `tell` is called when it is."""
        ...


class Pool(ResultsWorker):
    """See `pipeline.workers.Worker`."""

    def __init__(
        self,
        name: str,
        hosts: Sequence[Host],
        serving: Serving,
        *,
        max_waiting: int,
        max_wait_s: float,
        idle_s: float,
        retry: bool = True,
    ) -> None:
        """max_waiting, max_wait_s: see `Scheduler`. idle_s: time without calls after which a replica is unloaded; 0:
        never. retry: whether a call of a lost engine is retried here, and not by its caller."""
        self._name = name
        self._hosts = hosts
        self._serving = serving
        self._idle_s = idle_s
        self._max_wait_s = max_wait_s
        self._retry = retry
        self._scheduler: Scheduler[ModelCall] = Scheduler(
            name, max_waiting=max_waiting, max_wait_s=max_wait_s, size=len(hosts), gather_s=serving.gather_s
        )
        self._closed = False
        self._lag = Lag()
        self._waits = {urgency: metrics.queue_wait_seconds.labels(name, urgency.name.lower()) for urgency in Urgency}
        self._refusals = metrics.queue_refusals.labels(name)
        self._busy_seconds = metrics.model_busy_seconds.labels(name)

    def load(self) -> Load:
        """Return how busy the model is now."""
        return Load(
            replicas=len(self._hosts),
            loaded=sum(host.loaded for host in self._hosts),
            running=self._scheduler.running,
            waiting=self._scheduler.waiting,
            restarts=sum(host.restarts for host in self._hosts),
            lag_s=round(self._lag.seconds, 3),
        )

    async def _results(self, method: str, args: tuple[object, ...]) -> AsyncGenerator[Item | Done, None]:
        with self.submit(method, args, current()) as call:
            async for result in call.results:
                yield result

    @contextmanager
    def submit(self, method: str, args: tuple[object, ...], caller: Caller) -> Iterator[ModelCall]:
        """Queue a call, and cancel it at the end of the block. Raises Overloaded, or EngineError when the pool is
        closed."""
        if self._closed:
            raise EngineError(f"{self._name} is closed.")
        call = ModelCall(method, args, caller, batched=method in self._serving.batched)
        try:
            self._scheduler.put(call)
        except Overloaded:
            self._refusals.inc()
            raise
        waited = asyncio.get_running_loop().call_later(self._max_wait_s, self._refuse, call)
        try:
            yield call
        finally:
            waited.cancel()
            self._scheduler.remove(call)
            call.cancel()

    def _refuse(self, call: ModelCall) -> None:
        """Refuse a call that has waited for the maximum time."""
        if call.caller.urgency < Urgency.FILE and self._scheduler.remove(call):
            self._refusals.inc()
            call.fail(self._scheduler.overloaded())

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Pool"]:
        """Load all replicas, serve while the block runs, unload. Raises the errors of loading."""
        loops: list[asyncio.Task[None]] = []
        try:
            loaded = await asyncio.gather(*(host.load() for host in self._hosts), return_exceptions=True)
            for error in loaded:
                if error is not None:
                    raise error
            # Not a TaskGroup: it would wrap errors raised in the block. The loops themselves raise nothing.
            loops = [
                asyncio.create_task(self._serve(number, host), name=f"{self._name} worker")
                for number, host in enumerate(self._hosts)
            ]
            yield self
        finally:
            self._closed = True
            for loop in loops:
                loop.cancel()
            if loops:
                await asyncio.wait(loops)
            for call in self._scheduler.clear():
                call.fail(EngineError(f"{self._name} is closed."))
            await asyncio.gather(*(host.unload() for host in self._hosts))

    async def _serve(self, number: int, host: Host) -> None:
        """Serve with one replica: run calls one after another, replace a lost engine, unload an idle one."""
        while True:
            calls = await self._wait(number, host)
            for call in calls:
                call.waited_s = time.monotonic() - call.put_at
                self._waits[call.caller.urgency].observe(call.waited_s)
                if call.caller.urgency is Urgency.NOW:
                    self._lag.note(call.waited_s)
            began = asyncio.get_running_loop().time()
            crashed = hung = False
            failure: Exception = EngineError(f"{self._name} did not end its call.")
            try:
                await host.load()
                await host.serve(calls)
            except asyncio.CancelledError:
                failure = EngineError(f"{self._name} is closed.")
                raise
            except WorkerCrashed as error:
                failure, crashed = error, error.code == WorkerCrashed.code
                hung = not crashed
            except ParleyError as error:
                failure = error
            except Exception as error:  # a call must not wait forever, whatever failed here
                log.exception("%s failed", self._name)
                failure = EngineError(f"{self._name} failed: {type(error).__name__}.")
            finally:
                took_s = asyncio.get_running_loop().time() - began
                self._busy_seconds.inc(took_s)
                self._scheduler.finished(calls, took_s)
                for call in calls:
                    self._trace(call)
                    # A call of a conversation has waited too long already; a file has time for a retry.
                    self._end(call, failure, again=crashed or (hung and call.caller.urgency >= Urgency.FILE))

    def _trace(self, call: ModelCall) -> None:
        """Add the engine's work to the caller's trace, even if the caller left before its end."""
        if (ran := call.ran) is not None:
            about = {"process.pid": ran.pid, "parley.batch": ran.together}
            tracing.happened(f"{self._name}.{call.method}", call.around, ran.began_ns, ran.ended_ns, about)

    def _end(self, call: ModelCall, failure: Exception, *, again: bool) -> None:
        """Finish a call that was taken: nothing if it has ended, a retry once, else its error."""
        if call.over or call.cancelled:
            return
        if again and self._retry and not call.given and not call.retried:
            call.retried = True
            call.batched = False  # if this call crashed the engine, it must not take others down again
            self._scheduler.put_back(call)
        else:
            call.fail(failure)

    async def _wait(self, number: int, host: Host) -> list[ModelCall]:
        """Wait for the next calls. Meanwhile load a lost engine again, and unload an idle one."""
        loop = asyncio.get_running_loop()
        idle_s: float | None = self._idle_s or None
        while True:
            try:
                async with asyncio.timeout(idle_s) as limit:

                    def lost(limit: asyncio.Timeout = limit) -> None:
                        limit.reschedule(loop.time())

                    if host.when_lost(lost):
                        lost()
                    try:
                        serving = self._serving
                        return await self._scheduler.take(
                            serving.batch, serving.file_batch, serving.file_batch_beside_users, replica=number
                        )
                    finally:
                        host.when_lost(None)
            except TimeoutError:
                pass
            if host.when_lost(None):
                try:
                    await host.load()
                except Exception as error:  # the next call retries, and raises the error
                    log.warning("%s did not start: %s", self._name, error)
                    idle_s = None
            elif idle_s is not None:
                log.info("unloaded %s after %g s without a call", self._name, idle_s)
                await host.unload()
                idle_s = None

"""Fair shares of this process: a caller whose requests use much of its time waits before the next one, while others use
the service.

Python runs one thread at a time, so each request, and each thread that it uses, delays the sound of all conversations.
Counted is the CPU time of a request, of the tasks that it starts and of the threads that they use, while it runs and
until its response is complete. A long request waits, too: between the parts of its response, and where it calls
`paced`. Conversations are not delayed here: `Share.heard` limits them.
"""

import asyncio
import math
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from server.access.callers import Caller
from server.access.pace import PACE_WAIT_S
from server.access.rates import TooOften

P = ParamSpec("P")
T = TypeVar("T")

WORK_PER_S = 0.2
"""CPU seconds a second that the requests of one caller may use while others use the service."""
WORK_BURST_S = 1.0
"""CPU seconds that they may use at once, before WORK_PER_S holds."""
FIRST_S = 0.01
"""Expected CPU time of a caller's first request, in seconds."""
COUNTED_S = 0.01
"""CPU seconds of a running request after which they count for its caller."""
PRESENT_S = 30.0
"""Time after a caller's last request during which it is expected to send another one, in seconds."""


HERE = ("", "")
"""Name of all callers on this machine without a key, which do not wait."""


class BusyCaller(TooOften):
    """This caller's requests take too much of the service's time."""


class Charge:
    """The CPU time of one request so far."""

    def __init__(self, pace: "WorkPace", name: tuple[str, str], reserved_s: float) -> None:
        """name: of the caller. reserved_s: what counts for it before the request begins."""
        self._pace, self._name = pace, name
        self._counted_s = reserved_s
        self._since = 0.0
        self.seconds = 0.0
        self.over = False
        """Whether the request has ended. The later work of its tasks is not counted."""

    async def run(self, work: Awaitable[T]) -> T:
        """Run the request's own work, and end the charge."""
        token = _charge.set(self)
        try:
            return await _Charged(_waited_for(work), self)
        finally:
            _charge.reset(token)
            self.end()

    def begin_step(self) -> None:
        """Note that a step of the request begins on the event loop."""
        self._since = time.perf_counter()

    def count_step(self) -> None:
        """Count the step so far."""
        if self.over:
            return
        now = time.perf_counter()
        self.seconds += now - self._since
        self._since = now
        if (more_s := self.seconds - self._counted_s) >= COUNTED_S:
            self._counted_s = self.seconds
            self._pace.used(self._name, more_s)

    async def pause(self) -> None:
        """Wait while the caller's requests have used too much, PACE_WAIT_S at most."""
        self.count_step()
        if wait_s := self._pace.wait_s(self._name):
            await asyncio.sleep(min(wait_s, PACE_WAIT_S))

    def end(self) -> None:
        """End the charge."""
        self.over = True
        self._pace.ended(self._name, self.seconds - self._counted_s, self.seconds)


async def _waited_for(work: Awaitable[T]) -> T:
    return await work


_charge: ContextVar[Charge | None] = ContextVar("charge", default=None)


async def paced() -> None:
    """Let a long request wait if its caller uses too much of the service's time. Call it where nothing is held that
    others wait for."""
    if (charge := _charge.get()) is not None:
        await charge.pause()


class _Charged(Coroutine[object, object, T], Awaitable[T]):
    """A coroutine whose steps on the event loop are counted: by the clock, because reading a thread's CPU time takes as
    long as a short step."""

    def __init__(self, work: Coroutine[object, object, T], charge: Charge) -> None:
        self._work, self._charge = work, charge

    def send(self, value: object, /) -> object:
        self._charge.begin_step()
        try:
            return self._work.send(value)
        finally:
            self._charge.count_step()

    def throw(self, *error: Any) -> object:
        self._charge.begin_step()
        try:
            return self._work.throw(*error)
        finally:
            self._charge.count_step()

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[object, object, T]:
        step, given = self.send, None
        while True:
            try:
                awaited = step(given)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            try:
                step, given = self.send, (yield awaited)
            except BaseException as error:  # to be raised where the work waits
                step, given = self.throw, error

    def __getattr__(self, name: str) -> object:
        return getattr(self._work, name)  # anyio looks at the state of a task's coroutine


class _ChargedThreads(ThreadPoolExecutor):
    """Threads whose CPU time is counted for the request that uses them."""

    def submit(self, work: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> Future[T]:
        charge = _charge.get()
        return super().submit(work if charge is None else _timed(work, charge), *args, **options)


def _timed(work: Callable[P, T], charge: Charge) -> Callable[P, T]:
    def run(*args: P.args, **options: P.kwargs) -> T:
        began = time.thread_time()
        try:
            return work(*args, **options)
        finally:
            charge.seconds += time.thread_time() - began

    return run


def _task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
    charge = _charge.get()
    counted = work if charge is None or charge.over else _Charged(work, charge)
    return asyncio.Task(counted, loop=loop, **options)


@asynccontextmanager
async def counted_work() -> AsyncIterator[None]:
    """Count the work of requests' tasks and threads on the running loop during the block."""
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    if before is None:
        loop.set_task_factory(_task)
    loop.set_default_executor(_ChargedThreads(thread_name_prefix="shared"))
    try:
        yield
    finally:
        loop.set_task_factory(before)


@dataclass(slots=True)
class _Used:
    """A caller's bucket."""

    level_s: float = 0.0
    """CPU seconds above the pace."""
    at: float = 0.0
    mean_s: float = FIRST_S
    """CPU seconds of a request of this caller."""


class WorkPace:
    """The work of each caller's requests in this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: OrderedDict[tuple[str, str], _Used] = OrderedDict()
        """Callers of the last PRESENT_S, the longest absent one first."""
        self._working: OrderedDict[tuple[str, str], float] = OrderedDict()
        """Callers, and when they last sent more than a question (GET), the longest absent one first."""
        self._conversing: Counter[tuple[str, str]] = Counter()
        """Number of each caller's open conversations."""

    @contextmanager
    def conversation(self, caller: Caller) -> Iterator[None]:
        """Note that this caller uses the service during the block."""
        name = _name(caller)
        self._conversing[name] += 1
        try:
            yield
        finally:
            self._conversing[name] -= 1
            if not self._conversing[name]:
                del self._conversing[name]

    async def turn(self, caller: Caller, method: str, delay_refusal: Callable[[], Awaitable[None]]) -> Charge:
        """Wait until a request of this caller may begin, and reserve the time that it is expected to use. Raises
        BusyCaller, after `delay_refusal`, if that is later than in PACE_WAIT_S. Callers on this machine without a key
        do not wait."""
        wait_s, charge = self.reserve(caller, method)
        if wait_s > PACE_WAIT_S:
            await delay_refusal()
            raise BusyCaller(
                f"Your requests take too much of this service's time; retry in {math.ceil(wait_s)} s.",
                retry_after_s=math.ceil(wait_s),
            )
        if wait_s:
            try:
                await asyncio.sleep(wait_s)
            except asyncio.CancelledError:
                charge.end()
                raise
        return charge

    def reserve(self, caller: Caller, method: str = "POST") -> tuple[float, Charge]:
        """Return the seconds until a request of this caller may begin, and its charge. If they are more than
        PACE_WAIT_S, nothing is reserved."""
        name, now = _name(caller), self._clock()
        if method not in ("GET", "HEAD", "OPTIONS"):
            self._working[name] = now
            self._working.move_to_end(name)
        wait_s = self.wait_s(name)
        used = self._used(name, now)
        reserved_s = used.mean_s if wait_s <= PACE_WAIT_S else 0.0
        used.level_s += reserved_s
        return wait_s, Charge(self, name, reserved_s)

    def wait_s(self, name: tuple[str, str]) -> float:
        """Return the seconds until this caller's requests may continue."""
        now = self._clock()
        used = self._used(name, now)
        if name == HERE or not self._others(name, now):
            # What it has used alone delays it by a few seconds at most when another caller has come.
            used.level_s = min(used.level_s, WORK_BURST_S + PACE_WAIT_S * WORK_PER_S)
            return 0.0
        return max(0.0, used.level_s - WORK_BURST_S) / WORK_PER_S

    def used(self, name: tuple[str, str], seconds: float) -> None:
        """Note what a running request has used beyond what is already counted."""
        used = self._used(name, self._clock())
        used.level_s = max(0.0, used.level_s + seconds)

    def ended(self, name: tuple[str, str], rest_s: float, seconds: float) -> None:
        """Note that a request has ended. rest_s: what is not counted yet, or below 0 what was reserved and not used.
        seconds: all that it has used."""
        self.used(name, rest_s)
        used = self._of[name]
        used.mean_s += (seconds - used.mean_s) / 10

    def _used(self, name: tuple[str, str], now: float) -> _Used:
        used = self._of.setdefault(name, _Used(at=now))
        self._of.move_to_end(name)
        used.level_s = max(0.0, used.level_s - (now - used.at) * WORK_PER_S)
        used.at = now
        while now - next(iter(self._of.values())).at > PRESENT_S:
            self._of.popitem(last=False)
        return used

    def _others(self, name: tuple[str, str], now: float) -> bool:
        """Whether other callers use the service now."""
        while self._working and now - next(iter(self._working.values())) > PRESENT_S:
            self._working.popitem(last=False)
        return bool(self._conversing.keys() - {name} or self._working.keys() - {name})


def _name(caller: Caller) -> tuple[str, str]:
    return caller.counted_as or HERE

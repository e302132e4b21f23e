"""Who is served next by a model that everybody shares: by urgency, then fairly by session, and never more waiting than
a bound.

A call says who it is for by a context variable (`calling`), so that engines and their Protocols know nothing of it.
"""

import asyncio
import contextlib
import math
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, Protocol, TypeVar

from pipeline.errors import Overloaded


class Urgency(IntEnum):
    """Classes of calls; a lower number is served before all higher ones."""

    NOW = 0
    """Somebody waits in silence for it: a final transcript, the first clause of a reply."""
    AHEAD = 1
    """It will be wanted soon if a guess is right: the same for a turn that is not committed yet."""
    LATER = 2
    """Nobody waits yet: further clauses, partial transcripts."""
    FILE = 3
    """Work without a listener: files and jobs."""


@dataclass(slots=True)
class Caller:
    """Who calls are for. `urgency` may change while they wait: a speculative turn that is committed becomes urgent."""

    session: str = ""
    urgency: Urgency = Urgency.NOW
    account: str = ""
    """Who pays for the calls: a key or an address, with all of its sessions. "": each session for itself."""

    @property
    def shares_with(self) -> str:
        """Name of the account, or of the session that stands alone."""
        return self.account or f"session {self.session}"


_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


@contextmanager
def calling(
    *, session: str | None = None, urgency: Urgency | None = None, account: str | None = None
) -> Iterator[Caller]:
    """Calls made in the block, and by tasks that are created in it, are for this session and of this urgency."""
    outer = _caller.get() or Caller()
    caller = Caller(
        outer.session if session is None else session,
        outer.urgency if urgency is None else urgency,
        outer.account if account is None else account,
    )
    token = _caller.set(caller)
    try:
        yield caller
    finally:
        _caller.reset(token)


def for_session(session: str) -> AbstractContextManager[Caller]:
    """As `calling(session=…)`, but a caller that is for this session already stays the same one."""
    caller = _caller.get()
    return nullcontext(caller) if caller is not None and caller.session == session else calling(session=session)


def less_urgent(urgency: Urgency) -> AbstractContextManager[Caller]:
    """As `calling(urgency=…)`, but never more urgent than the calls around it."""
    outer = _caller.get() or Caller()
    return calling(urgency=max(urgency, outer.urgency))


def current() -> Caller:
    """Who the calls of this task are for."""
    return _caller.get() or Caller()


class Waiting(Protocol):
    """What the scheduler needs to know of a call. `method` and `batched`: calls of one method that are batched may
    be run together."""

    caller: Caller
    method: str
    batched: bool


T = TypeVar("T", bound=Waiting)

OWN_SHARE = 8
"""Calls of one session that may always wait: a live conversation has two or three."""
REMEMBERED = 256
"""Sessions that were served last, at the least: between two of its windows a file neither waits nor runs, and far fewer
are transcribed at a time."""
STEADY_S = 1.0
"""A batch this long ago says nothing about how many come together now."""


class Scheduler(Generic[T]):
    """The way to one model: calls are put in by whoever has one and taken out by the model's replicas.

    Taken: the most urgent class first; inside a class the account that was served longest ago, and of its sessions the
    one that was served longest ago; first come first served inside a session. At most `max_waiting` wait beyond those
    that a replica could take at once, of one account at most half as many and of one session a quarter (each at least
    OWN_SHARE); as many files may wait beside them.
    """

    def __init__(
        self, name: str, *, max_waiting: int, max_wait_s: float = math.inf, size: int = 1, gather_s: float = 0.0
    ) -> None:
        """max_wait_s: see `put`. size: replicas that take. gather_s: how long a batch waits for as many calls as the
        one before it had."""
        self._name = name
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._size = size
        self._gather_s = gather_s
        self._queue: list[T] = []
        self._takers: deque[asyncio.Future[T]] = deque()
        self._arrived = asyncio.Event()
        self._served: OrderedDict[str, None] = OrderedDict()
        """Sessions in the order in which they were served last."""
        self._served_accounts: OrderedDict[str, None] = OrderedDict()
        """Accounts in the order in which they were served last."""
        self._mean_s = 0.1
        self._last_batch = (0, -math.inf)
        """Calls in the batch that ended last, and when."""
        self.running = 0
        """Calls that are served now."""

    @property
    def waiting(self) -> int:
        """Calls that wait now."""
        return len(self._queue)

    def put(self, call: T) -> None:
        """Let a call wait for its turn. Raises Overloaded at once when too many wait already, or when its turn would
        probably not come within `max_wait_s`; files wait as long as it takes."""
        if self._hand_over(call):
            return
        ahead = sum(other.caller.urgency <= call.caller.urgency for other in self._queue)
        late = call.caller.urgency < Urgency.FILE and ahead * self._mean_s / self._size > self._max_wait_s
        if late or self._full(call.caller) or self._greedy(call.caller):
            raise self.overloaded()
        self._queue.append(call)
        self._arrived.set()

    def _full(self, caller: Caller) -> bool:
        """Whether too many wait already. Files take no room from conversations, and count as one each, however many
        windows of it wait: one that has begun, of which something was served, is not refused in its middle."""
        of_files = caller.urgency is Urgency.FILE
        alike = [other.caller for other in self._queue if (other.caller.urgency is Urgency.FILE) == of_files]
        if of_files and caller.session:
            if caller.session in self._served:
                return False
            sessions = {other.session for other in alike}
            return caller.session not in sessions and len(sessions) >= self._max_waiting
        return len(alike) >= self._max_waiting

    def _greedy(self, caller: Caller) -> bool:
        """Whether this session or account has filled so much of the queue that others would be refused for it."""
        if caller.urgency >= Urgency.FILE:
            return False
        if caller.account:
            of_account = sum(other.caller.account == caller.account for other in self._queue)
            if of_account >= max(OWN_SHARE, self._max_waiting // 2):
                return True
        own = sum(other.caller.session == caller.session for other in self._queue)
        return bool(caller.session) and own >= max(OWN_SHARE, self._max_waiting // 4)

    def overloaded(self) -> Overloaded:
        """What a call is refused with, now."""
        retry_s = max(0.5, round(self.waiting * self._mean_s / self._size, 1))
        return Overloaded(f"Too many wait for {self._name}; try again in {retry_s:g} s.", retry_after_s=retry_s)

    def put_back(self, call: T) -> None:
        """A call that was taken and not served is the next one of its session again."""
        if not self._hand_over(call):
            self._queue.insert(0, call)
            self._arrived.set()

    def remove(self, call: T) -> bool:
        """It shall not wait any more; whether it still did."""
        try:
            self._queue.remove(call)
        except ValueError:
            return False
        return True

    async def take(self, most: int = 1, most_of_files: int = 1) -> list[T]:
        """The next call and, up to `most`, those that may be run together with it; `finished` ends them.

        A call alone waits for no others, unless the batch before it, just now, had more: then for as many, and
        `gather_s` at most.
        """
        if self._queue:
            first = self._next(self._queue)
            self._queue.remove(first)
        else:
            first = await self._handed()
        batch = [first]
        self._serve(first)
        most = most_of_files if first.caller.urgency is Urgency.FILE else most
        try:
            if most > 1 and first.batched:
                await self._fill(batch, most)
        except BaseException:
            for call in reversed(batch):
                self.running -= 1
                self.put_back(call)
            raise
        return batch

    def finished(self, calls: Sequence[T], seconds: float) -> None:
        """These calls, taken together, were served in so many seconds."""
        # A moving mean over some ten calls: good enough to say when to come back.
        self._mean_s += (seconds / len(calls) - self._mean_s) / 10
        self._last_batch = (len(calls), asyncio.get_running_loop().time())
        self.running -= len(calls)

    def clear(self) -> list[T]:
        """The calls that still wait, for whom nobody will come any more."""
        left, self._queue = self._queue, []
        return left

    async def _handed(self) -> T:
        taker: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._takers.append(taker)
        try:
            return await taker
        except asyncio.CancelledError:
            if taker.done() and not taker.cancelled():
                self.put_back(taker.result())  # handed over in the very moment in which the replica stopped
            raise

    def _hand_over(self, call: T) -> bool:
        """Whether a replica stood waiting for a call."""
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():  # one that has just been cancelled is still in the list
                taker.set_result(call)
                return True
        return False

    async def _fill(self, batch: list[T], most: int) -> None:
        before, ended = self._last_batch
        loop = asyncio.get_running_loop()
        until = loop.time() + self._gather_s
        steady = before > 1 and loop.time() - ended < STEADY_S
        while True:
            first = batch[0]
            alike = [
                call
                for call in self._queue
                if call.batched and call.method == first.method and call.caller.urgency == first.caller.urgency
            ]
            while alike and len(batch) < most:
                call = self._next(alike)
                alike.remove(call)
                self._queue.remove(call)
                batch.append(call)
                self._serve(call)
            if len(batch) >= (min(before, most) if steady else 1) or loop.time() >= until:
                return
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._arrived.wait()

    def _next(self, calls: Sequence[T]) -> T:
        sessions = {session: index for index, session in enumerate(self._served)}
        accounts = {account: index for index, account in enumerate(self._served_accounts)}
        # `min` takes the first where ranks are equal: the order of arrival.
        return min(
            calls,
            key=lambda call: (
                call.caller.urgency,
                accounts.get(call.caller.shares_with, -1),
                sessions.get(call.caller.session, -1),
            ),
        )

    def _serve(self, call: T) -> None:
        self.running += 1
        for served, name in (
            (self._served, call.caller.session),
            (self._served_accounts, call.caller.shares_with),
        ):
            served[name] = None
            served.move_to_end(name)
            while len(served) > max(REMEMBERED, 4 * self._max_waiting):
                served.popitem(last=False)

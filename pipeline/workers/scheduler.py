"""Scheduling of calls to a shared model: by urgency, then fairly by account and session, with a limit on the waiting
calls."""

import asyncio
import contextlib
import math
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar

from pipeline.errors import Overloaded
from pipeline.workers.caller import Caller, Urgency


class Waiting(Protocol):
    """The scheduler's view of a call. Calls of one `method` that are `batched` can run together."""

    caller: Caller
    method: str
    batched: bool


T = TypeVar("T", bound=Waiting)

OWN_SHARE = 8
"""Calls of one session that can always wait: a live conversation has two or three."""
REMEMBERED = 256
"""Minimum number of recently served sessions that are remembered: between two of its windows a file neither waits nor
runs, and far fewer files are transcribed at a time."""
STEADY_S = 1.0
"""Age at which a batch says nothing about the current rate of calls, in seconds."""
CONVERSING_S = 30.0
"""Time after a conversation's call during which its user is expected to need the model again, in seconds."""

ACCOUNT_S = 0.15
"""Time that the calls of one account in a batch take together while other accounts use the model, in seconds. On a CPU
that is one call or two; a GPU decodes a whole batch in it."""


class Scheduler(Generic[T]):
    """The queue for one model: callers put calls in, the model's replicas take them out.

    Taken: the most urgent class first; inside a class the account that was served longest ago, and of its sessions the
    one that was served longest ago; first come first served inside a session. At most `max_waiting` wait beyond those
    that a replica could take at once, of one account at most half as many and of one session a quarter (each at least
    OWN_SHARE); as many files may wait beside them. While conversations use the model, files leave one replica free, and
    so do the calls of one account while others use it. Files, and accounts with several calls at a time, leave the
    first one to accounts with fewer: its process has the highest priority, so what the other replicas compute takes
    little of its core.
    """

    def __init__(
        self, name: str, *, max_waiting: int, max_wait_s: float = math.inf, size: int = 1, gather_s: float = 0.0
    ) -> None:
        """max_wait_s: see `put`. size: number of replicas. gather_s: time that a batch waits for as many calls as the
        previous one had."""
        self._name = name
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._size = size
        self._gather_s = gather_s
        self._queue: list[T] = []
        self._takers: list[tuple[int, asyncio.Future[T]]] = []
        """Replicas that wait for a call, by number."""
        self._arrived = asyncio.Event()
        self._served: OrderedDict[str, None] = OrderedDict()
        """Sessions in the order in which they were served last."""
        self._served_accounts: OrderedDict[str, float] = OrderedDict()
        """Accounts in the order in which they were served last, and when a conversation's call last was."""
        self._mean_s = 0.1
        self._last_batch = (0, -math.inf)
        """Size of the last batch, and when it ended."""
        self._conversed_at = -math.inf
        """Time of the newest call that is not of a file."""
        self.running = 0
        """Number of running calls."""
        self._held: list[Caller] = []
        """Caller of the first call on each busy replica."""

    @property
    def waiting(self) -> int:
        """Number of waiting calls."""
        return len(self._queue)

    def put(self, call: T) -> None:
        """Queue a call. Raises Overloaded at once if too many wait already, or if its turn is expected to take longer
        than `max_wait_s`; files wait without a limit."""
        # A call of the service itself, such as the first one to a model that was just loaded, has neither of the two.
        if call.caller.urgency < Urgency.FILE and (call.caller.session or call.caller.account):
            self._conversed_at = asyncio.get_running_loop().time()
        if self._hand_over(call):
            return
        ahead = sum(other.caller.urgency <= call.caller.urgency for other in self._queue)
        late = call.caller.urgency < Urgency.FILE and ahead * self._mean_s / self._size > self._max_wait_s
        if late or self._full(call.caller) or self._greedy(call.caller):
            raise self.overloaded()
        self._queue.append(call)
        self._arrived.set()

    def _full(self, caller: Caller) -> bool:
        """Whether too many calls wait already. Files take no room from conversations, and each counts once, however
        many of its windows wait. A file of which a window was served is not refused later."""
        of_files = caller.urgency >= Urgency.FILE
        kinds = range(Urgency.FILE, caller.urgency + 1) if of_files else range(Urgency.FILE)  # idle files come last
        alike = [other.caller for other in self._queue if other.caller.urgency in kinds]
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
        """Return the error for refusing a call now."""
        retry_s = max(0.5, round(self.waiting * self._mean_s / self._size, 1))
        return Overloaded(f"Too many calls wait for {self._name}; retry in {retry_s:g} s.", retry_after_s=retry_s)

    def put_back(self, call: T) -> None:
        """Return a call that was taken and not served to the queue, as the next one of its session."""
        if not self._hand_over(call):
            self._queue.insert(0, call)
            self._arrived.set()

    def remove(self, call: T) -> bool:
        """Remove a call from the queue; return whether it was still there."""
        try:
            self._queue.remove(call)
        except ValueError:
            return False
        return True

    @property
    def conversing(self) -> bool:
        """Whether conversations use the model now."""
        return asyncio.get_running_loop().time() - self._conversed_at < CONVERSING_S

    async def take(
        self, most: int = 1, most_of_files: int = 1, most_beside_users: int = 1, *, replica: int = 0
    ) -> list[T]:
        """Take the next call for this replica and, up to `most`, those that can run together with it; `finished` ends
        them. Each replica takes its share of the calls, so that none is idle while another one runs them all.

        most_of_files: the limit for calls of files. most_beside_users: the same while conversations use the model,
        which wait until a batch has ended.

        A single call does not wait for others, unless the previous batch, just now, had more: then it waits for as
        many, for `gather_s` at most.
        """
        if ready := self._ready(replica):
            first = self._next(ready)
            self._queue.remove(first)
            self._begin(first)
        else:
            first = await self._handed(replica)
        batch = [first]
        self._serve(first)
        if first.caller.urgency >= Urgency.FILE:
            most = most_beside_users if self.conversing else most_of_files
        try:
            if most > 1 and first.batched:
                await self._fill(batch, most, replica)
        except BaseException:
            self._end(first)
            for call in reversed(batch):
                self.running -= 1
                self.put_back(call)
            raise
        return batch

    def finished(self, calls: Sequence[T], seconds: float) -> None:
        """Record that these calls, taken together, ran for `seconds`."""
        # A moving mean over about ten calls: exact enough for a retry time.
        self._mean_s += (seconds / len(calls) - self._mean_s) / 10
        self._last_batch = (len(calls), asyncio.get_running_loop().time())
        self.running -= len(calls)
        self._end(calls[0])
        self._dispatch()

    def _dispatch(self) -> None:
        """Hand waiting calls to replicas that wait for one."""
        for replica, _ in sorted(self._takers, key=lambda taker: taker[0]):
            if (ready := self._ready(replica)) and self._hand_over(call := self._next(ready)):
                self._queue.remove(call)

    def clear(self) -> list[T]:
        """Remove and return the calls that still wait: their model is closed."""
        left, self._queue = self._queue, []
        return left

    async def _handed(self, replica: int) -> T:
        taker: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._takers.append((replica, taker))
        try:
            return await taker
        except asyncio.CancelledError:
            if taker.done() and not taker.cancelled():
                self._end(taker.result())
                self.put_back(taker.result())  # passed on at the moment when the replica stopped
            raise

    def _hand_over(self, call: T) -> bool:
        """Pass a call to the first replica that waits for one and may run it; return whether there was one."""
        self._takers = [taker for taker in self._takers if not taker[1].done()]  # some were just cancelled
        free = [taker for taker in self._takers if not self._waits(call.caller, taker[0])]
        if not free:
            return False
        taker = min(free, key=lambda taker: taker[0])
        self._takers.remove(taker)
        self._begin(call)
        taker[1].set_result(call)
        return True

    def _ready(self, replica: int) -> list[T]:
        """Return the waiting calls that this replica may run now."""
        return [call for call in self._queue if not self._waits(call.caller, replica)]

    def _waits(self, caller: Caller, replica: int) -> bool:
        """Whether calls like this one run on all replicas but one, which is kept free for others that use the model:
        files for all conversations, calls of one account for those of others. A session's own less urgent calls, such
        as its partial transcripts, do not count. The free one is the first, except for the account with the
        fewest calls."""
        if self._size == 1:
            return False
        if replica == 0 and self._yields_first(caller):
            return True
        if caller.urgency >= Urgency.FILE:
            alike = [held for held in self._held if held.urgency >= Urgency.FILE]
            return len(alike) >= self._size - 1 and self.conversing
        alike = [held for held in self._held if held.account == caller.account and not _yields(held, caller)]
        return bool(caller.account) and len(alike) >= self._size - 1 and bool(self._using() - {caller.account})

    def _yields_first(self, caller: Caller) -> bool:
        """Whether the first replica is for others: for all conversations, or for an account that has fewer calls now,
        if this one has several. Those of the caller's own session do not count."""
        if caller.urgency >= Urgency.FILE:
            return self.conversing
        calls = Counter(account for account in map(partial(_competitor, caller), self._present()) if account)
        mine = calls.pop(caller.account, 0)
        return mine > 0 and any(calls[account] <= mine for account in self._using() - {caller.account})

    def _present(self) -> Iterator[Caller]:
        """Yield the callers of running and waiting calls."""
        yield from self._held
        yield from (call.caller for call in self._queue)

    def _begin(self, first: T) -> None:
        """Note a replica that is about to run a batch beginning with this call."""
        self._held.append(first.caller)

    def _end(self, first: T) -> None:
        """Note that it is free again."""
        index = next(index for index, held in enumerate(self._held) if held is first.caller)
        del self._held[index]

    async def _fill(self, batch: list[T], most: int, replica: int) -> None:
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
                if call.caller.shares_with == first.caller.shares_with or not self._waits(call.caller, replica)
            ]
            share = -(-(len(alike) + self.running) // self._size)
            of_files = first.caller.urgency >= Urgency.FILE
            of_account = math.inf if of_files else self._slots_of_account()
            while alike and len(batch) < min(most, share):
                call = self._next(alike)
                alike.remove(call)
                together = sum(other.caller.shares_with == call.caller.shares_with for other in batch)
                if together >= of_account:
                    continue
                self._queue.remove(call)
                batch.append(call)
                self._serve(call)
            if alike or len(batch) >= (min(before, most) if steady else 1) or loop.time() >= until:
                return
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._arrived.wait()

    def _slots_of_account(self) -> float:
        """Maximum number of calls of one account in a batch of conversations. Others wait until a batch has ended, so
        while they use the model, the calls of one account together take ACCOUNT_S at most."""
        return math.inf if len(self._using()) < 2 else max(1, int(ACCOUNT_S / self._mean_s))

    def _using(self) -> set[str]:
        """Return the accounts whose conversations use the model now."""
        since = asyncio.get_running_loop().time() - CONVERSING_S
        return {account for account, at in self._served_accounts.items() if at >= since}

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
        self._served[call.caller.session] = None
        account = call.caller.shares_with
        if call.caller.urgency >= Urgency.FILE:
            self._served_accounts.setdefault(account, -math.inf)
        else:
            self._served_accounts[account] = asyncio.get_running_loop().time()
        for served, name in (
            (self._served, call.caller.session),
            (self._served_accounts, call.caller.shares_with),
        ):
            served.move_to_end(name)
            while len(served) > max(REMEMBERED, 4 * self._max_waiting):
                served.popitem(last=False)


def _competitor(caller: Caller, other: Caller) -> str:
    """Return the account of another call of a conversation; "" for one of a file, and of the same session."""
    own = other is caller or (other.session and other.session == caller.session)
    return "" if own or other.urgency >= Urgency.FILE else other.shares_with


def _yields(held: Caller, caller: Caller) -> bool:
    """Whether a running call is of the same session as this one and less urgent. Calls without a session, such as those
    of requests, are strangers to each other."""
    return bool(held.session) and held.session == caller.session and held.urgency > caller.urgency

"""Processor cores for the calls of all local models: while another account's calls run or wait, those of one account
leave one core free.

Each model has a queue of its own (`scheduler.py`), but all share the cores. A caller with many connections could keep
every model busy at once, and then the calls of others would take twice as long, without waiting in any queue.
"""

import asyncio
from collections import Counter
from typing import Protocol
from weakref import WeakKeyDictionary

from pipeline.support.threads import CORES
from pipeline.workers.caller import Caller, Urgency


class Waiter(Protocol):
    """A queue whose calls may wait for cores."""

    def dispatch(self) -> None:
        """Start waiting calls that may run now."""
        ...


class Cores:
    """The cores that calls of conversations use. Calls of files are neither counted nor held back.

    Of accounts whose calls run or wait, only those that have more of them than another one leave a core free, so two
    accounts never wait for each other. Calls of one session are not held back by each other: one can wait for the
    result of another, as speech for the text of a language model.
    """

    def __init__(self, count: int = CORES) -> None:
        self._count = count
        self._held: list[tuple[Caller, int]] = []
        """Caller and threads of each running call or batch."""
        self._present: Counter[str] = Counter()
        """Number of running and waiting calls of each account."""
        self._waiters: WeakKeyDictionary[Waiter, None] = WeakKeyDictionary()

    def share_with(self, waiter: Waiter) -> None:
        """Tell a queue when its calls may run again."""
        self._waiters[waiter] = None

    def come(self, caller: Caller) -> None:
        """Note a new call."""
        if caller.urgency < Urgency.FILE:
            self._present[caller.shares_with] += 1

    def leave(self, caller: Caller) -> None:
        """Note that a call has ended, or no longer waits."""
        if caller.urgency < Urgency.FILE:
            self._present[caller.shares_with] -= 1
            if not self._present[caller.shares_with]:
                del self._present[caller.shares_with]

    def begin(self, caller: Caller, threads: int) -> None:
        """Note that a call, or a batch that begins with it, runs on this many threads."""
        self._held.append((caller, threads))

    def end(self, caller: Caller) -> None:
        """Note that it has ended."""
        index = next(index for index, (held, _) in enumerate(self._held) if held is caller)
        del self._held[index]

    def changed(self) -> None:
        """Start calls that may run now that another one has ended. The replica that ran it does not wait for one yet,
        so the other models come first."""
        for waiter in list(self._waiters):
            waiter.dispatch()

    def refuse(self, caller: Caller, threads: int) -> bool:
        """Whether a call that waits, to run on this many threads, must leave its core to others now."""
        if not caller.account or caller.urgency >= Urgency.FILE:
            return False
        held = sum(count for other, count in self._held if _is_other_session(other, caller))
        if not held or held + threads < self._count:
            return False
        return min(self._present.values()) < self._present[caller.shares_with]


def _is_other_session(held: Caller, caller: Caller) -> bool:
    """Whether a running call of a conversation is of the same account and not of the same session."""
    alike = held.account == caller.account and held.urgency < Urgency.FILE
    return alike and not (held.session and held.session == caller.session)


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Cores] = WeakKeyDictionary()


def shared_cores() -> Cores:
    """Return the cores that all models of the running event loop share."""
    return _of_loops.setdefault(asyncio.get_running_loop(), Cores())

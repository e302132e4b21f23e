"""Who is served next by a model that everybody shares: by urgency, then fairly by session, and never more waiting than
a bound.

A call says who it is for by a context variable (`calling`), so that engines and their Protocols know nothing of it.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum

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


_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


@contextmanager
def calling(*, session: str | None = None, urgency: Urgency | None = None) -> Iterator[Caller]:
    """Calls made in the block, and by tasks that are created in it, are for this session and of this urgency."""
    outer = _caller.get() or Caller()
    caller = Caller(outer.session if session is None else session, outer.urgency if urgency is None else urgency)
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


class Scheduler:
    """The way into one model: `size` calls at a time, at most `max_waiting` before it.

    Served: the most urgent class first; inside a class the session that was served longest ago; first come first
    served inside a session. Who has entered may hand the duty to `leave` to another task.
    """

    def __init__(self, name: str, *, max_waiting: int, size: int = 1) -> None:
        self._name = name
        self._max_waiting = max_waiting
        self._size = size
        self._queue: list[tuple[Caller, asyncio.Future[None]]] = []
        self._served: OrderedDict[str, None] = OrderedDict()
        """Sessions in the order in which they were served last."""
        self._entered: deque[float] = deque()
        self._mean_s = 0.1
        self.running = 0
        """Calls that are served now."""

    @property
    def waiting(self) -> int:
        """Calls that wait now."""
        return len(self._queue)

    async def enter(self) -> None:
        """Wait for the turn of the current caller. Raises Overloaded at once when too many wait already."""
        caller = _caller.get() or Caller()
        if self.running < self._size:
            self._serve(caller)
            return
        if self.waiting >= self._max_waiting:
            retry_s = max(0.5, round(self.waiting * self._mean_s / self._size, 1))
            raise Overloaded(f"Too many wait for {self._name}; try again in {retry_s:g} s.", retry_after_s=retry_s)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((caller, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # it was this call's turn in the very moment in which it was given up
            else:
                self._queue.remove((caller, turn))
            raise

    def leave(self) -> None:
        """Let the next one in."""
        # A moving mean over some ten calls: good enough to say when to come back.
        self._mean_s += (time.monotonic() - self._entered.popleft() - self._mean_s) / 10
        self.running -= 1
        if self._queue:
            served = {session: index for index, session in enumerate(self._served)}
            # `min` takes the first where ranks are equal: the order of arrival.
            caller, turn = min(self._queue, key=lambda call: (call[0].urgency, served.get(call[0].session, -1)))
            self._queue.remove((caller, turn))
            self._serve(caller)
            turn.set_result(None)

    def _serve(self, caller: Caller) -> None:
        self.running += 1
        self._entered.append(time.monotonic())
        self._served[caller.session] = None
        self._served.move_to_end(caller.session)
        while len(self._served) > 4 * self._max_waiting:
            self._served.popitem(last=False)

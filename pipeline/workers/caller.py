"""The party that a call of a model is made for, and its urgency.

A context variable (`calling`) names the caller, so that engines and their Protocols know nothing of it.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import IntEnum


class Urgency(IntEnum):
    """Classes of calls; a lower number is served before all higher ones."""

    NOW = 0
    """A user waits for it in silence: a final transcript, the first clause of a reply."""
    AHEAD = 1
    """Needed soon if a guess is right: the same for a speculative turn."""
    LATER = 2
    """Not needed by the user yet: further clauses, partial transcripts."""
    FILE = 3
    """Background work: files and jobs."""
    IDLE = 4
    """Files for which no user waits, such as those of watched folders."""


@dataclass(slots=True)
class Caller:
    """The party that calls are made for. `urgency` can change while they wait: a speculative turn that is committed
    becomes urgent."""

    session: str = ""
    urgency: Urgency = Urgency.NOW
    account: str = ""
    """The key or address that the calls count for, with all of its sessions. "": each session counts alone."""
    _watchers: list[Callable[[], None]] = field(default_factory=list, init=False, repr=False, compare=False)

    def __reduce__(self) -> tuple[object, ...]:
        return Caller, (self.session, self.urgency, self.account)  # another process has no use for the watchers

    def hasten(self, urgency: Urgency) -> None:
        """Change the urgency, also of calls that wait already."""
        self.urgency = urgency
        for tell in self._watchers:
            tell()

    @contextmanager
    def watched(self, tell: Callable[[], None]) -> Iterator[None]:
        """Call `tell` after each change of the urgency while the block runs."""
        self._watchers.append(tell)
        try:
            yield
        finally:
            self._watchers.remove(tell)

    @property
    def shares_with(self) -> str:
        """Name of the account, or of the session that stands alone."""
        return self.account or f"session {self.session}"


_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


@contextmanager
def calling(
    *, session: str | None = None, urgency: Urgency | None = None, account: str | None = None
) -> Iterator[Caller]:
    """Set session, urgency and account for calls in the block, and in tasks created in it."""
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
    """Do the same as `calling(session=…)`, but keep a caller that is for this session already."""
    caller = _caller.get()
    return nullcontext(caller) if caller is not None and caller.session == session else calling(session=session)


def less_urgent(urgency: Urgency) -> AbstractContextManager[Caller]:
    """Do the same as `calling(urgency=…)`, but never more urgent than the surrounding calls."""
    outer = _caller.get() or Caller()
    return calling(urgency=max(urgency, outer.urgency))


def for_file(session: str | None = None) -> AbstractContextManager[Caller]:
    """Do the same as `calling(session=…)` for the calls of a file, which are not urgent, or less if the surrounding
    calls are."""
    outer = _caller.get() or Caller()
    return calling(session=session, urgency=max(Urgency.FILE, outer.urgency))


def current() -> Caller:
    """Return the caller of this task."""
    return _caller.get() or Caller()

"""Limits on simultaneous conversations: in total and per caller."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline import workers
from pipeline.errors import Overloaded
from pipeline.settings import Settings
from server.access.callers import Caller
from server.access.limits import RETRY_S, share
from server.sharing.places import Elsewhere, Taken

OPENAI_CODE = "session_limit_reached"
LAG_SHARE = 0.25
"""Share of MAX_WAIT_S: new conversations are refused while calls of the open ones wait longer for a model, so that
these stay fast."""


class Full(Overloaded):
    """All slots are taken, or the models are too slow for one more conversation."""

    openai_code = OPENAI_CODE


class TooMany(Overloaded):
    """This caller holds as many slots as one caller may have; other callers are still admitted."""

    code = "too_many_sessions"
    openai_code = OPENAI_CODE


class Slots:
    """The conversation slots of the service."""

    def __init__(self, settings: Settings, *, at_address: int = 0) -> None:
        """at_address: limit of an address without a key, if different from CALLER_SHARE."""
        self._most = settings.max_sessions
        self._most_of_key = share(settings.max_sessions, settings.caller_share)
        self._most_at_address = at_address or share(settings.max_sessions, settings.caller_share or 1.0)
        self._max_lag_s = LAG_SHARE * workers.MAX_WAIT_S
        self.lag_s: Callable[[], float] = lambda: 0.0
        """Callable that returns how far the models lag behind the open conversations, in seconds; set by the code that
        opens them."""
        self._taken: Counter[tuple[str, str]] = Counter()
        self.taken = 0
        """The number of open conversations of this process."""
        self.elsewhere = Elsewhere()
        """Those of the other processes of the service."""

    @property
    def total(self) -> int:
        """The number of open conversations of the service."""
        return self.taken + self.elsewhere.total

    def of(self, counted_as: tuple[str, str]) -> int:
        """Return the number of a caller's conversations."""
        return self._taken[counted_as] + self.elsewhere.of[counted_as]

    def here(self) -> Taken:
        """Return the conversations of this process."""
        return Taken(self.taken, dict(self._taken))

    def check(self, caller: Caller) -> None:
        """Raises Full (no slot for any caller), TooMany (no slot for this caller)."""
        if self.total >= self._most:
            raise Full("All conversation slots are taken; retry soon.", retry_after_s=RETRY_S)
        if self.lag_s() > self._max_lag_s:
            raise Full("The models cannot keep up with the open conversations; retry soon.", retry_after_s=RETRY_S)
        most = self._most_of_key if caller.known else self._most_at_address
        if caller.counted_as is not None and self.of(caller.counted_as) >= most:
            raise TooMany(
                f"{most} conversations are open {'with this key' if caller.known else 'from this address'} "
                "(CALLER_SHARE); end one, or retry soon.",
                retry_after_s=RETRY_S,
            )

    @contextmanager
    def one(self, caller: Caller) -> Iterator[None]:
        """Hold one slot for the duration of the block. Raises the errors of `check`."""
        self.check(caller)
        counted_as = caller.counted_as
        self.taken += 1
        if counted_as is not None:
            self._taken[counted_as] += 1
        self.elsewhere.changed()
        try:
            yield
        finally:
            self.taken -= 1
            if counted_as is not None:
                self._taken[counted_as] -= 1
                if not self._taken[counted_as]:
                    del self._taken[counted_as]
            self.elsewhere.changed()

"""Limits on simultaneous conversations: in total, per key and per address."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.errors import Overloaded
from pipeline.settings import Settings
from server.access.callers import Caller
from server.access.limits import RETRY_S, share

OPENAI_CODE = "session_limit_reached"


class Full(Overloaded):
    """All slots are taken, or the models are too slow for one more conversation."""

    openai_code = OPENAI_CODE


class TooMany(Overloaded):
    """This caller holds as many slots as one caller may have; other callers are still admitted."""

    code = "too_many_sessions"
    openai_code = OPENAI_CODE


class Slots:
    """The conversation slots of one process."""

    def __init__(self, settings: Settings, *, at_address: int = 0) -> None:
        """at_address: limit per address, if different from MAX_SESSIONS_PER_ADDRESS."""
        self._most = settings.max_sessions
        self._most_of_key = share(settings.max_sessions, settings.max_sessions_per_key)
        self._most_at_address = at_address or settings.max_sessions_per_address or settings.max_sessions
        self._max_lag_s = settings.max_lag_s
        self.lag_s: Callable[[], float] = lambda: 0.0
        """Callable that returns how far the models lag behind the open conversations, in seconds; set by the code that
        opens them."""
        self._taken: Counter[tuple[str, ...]] = Counter()
        self.taken = 0
        """The number of open conversations."""

    def check(self, caller: Caller) -> None:
        """Raises Full (no slot for any caller), TooMany (no slot for this caller)."""
        if self.taken >= self._most:
            raise Full("All conversation slots are taken; retry soon.", retry_after_s=RETRY_S)
        if 0 < self._max_lag_s < self.lag_s():
            raise Full("The models cannot keep up with the open conversations; retry soon.", retry_after_s=RETRY_S)
        if caller.known and self._taken["key", caller.kind, caller.name] >= self._most_of_key:
            raise TooMany(
                f"{self._most_of_key} conversations are open with this key (MAX_SESSIONS_PER_KEY); end one, or retry "
                "soon.",
                retry_after_s=RETRY_S,
            )
        if caller.address and self._taken["address", caller.address] >= self._most_at_address:
            raise TooMany(
                f"{self._most_at_address} conversations are open from this address (MAX_SESSIONS_PER_ADDRESS); end "
                "one, or retry soon.",
                retry_after_s=RETRY_S,
            )

    @contextmanager
    def one(self, caller: Caller) -> Iterator[None]:
        """Hold one slot for the duration of the block. Raises the errors of `check`."""
        self.check(caller)
        names: list[tuple[str, ...]] = []
        if caller.known:
            names.append(("key", caller.kind, caller.name))
        if caller.address:
            names.append(("address", caller.address))
        self.taken += 1
        self._taken.update(names)
        try:
            yield
        finally:
            self.taken -= 1
            for name in names:
                self._taken[name] -= 1
                if not self._taken[name]:
                    del self._taken[name]

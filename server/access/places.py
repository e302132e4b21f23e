"""How many conversations there may be at a time: in all, of one key, from one address."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.errors import Overloaded
from pipeline.settings import Settings
from server.access.callers import Caller
from server.access.counted import RETRY_S, share

OPENAI_CODE = "session_limit_reached"


class Full(Overloaded):
    """All places are taken, or there would be no pace for one more."""

    openai_code = OPENAI_CODE


class TooMany(Overloaded):
    """This caller has all the places that one caller may have; others still come in."""

    code = "too_many_sessions"
    openai_code = OPENAI_CODE


class Places:
    """Places of one process, counted while they are taken."""

    def __init__(self, settings: Settings, *, at_address: int = 0) -> None:
        """at_address: how many one address may have, where it is not MAX_SESSIONS_PER_ADDRESS."""
        self._most = settings.max_sessions
        self._most_of_key = share(settings.max_sessions, settings.max_sessions_per_key)
        self._most_at_address = at_address or settings.max_sessions_per_address or settings.max_sessions
        self._max_lag_s = settings.max_lag_s
        self.lag_s: Callable[[], float] = lambda: 0.0
        """How late the models are for conversations now, in seconds; told by whoever opens them."""
        self._taken: Counter[tuple[str, ...]] = Counter()
        self.taken = 0
        """Conversations that are open now."""

    def check(self, caller: Caller) -> None:
        """Raises Full (there is none for anybody), TooMany (there is none for this caller)."""
        if self.taken >= self._most:
            raise Full("All conversations are taken; try again soon.", retry_after_s=RETRY_S)
        if 0 < self._max_lag_s < self.lag_s():
            raise Full(
                "The models cannot keep up with the conversations that are open; try again soon.", retry_after_s=RETRY_S
            )
        if caller.known and self._taken["key", caller.kind, caller.name] >= self._most_of_key:
            raise TooMany(
                f"{self._most_of_key} conversations are open with this key (MAX_SESSIONS_PER_KEY); end one, or try "
                "again soon.",
                retry_after_s=RETRY_S,
            )
        if caller.address and self._taken["address", caller.address] >= self._most_at_address:
            raise TooMany(
                f"{self._most_at_address} conversations are open from this address (MAX_SESSIONS_PER_ADDRESS); end "
                "one, or try again soon.",
                retry_after_s=RETRY_S,
            )

    @contextmanager
    def one(self, caller: Caller) -> Iterator[None]:
        """A place, while the block lasts. Raises what `check` does."""
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

"""Spreads bursts of requests: a key cannot fill the event loop for seconds with a minute's worth of requests."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

MIN_PER_S = 40.0
"""Requests of one caller that may begin within a second, whatever RATE_LIMIT is. A request costs up to 6 ms of the
event loop (a WebSocket that is opened and closed)."""
PACE_WAIT_S = 5.0
"""Maximum wait for a turn, in seconds; a request that would wait longer is refused after as long."""


class RequestPace:
    """The next turn of each caller (the generic cell rate algorithm, as in ATM's traffic policing)."""

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """per_s: requests of one caller that begin within a second; as many may begin at once after a pause."""
        self.per_s = max(per_s, MIN_PER_S)
        self._clock = clock
        self._next: OrderedDict[tuple[str, str], float] = OrderedDict()
        """Begin of the last request of each recent caller at a steady pace, least recently used caller first."""

    def wait_s(self, caller: tuple[str, str]) -> float:
        """Reserve the next turn of this caller. Return the seconds until it, at most PACE_WAIT_S, or the seconds until
        another attempt succeeds, more than PACE_WAIT_S; then nothing is reserved."""
        now = self._clock()
        while self._next and next(iter(self._next.values())) <= now - 1.0:
            self._next.popitem(last=False)
        turn = max(self._next.get(caller, -math.inf), now - 1.0) + 1 / self.per_s
        if turn - now <= PACE_WAIT_S:
            self._next[caller] = turn
            self._next.move_to_end(caller)
        return max(0.0, turn - now)

"""So much at a time, of all and of each caller, and no queue before it: places (`AtMost`) and bytes (`Budget`)."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.requests import HTTPConnection

from pipeline.errors import Overloaded
from server.access.callers import Caller

RETRY_S = 5.0
PACE_BYTES_PER_S = 1 << 24
"""Bytes a second of one caller that are read from its WebSockets: 500 times what speech needs as 16-bit PCM at 16 kHz.
Each costs some 5 ns of the event loop, which all share."""
BURST_BYTES = 1 << 25
"""Bytes of one caller that are read at once, before PACE_BYTES_PER_S holds: a largest message."""
HELD = "parley.held"
"""Where in an ASGI scope the door leaves the connection's share of the memory."""


def share(most: int, set_to: int) -> int:
    """How many of `most` places one caller may have: what was set, or (0) a half, for one must not hold what all
    share."""
    return set_to or (most + 1) // 2


class TooManyOfOne(Overloaded):
    """This caller has all the places that one caller may have; others still come in."""

    code = "too_many_requests"
    openai_code = "rate_limit_exceeded"


class AtMost:
    """Places that are counted while they are taken."""

    def __init__(self, most: int, most_of_one: int, what: str) -> None:
        """most_of_one: of one key, or of one address without a key (`share`). what: is told, behind the number, to who
        comes too many ("recordings are being transcribed")."""
        self._most, self._most_of_one, self._what = most, most_of_one, what
        self._of: Counter[tuple[str, str]] = Counter()
        self.taken = 0

    @contextmanager
    def one(self, caller: Caller) -> Iterator[None]:
        """A place, while the block lasts. Raises Overloaded, TooManyOfOne. Whoever is on this machine without a key may
        have all of them."""
        who = caller.counted_as
        if self.taken >= self._most:
            raise Overloaded(f"{self._most} {self._what}; try again soon.", retry_after_s=RETRY_S)
        if who is not None and self._of[who] >= self._most_of_one:
            raise TooManyOfOne(
                f"{self._most_of_one} {self._what} for you, and others want some, too; try again soon.",
                retry_after_s=RETRY_S,
            )
        self.taken += 1
        if who is not None:
            self._of[who] += 1
        try:
            yield
        finally:
            self.taken -= 1
            if who is not None:
                self._of[who] -= 1
                if not self._of[who]:
                    del self._of[who]


class Pace:
    """Bytes that each caller has sent lately: a token bucket for each, of BURST_BYTES and PACE_BYTES_PER_S."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: dict[tuple[str, str], tuple[float, float]] = {}
        """Caller → bytes above the pace, and when that was so."""

    def sent(self, size: int, who: tuple[str, str] | None) -> float:
        """Count `size` bytes; return for how many seconds nothing more of this caller should be read."""
        if who is None:
            return 0.0
        now = self._clock()
        level, since = self._of.pop(who, (0.0, now))
        level = max(0.0, level - (now - since) * PACE_BYTES_PER_S) + size
        self._of[who] = level, now
        oldest = next(iter(self._of))
        if now - self._of[oldest][1] > 2 * BURST_BYTES / PACE_BYTES_PER_S:  # it has an empty bucket again
            del self._of[oldest]
        return max(0.0, level - BURST_BYTES) / PACE_BYTES_PER_S


class Budget:
    """Bytes that may be held at a time. Of one caller a half of them at most, and always one message."""

    def __init__(self, most: int) -> None:
        self._most, self._most_of_one = most, share(most, 0)
        self._of: Counter[tuple[str, str]] = Counter()
        self.held = 0
        self.pace = Pace()

    @contextmanager
    def share(self, caller: Caller) -> Iterator["Share"]:
        """What a connection of this caller holds; it holds nothing after the block."""
        held = Share(self, caller.counted_as)
        try:
            yield held
        finally:
            held.close()

    def room_for(self, size: int, who: tuple[str, str] | None) -> bool:
        """Whether so many bytes more may be held."""
        own = self._of[who] if who is not None else 0
        return (not self.held or self.held + size <= self._most) and (not own or own + size <= self._most_of_one)

    def change(self, size: int, who: tuple[str, str] | None) -> None:
        """So many bytes more are held, or less."""
        self.held += size
        if who is not None:
            self._of[who] += size
            if not self._of[who]:
                del self._of[who]


class Share:
    """What one connection holds of a budget."""

    def __init__(self, budget: Budget, who: tuple[str, str] | None) -> None:
        self._budget, self._who = budget, who
        self._closed = False
        self.bytes = 0

    def take(self, size: int) -> bool:
        """Hold so many bytes more, if there is room; whether there was."""
        if self._closed or not self._budget.room_for(size, self._who):
            return False
        self._change(size)
        return True

    def sent(self, size: int) -> float:
        """Count bytes from the network; return for how many seconds nothing more should be read."""
        return self._budget.pace.sent(size, self._who)

    def give_back(self, size: int) -> None:
        """So many are not held any more."""
        if not self._closed:
            self._change(-size)

    def close(self) -> None:
        """Nothing is held from now on."""
        self._change(-self.bytes)
        self._closed = True

    @contextmanager
    def held(self, size: int) -> Iterator[None]:
        """Hold so many bytes more while the block lasts. Raises Overloaded when there is no room."""
        if not self.take(size):
            raise Overloaded("Too many bytes are being worked on; try again soon.", retry_after_s=RETRY_S)
        try:
            yield
        finally:
            self.give_back(size)

    def _change(self, size: int) -> None:
        self.bytes += size
        self._budget.change(size, self._who)


def held_of(connection: HTTPConnection) -> Share:
    """What a connection that the door let in holds of the memory; all of it is given back when the connection ends."""
    held = connection.scope[HELD]
    assert isinstance(held, Share)  # noqa: S101  # beside the caller
    return held

"""So much at a time, of all and of each caller, and no queue before it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import Overloaded
from server.access.callers import Caller

RETRY_S = 5.0


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

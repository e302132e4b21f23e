"""Values kept between two requests of a chat: the words of spoken replies, and transcripts, because clients send a
conversation with all its sound again for each reply."""

import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from pipeline.stt import Transcript

T = TypeVar("T")
Owner = tuple[str, str]
"""Kind and name of the caller that a value is kept for; other callers do not find it."""

KEPT_S = 3600
"""How long a value is kept, in seconds."""
MOST, MOST_OF_ONE = 4096, 256
"""Values that are kept in all, and for one owner; the oldest make room."""


class Kept(Generic[T]):
    """Values of many owners, by keys."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """clock: returns Unix time."""
        self._clock = clock
        self._values: OrderedDict[tuple[Owner, str], tuple[float, T]] = OrderedDict()
        self._of: Counter[Owner] = Counter()

    def put(self, owner: Owner, key: str, value: T) -> int:
        """Keep a value; return the Unix time until which it is kept."""
        self._drop(owner, key)
        until = self._clock() + KEPT_S
        self._values[owner, key] = until, value
        self._of[owner] += 1
        if self._of[owner] > MOST_OF_ONE:
            self._drop(*next(place for place in self._values if place[0] == owner))
        while len(self._values) > MOST or next(iter(self._values.values()))[0] <= self._clock():
            self._drop(*next(iter(self._values)))
        return int(until)

    def get(self, owner: Owner, key: str) -> T | None:
        """Return the value of this owner, or None."""
        until, value = self._values.get((owner, key), (0.0, None))
        return value if until > self._clock() else None

    def _drop(self, owner: Owner, key: str) -> None:
        if self._values.pop((owner, key), None) is not None:
            self._of[owner] -= 1
            if not self._of[owner]:
                del self._of[owner]


class Recent:
    """The values of recent chats."""

    def __init__(self) -> None:
        self.said: Kept[str] = Kept()
        """Id of a spoken reply → its words."""
        self.heard: Kept[Transcript] = Kept()
        """Digest of a user's sound → its transcript."""

    @staticmethod
    def new_id() -> str:
        """Return the id of a new spoken reply."""
        return f"audio_{secrets.token_hex(12)}"

"""A limit on how many files are decoded at once, in total and for one account. Threads and tasks wait for a slot."""

import itertools
import threading
from collections import Counter
from concurrent.futures import Future

REMEMBERED = 256
"""Number of accounts whose last slot is remembered."""


class Place(Future[None]):
    """A slot that was asked for: done when it is granted. Cancel it to give up; its holder calls `Slots.leave`."""

    def __init__(self, size: int, account: str) -> None:
        super().__init__()
        self.size = size
        self.account = account


class Slots:
    """A limited number of slots.

    Granted: to the account that was granted one longest ago, and of its files to the smallest one. An account has at
    most `most_of_one`, so that its files cannot occupy all cores; its further files wait while slots are free.
    """

    def __init__(self, most: int, most_of_one: int | None = None) -> None:
        """most_of_one: limit for one account; None: all slots."""
        self._free = most
        self._most_of_one = most if most_of_one is None else most_of_one
        self._lock = threading.Lock()
        self._waiting: list[Place] = []
        self._held: Counter[str] = Counter()
        self._granted: dict[str, int] = {}
        """Account → number of its last grant, the oldest first."""
        self._numbers = itertools.count()

    def ask(self, size: int, account: str = "") -> Place:
        """Ask for a slot. size: of the file. account: see `Caller.account`; the limit for one does not apply to ""."""
        place = Place(size, account)
        with self._lock:
            self._waiting.append(place)
            self._grant()
        return place

    def leave(self, place: Place) -> None:
        """Free a slot that was granted."""
        with self._lock:
            self._free += 1
            self._held[place.account] -= 1
            if not self._held[place.account]:
                del self._held[place.account]
            self._grant()

    def give_up(self, place: Place) -> None:
        """Give up a slot that was asked for; free it if it was granted already."""
        if not place.cancel():
            place.result()
            self.leave(place)

    def _grant(self) -> None:
        """Grant the free slots to files that wait."""
        self._waiting = [place for place in self._waiting if not place.cancelled()]
        while self._free and (able := [place for place in self._waiting if self._may(place.account)]):
            # `min` takes the first where ranks are equal: the order of arrival.
            place = min(able, key=lambda able: (self._granted.get(able.account, -1), able.size))
            self._waiting.remove(place)
            if not place.set_running_or_notify_cancel():
                continue
            self._free -= 1
            self._held[place.account] += 1
            self._granted.pop(place.account, None)
            self._granted[place.account] = next(self._numbers)
            if len(self._granted) > REMEMBERED:
                del self._granted[next(iter(self._granted))]
            place.set_result(None)

    def _may(self, account: str) -> bool:
        return not account or self._held[account] < self._most_of_one

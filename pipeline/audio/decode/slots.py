"""A limit on how many files are decoded at once, in total and for one account. Threads and tasks wait for a slot."""

import itertools
import threading
from collections import Counter
from concurrent.futures import Future

REMEMBERED = 256
"""Number of accounts whose last slot is remembered."""


class Slot(Future[None]):
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
        self._waiting: list[Slot] = []
        self._held: Counter[str] = Counter()
        self._granted: dict[str, int] = {}
        """Account → number of its last grant, the oldest first."""
        self._numbers = itertools.count()

    def ask(self, size: int, account: str = "") -> Slot:
        """Ask for a slot. size: of the file. account: see `Caller.account`; the limit for one does not apply to ""."""
        slot = Slot(size, account)
        with self._lock:
            self._waiting.append(slot)
            self._grant()
        return slot

    def leave(self, slot: Slot) -> None:
        """Free a slot that was granted."""
        with self._lock:
            self._free += 1
            self._held[slot.account] -= 1
            if not self._held[slot.account]:
                del self._held[slot.account]
            self._grant()

    def give_up(self, slot: Slot) -> None:
        """Give up a slot that was asked for; free it if it was granted already."""
        if not slot.cancel():
            slot.result()
            self.leave(slot)

    def _grant(self) -> None:
        """Grant the free slots to files that wait."""
        self._waiting = [slot for slot in self._waiting if not slot.cancelled()]
        while self._free and (able := [slot for slot in self._waiting if self._may(slot.account)]):
            # `min` takes the first where ranks are equal: the order of arrival.
            slot = min(able, key=lambda able: (self._granted.get(able.account, -1), able.size))
            self._waiting.remove(slot)
            if not slot.set_running_or_notify_cancel():
                continue
            self._free -= 1
            self._held[slot.account] += 1
            self._granted.pop(slot.account, None)
            self._granted[slot.account] = next(self._numbers)
            if len(self._granted) > REMEMBERED:
                del self._granted[next(iter(self._granted))]
            slot.set_result(None)

    def _may(self, account: str) -> bool:
        return not account or self._held[account] < self._most_of_one

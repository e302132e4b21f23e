"""A limit on how many files are decoded at once. Threads and tasks wait for a slot; the smallest file goes first."""

import heapq
import itertools
import threading
from concurrent.futures import Future


class Slots:
    """A limited number of slots."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, int, Future[None]]] = []
        self._numbers = itertools.count()

    def ask(self, size: int) -> "Future[None]":
        """Ask for a slot: the future is done when there is one; smaller sizes go first.

        Cancel the future to give up. Its holder calls `leave` to free the slot.
        """
        place: Future[None] = Future()
        with self._lock:
            if self._free:
                self._free -= 1
                place.set_running_or_notify_cancel()
                place.set_result(None)
            else:
                heapq.heappush(self._waiting, (size, next(self._numbers), place))
        return place

    def leave(self) -> None:
        """Free a slot."""
        with self._lock:
            while self._waiting:
                place = heapq.heappop(self._waiting)[2]
                if place.set_running_or_notify_cancel():
                    place.set_result(None)
                    return
            self._free += 1

    def give_up(self, place: "Future[None]") -> None:
        """Give up a slot that was asked for; free it if it was granted already."""
        if not place.cancel():
            place.result()
            self.leave()

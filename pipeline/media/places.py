"""How many files are decoded at a time: a bound that a thread or a task waits at, the smallest file first."""

import heapq
import itertools
import threading
from concurrent.futures import Future


class Places:
    """So many at a time."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, int, Future[None]]] = []
        self._numbers = itertools.count()

    def ask(self, size: int) -> "Future[None]":
        """A place, as soon as there is one; smaller sizes go first. Cancel it to give up. Who has it calls `leave`."""
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
        """Give a place back."""
        with self._lock:
            while self._waiting:
                place = heapq.heappop(self._waiting)[2]
                if place.set_running_or_notify_cancel():
                    place.set_result(None)
                    return
            self._free += 1

    def give_up(self, place: "Future[None]") -> None:
        """For who has asked: it is not waited for, and given back if it was there already."""
        if not place.cancel():
            place.result()
            self.leave()

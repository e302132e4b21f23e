"""The bytes of whole messages that wait or are being decoded: of all connections together, and of each caller."""

import ctypes
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from server.access import Caller
from server.access.counted import share

M_MMAP_THRESHOLD = -3
"""Of glibc's malloc.h."""
LARGE_BYTES = 1 << 20


class Budget:
    """Bytes that may be held at a time. Of one caller a half of them at most, and always one message."""

    def __init__(self, most: int) -> None:
        self._most, self._most_of_one = most, share(most, 0)
        self._of: Counter[tuple[str, str]] = Counter()
        self.held = 0

    @contextmanager
    def share(self, caller: Caller) -> Iterator["Share"]:
        """What a connection of this caller holds; it holds nothing after the block."""
        held = Share(self, caller.counted_as)
        try:
            yield held
        finally:
            held.give_back(held.bytes)

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
        self.bytes = 0

    def take(self, size: int) -> bool:
        """Hold so many bytes more, if there is room; whether there was."""
        if not self._budget.room_for(size, self._who):
            return False
        self._change(size)
        return True

    def give_back(self, size: int) -> None:
        """So many are not held any more."""
        self._change(-size)

    def _change(self, size: int) -> None:
        self.bytes += size
        self._budget.change(size, self._who)


def return_large_blocks() -> None:
    """Let the system have large blocks again as soon as they are freed.

    glibc takes blocks of more than a limit from the system one by one, but raises that limit (to 32 MB) whenever such a
    block is freed. From then on messages and sound of some megabytes lie between small blocks that stay, and their room
    stays with them. A limit that was set stays as it is. Other C libraries have no such call, and no need of it.
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)

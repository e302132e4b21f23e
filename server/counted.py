"""So much at a time, and no queue before it."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import Overloaded

RETRY_S = 5.0


class AtMost:
    """Places that are counted while they are taken."""

    def __init__(self, most: int, what: str) -> None:
        """what: is told, behind the number, to who comes too many ("recordings are being transcribed")."""
        self._most, self._what = most, what
        self.taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """A place, while the block lasts. Raises Overloaded."""
        if self.taken >= self._most:
            raise Overloaded(f"{self._most} {self._what}; try again soon.", retry_after_s=RETRY_S)
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

"""Values by key, which all processes of the service see."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

GiveUp = Callable[[str], Awaitable[str | None]]
"""Called with the key of a value that another process takes. Returns a newer value, or None if there is none."""


class Values(Protocol):
    """Values by key. Each expires."""

    @property
    def away(self) -> tuple[type[Exception], ...]:
        """Errors that mean that the other processes cannot be reached, with TimeoutError."""
        ...

    async def put(self, key: str, value: str, seconds: float) -> None:
        """Set a value. seconds: time until it expires."""
        ...

    async def replace(self, key: str, value: str, seconds: float) -> bool:
        """Do the same, unless the value was taken or has expired; return whether it was set."""
        ...

    async def get(self, key: str) -> str | None:
        """Return a value."""
        ...

    async def take(self, key: str) -> str | None:
        """Remove and return a value. Of several callers, one gets it."""
        ...

    async def remove(self, key: str) -> None:
        """Remove a value, unless another process is known to have set it since."""
        ...


@dataclass(slots=True)
class _Value:
    value: str
    expires_at: float
    owner: object


class ValuesHere:
    """Values in the memory of this process."""

    def __init__(self, most: int, most_chars: int, clock: Callable[[], float] = time.monotonic) -> None:
        """most, most_chars: maximum number of values, and of their characters; the oldest are dropped first."""
        self._most, self._most_chars = most, most_chars
        self._clock = clock
        self._values: OrderedDict[str, _Value] = OrderedDict()
        """In the order in which they were set."""
        self._chars = 0

    def put(self, key: str, value: str, seconds: float, owner: object = None) -> None:
        """Set a value. owner: the process that has set it."""
        self.take(key)
        self._values[key] = _Value(value, self._clock() + seconds, owner)
        self._chars += len(value)
        while len(self._values) > self._most or self._chars > self._most_chars:
            self.take(next(iter(self._values)))

    def owner(self, key: str) -> object:
        """Return the process that has set a value; None if there is none."""
        found = self._found(key)
        return None if found is None else found.owner

    def get(self, key: str) -> str | None:
        """Return a value."""
        found = self._found(key)
        return None if found is None else found.value

    def take(self, key: str) -> str | None:
        """Remove and return a value."""
        found = self._found(key)
        if found is None:
            return None
        del self._values[key]
        self._chars -= len(found.value)
        return found.value

    def sweep(self) -> None:
        """Remove all expired values, also those that no process asks for again."""
        for key in list(self._values):
            self._found(key)

    def _found(self, key: str) -> _Value | None:
        found = self._values.get(key)
        if found is not None and found.expires_at <= self._clock():
            del self._values[key]
            self._chars -= len(found.value)
            return None
        return found

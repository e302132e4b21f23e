"""An ordered mapping that supports insertion in the middle."""

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Linked(Generic[T]):
    """A doubly linked list with keys; all operations except iteration take constant time."""

    def __init__(self) -> None:
        self._values: dict[str, T] = {}
        # Neighbours of each key; None stands before the first and behind the last.
        self._next: dict[str | None, str | None] = {None: None}
        self._previous: dict[str | None, str | None] = {None: None}

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[T]:
        """Yield the values in order; the list must not change meanwhile."""
        key = self._next[None]
        while key is not None:
            yield self._values[key]
            key = self._next[key]

    @property
    def first(self) -> str | None:
        """Key of the first value; None when the list is empty."""
        return self._next[None]

    @property
    def last(self) -> str | None:
        """Key of the last value; None when the list is empty."""
        return self._previous[None]

    def get(self, key: str) -> T | None:
        """Return the value, or None."""
        return self._values.get(key)

    def previous(self, key: str) -> str | None:
        """Return the key before this one; None when it is the first or missing."""
        return self._previous.get(key)

    def insert(self, key: str, value: T, *, after: str | None) -> None:
        """Insert a value with a new key. after: the key before it; None: insert as the first."""
        following = self._next[after]
        self._values[key] = value
        self._next[after] = self._previous[following] = key
        self._previous[key], self._next[key] = after, following

    def remove(self, key: str) -> None:
        """Remove a value. Raises KeyError when the key is missing."""
        del self._values[key]
        before, following = self._previous.pop(key), self._next.pop(key)
        self._next[before], self._previous[following] = following, before

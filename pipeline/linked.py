"""Values in an order that is changed in its middle, each found by its key."""

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Linked(Generic[T]):
    """A doubly linked list with keys: all takes constant time, but for going through it."""

    def __init__(self) -> None:
        self._values: dict[str, T] = {}
        # Who stands beside whom; None stands before the first and behind the last.
        self._next: dict[str | None, str | None] = {None: None}
        self._previous: dict[str | None, str | None] = {None: None}

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[T]:
        """In their order; it must not change meanwhile."""
        key = self._next[None]
        while key is not None:
            yield self._values[key]
            key = self._next[key]

    @property
    def first(self) -> str | None:
        """Its key; None when it is empty."""
        return self._next[None]

    @property
    def last(self) -> str | None:
        """Its key; None when it is empty."""
        return self._previous[None]

    def get(self, key: str) -> T | None:
        """The value, if it is there."""
        return self._values.get(key)

    def previous(self, key: str) -> str | None:
        """The key before this one; None when it is the first, or is not there."""
        return self._previous.get(key)

    def insert(self, key: str, value: T, *, after: str | None) -> None:
        """Add a value whose key is new. after: the key before it; None: it becomes the first."""
        following = self._next[after]
        self._values[key] = value
        self._next[after] = self._previous[following] = key
        self._previous[key], self._next[key] = after, following

    def remove(self, key: str) -> None:
        """Take it out. Raises KeyError when it is not there."""
        del self._values[key]
        before, following = self._previous.pop(key), self._next.pop(key)
        self._next[before], self._previous[following] = following, before

"""A budget of bytes, as the code that uses memory sees it."""

from typing import Protocol


class Room(Protocol):
    """Budget of bytes for waiting audio, shared by several sessions."""

    def take(self, size: int, /) -> bool:
        """Reserve `size` bytes. Returns False if the budget does not have them."""
        ...

    def give_back(self, size: int, /) -> None:
        """Release `size` reserved bytes."""
        ...


class Unlimited:
    """Budget without a limit, for sessions of the caller's own process."""

    def take(self, size: int, /) -> bool:
        return True

    def give_back(self, size: int, /) -> None:
        pass

"""Signals to tasks of this process that something has changed since they last read it."""

import asyncio
import weakref
from collections.abc import Callable


class Notice:
    """A signal of changes. Take `changed` before reading; the next `tell` sets it, so no change is missed."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def changed(self) -> asyncio.Event:
        return self._event

    def tell(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, changed: asyncio.Event, timeout_s: float | None) -> bool:
        """Wait until `changed` is set or the timeout expires; return whether it was set."""
        try:
            async with asyncio.timeout(timeout_s):
                await changed.wait()
        except TimeoutError:
            return False
        return True


class Notices:
    """A notice for each name that a task waits for."""

    def __init__(self) -> None:
        self.relay: Callable[[str], None] = lambda name: None
        """Tells the other processes of the service."""
        self._notices: weakref.WeakValueDictionary[str, Notice] = weakref.WeakValueDictionary()

    def of(self, name: str) -> Notice:
        """Return the notice for a name. Keep a reference to it while waiting."""
        notice = self._notices.get(name)
        if notice is None:
            self._notices[name] = notice = Notice()
        return notice

    def tell(self, name: str) -> None:
        """Signal a change to the tasks of all processes of the service."""
        self.tell_here(name)
        self.relay(name)

    def tell_here(self, name: str) -> None:
        """Signal a change, which another process has told, to the tasks of this one."""
        if (notice := self._notices.get(name)) is not None:
            notice.tell()

"""Telling tasks of this process that something changed since they looked."""

import asyncio
import weakref


class Notice:
    """`changed` is taken before looking; it is set by the next `tell`, so nothing is missed in between."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def changed(self) -> asyncio.Event:
        return self._event

    def tell(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, changed: asyncio.Event, timeout_s: float | None) -> bool:
        """Until `changed` is set, or for so long; whether it was."""
        try:
            async with asyncio.timeout(timeout_s):
                await changed.wait()
        except TimeoutError:
            return False
        return True


class Notices:
    """A notice for each name that somebody waits for."""

    def __init__(self) -> None:
        self._notices: weakref.WeakValueDictionary[str, Notice] = weakref.WeakValueDictionary()

    def of(self, name: str) -> Notice:
        """Hold on to it while you wait."""
        notice = self._notices.get(name)
        if notice is None:
            self._notices[name] = notice = Notice()
        return notice

    def tell(self, name: str) -> None:
        if (notice := self._notices.get(name)) is not None:
            notice.tell()

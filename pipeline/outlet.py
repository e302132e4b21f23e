"""Where the events of a live conversation go, and how it tells that it has ended itself."""

import asyncio
from typing import Protocol

from pipeline.channel import Channel
from pipeline.errors import Overloaded, ParleyError
from pipeline.events import Event

EVENTS_AHEAD = 1024
"""Events a slow reader may be behind (some 30 s of sound) before its session ends."""


class Sink(Protocol):
    """What takes the events of a session, in order; `Channel` is one."""

    def offer(self, event: Event, /) -> bool:
        """Take the next event; False when there is no room for it. Must not block."""
        ...

    def close(self, error: BaseException | None = None) -> None:
        """There are no more; error: why the session has ended itself."""
        ...


class Outlet:
    """Of one session. Nobody is waited for: a reader that is too slow ends it."""

    def __init__(self, sink: Sink | None) -> None:
        """sink: takes the events as they happen, instead of `events`."""
        self.events: Channel[Event] = Channel(EVENTS_AHEAD)
        self.ended = asyncio.Event()
        self._sink: Sink = sink or self.events

    def emit(self, event: Event) -> None:
        """This has happened."""
        if not self._sink.offer(event):
            self.end(Overloaded("This connection reads too slowly; the conversation is closed."))

    def end(self, reason: ParleyError) -> None:
        """The session ends itself: whoever reads is told why, whoever opened it has to close it."""
        self._sink.close(reason)
        self.ended.set()

    def close(self) -> None:
        """The session was closed."""
        self._sink.close()

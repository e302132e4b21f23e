"""Output of a live conversation: its events, in order, to a reader that may be slow."""

import asyncio
from typing import Protocol

from pipeline.conversation.events import Event
from pipeline.errors import Overloaded, ParleyError
from pipeline.support.channel import Channel

EVENTS_AHEAD = 1024
"""Number of events that a slow reader can be behind (some 30 s of audio) before its session ends."""


class Sink(Protocol):
    """Receiver of a session's events, in order; `Channel` is one."""

    def offer(self, event: Event, /) -> bool:
        """Take the next event; False when there is no room. Must not block."""
        ...

    def close(self, error: BaseException | None = None) -> None:
        """End the events; error: the reason if the session has ended itself."""
        ...


class Outlet:
    """Output of one session. Emitting never waits: a reader that is too slow ends the session."""

    def __init__(self, sink: Sink | None) -> None:
        """sink: receives the events as they happen, instead of `events`."""
        self.events: Channel[Event] = Channel(EVENTS_AHEAD)
        self.ended = asyncio.Event()
        self._sink: Sink = sink or self.events

    def emit(self, event: Event) -> None:
        """Send an event."""
        if not self._sink.offer(event):
            self.end(Overloaded("This connection reads too slowly; the conversation is closed."))

    def end(self, reason: ParleyError) -> None:
        """End the session from inside: the reader gets the reason, and the owner of the session must close it."""
        self._sink.close(reason)
        self.ended.set()

    def close(self) -> None:
        """End the events after the session was closed."""
        self._sink.close()

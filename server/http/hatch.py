"""Connections that this process does not accept itself, but receives from the main process (`server.fronts`)."""

import asyncio
import logging
import socket
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.workers.sharing.link import Link

log = logging.getLogger(__name__)

NUMBER = struct.Struct("<B")
"""Form of a door's number, which is sent with the descriptor of a connection."""
AT_ONCE = 64
"""Connections that are received, or accepted, before other work of the process."""
HTTP = 0
"""Door of HTTP and WebSockets."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Request to the main process: listen on this address, for all fronts; the result is a Door. Raises OSError."""

    host: str
    port: int
    one_front: bool
    """Pass all connections to the same front, as long as it lives."""


@dataclass(frozen=True, slots=True)
class Door:
    """A listening address of the main process."""

    number: int
    """Comes with each of its connections."""
    address: tuple[str, int]


@dataclass(frozen=True, slots=True)
class Busy:
    """Message to the main process: the connections of this front."""

    received: int
    """Connections that it has received so far."""
    open: int


class Hatch:
    """The end of the socket pair on which this process receives connections."""

    def __init__(self, channel: socket.socket, link: "Link") -> None:
        channel.setblocking(False)
        self._channel, self._link = channel, link
        self._loop = asyncio.get_running_loop()
        self._doors: dict[int, Callable[[socket.socket], None]] = {}
        self._received = 0
        self._open: Counter[int] = Counter()
        """Open connections by door."""
        self._telling = False

    async def listen(self, wanted: Listen) -> Door:
        """Let the main process listen on an address. Raises OSError."""
        door: Door = await self._link.ask(wanted)
        return door

    def on(self, door: int, take: Callable[[socket.socket], None]) -> None:
        """Pass the connections of this door to a function."""
        self._doors[door] = take

    def off(self, door: int) -> None:
        """Close further connections of this door."""
        self._doors.pop(door, None)

    def count(self, door: int, connections: int) -> None:
        """Note the number of open connections of a door, for the main process's choice of a front."""
        self._open[door] = connections
        self._tell_soon()

    def open(self) -> None:
        """Receive connections from now on."""
        self._loop.add_reader(self._channel.fileno(), self._receive)

    def close(self) -> None:
        """Receive no more."""
        self._loop.remove_reader(self._channel.fileno())

    def _receive(self) -> None:
        for _ in range(AT_ONCE):
            data, fds = b"", list[int]()
            with suppress(ConnectionError):
                try:
                    data, fds, _, _ = socket.recv_fds(self._channel, NUMBER.size, 1, socket.MSG_CMSG_CLOEXEC)
                except BlockingIOError:
                    return
            if not data:  # the main process is gone
                self.close()
                return
            self._received += 1
            self._tell_soon()
            if not fds:
                log.warning("a connection was lost: this process cannot open more files")
                continue
            connection = socket.socket(fileno=fds[0])
            connection.setblocking(False)
            take = self._doors.get(NUMBER.unpack(data)[0], socket.socket.close)
            take(connection)

    def _tell_soon(self) -> None:
        """Tell the main process, once for all changes of one moment."""
        if not self._telling:
            self._telling = True
            self._loop.call_soon(self._tell)

    def _tell(self) -> None:
        self._telling = False
        self._link.post(Busy(self._received, self._open.total()))


_hatch: Hatch | None = None
# Module state, because a process has one main process.


def receive_through(hatch: Hatch) -> None:
    """Receive all connections of this process through a hatch."""
    global _hatch
    _hatch = hatch


def hatch_here() -> Hatch | None:
    """Return the hatch of this process; None if it listens itself."""
    return _hatch

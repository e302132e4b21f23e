"""The listening sockets of the main process. Each connection is passed to the front with the fewest open connections.

Neither a listening socket for each front (SO_REUSEPORT) nor one that all inherit balances WebSockets: the first spreads
by chance, and the second gives a burst of connections to the front that wakes up first. A conversation stays where it
began, and so does the imbalance. This way, a front that dies also takes no waiting connections with it.
"""

import asyncio
import errno
import itertools
import logging
import socket
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from typing import Protocol

from server.http.hatch import AT_ONCE, HTTP, NUMBER, Door, Listen

log = logging.getLogger(__name__)

BACKLOG = 2048
REST_S = 1.0
"""Pause when the process has no descriptor left, in seconds."""


class Taker(Protocol):
    """A front that takes connections."""

    @property
    def connections(self) -> int:
        """Its open connections."""
        ...

    def give(self, connection: socket.socket, door: int) -> bool:
        """Pass on a connection; return False if it cannot take one now."""
        ...


class Doors:
    """The listening sockets. They accept connections while there is a front that takes them; meanwhile the kernel keeps
    up to BACKLOG waiting."""

    def __init__(self, takers: Callable[[], Sequence[Taker]]) -> None:
        """takers: returns the fronts that take connections now."""
        self._takers = takers
        self._doors: dict[tuple[str, int], tuple[int, list[socket.socket]]] = {}
        """Address in the settings → number and sockets of a door."""
        self._of_one_front: set[int] = set()
        """Doors whose connections all go to the front that has started first."""
        self._loop = asyncio.get_running_loop()
        self._accepting = False

    def add(self, place: tuple[str, int], *listening: socket.socket) -> Door:
        """Add sockets that listen. place: their address as in the settings."""
        number = self._free_number()
        self._doors[place] = number, list(listening)
        for one in listening:
            one.setblocking(False)
            if self._accepting:
                self._loop.add_reader(one.fileno(), self._accept, number, one)
        return self._door(place)

    async def listen(self, wanted: Listen) -> Door:
        """Listen on an address, unless a front has asked for it before. Raises OSError."""
        place = (wanted.host, wanted.port)
        if place not in self._doors:
            found = await self._loop.getaddrinfo(*place, type=socket.SOCK_STREAM)
            addresses = dict.fromkeys((family, address) for family, _, _, _, address in found)
            with ExitStack() as stack:
                opened = [stack.enter_context(_opened(*one)) for one in addresses]
                if wanted.one_front:
                    self._of_one_front.add(self._free_number())
                self.add(place, *opened)
                stack.pop_all()
        return self._door(place)

    def keep(self, used: Collection[int]) -> None:
        """Close the doors that are not in `used`. No front may use them then, because their numbers are given
        again."""
        for place, (number, listening) in list(self._doors.items()):
            if number not in used:
                log.info("%s port %d is closed, because no setting has it now", *place)
                del self._doors[place]
                self._of_one_front.discard(number)
                self._close(listening)

    def changed(self) -> None:
        """Begin or cease to accept, because the fronts have changed."""
        accepting = bool(self._takers())
        if accepting == self._accepting:
            return
        self._accepting = accepting
        for number, listening in self._doors.values():
            for one in listening:
                if accepting:
                    self._loop.add_reader(one.fileno(), self._accept, number, one)
                else:
                    self._loop.remove_reader(one.fileno())

    def close(self) -> None:
        """Close all sockets."""
        for _, listening in self._doors.values():
            self._close(listening)

    def _close(self, listening: Sequence[socket.socket]) -> None:
        for one in listening:
            self._loop.remove_reader(one.fileno())
            one.close()

    def _free_number(self) -> int:
        taken = {number for number, _ in self._doors.values()}
        return next(number for number in itertools.count(HTTP) if number not in taken)

    def _door(self, place: tuple[str, int]) -> Door:
        number, listening = self._doors[place]
        host, port = listening[0].getsockname()[:2]
        return Door(number, (host, port))

    def _accept(self, number: int, listening: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.warning("connections cannot be accepted: %s", error.strerror)
                    self._loop.remove_reader(listening.fileno())
                    self._loop.call_later(REST_S, self._go_on, number, listening)
                return
            with connection:  # the front has its own descriptor
                with suppress(OSError):  # the client has left
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                takers = self._takers()
                if number not in self._of_one_front:
                    takers = sorted(takers, key=lambda one: one.connections)
                for taker in takers:
                    if taker.give(connection, number):
                        break

    def _go_on(self, number: int, listening: socket.socket) -> None:
        if self._accepting and listening.fileno() >= 0:
            self._loop.add_reader(listening.fileno(), self._accept, number, listening)


def send(channel: socket.socket, connection: socket.socket, door: int) -> bool:
    """Pass a connection to the front at the other end; return whether there was room."""
    with suppress(OSError):
        socket.send_fds(channel, [NUMBER.pack(door)], [connection.fileno()])
        return True
    return False


def _opened(family: int, address: tuple[object, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening

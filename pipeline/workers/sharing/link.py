"""A link between the main process and a front: length-prefixed pickles on a socket pair.

Both ends are our own code on one machine, and the socket pair is anonymous: no other process can write to it.
"""

import asyncio
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

from pipeline.errors import EngineError
from pipeline.workers.wire import LENGTH, Failed, pack, unpack

log = logging.getLogger(__name__)

MAX_UNREAD_BYTES = 1 << 28
"""Bytes that wait for the other process; more means that it has stopped reading, and the link ends."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, which gets an Answer or Failed with its number."""

    number: int
    request: object


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a request."""

    number: int
    value: object


class LinkLost(EngineError):
    """The other process is gone."""

    def __init__(self) -> None:
        super().__init__("The other process of the service is gone.")


class Link:
    """One end of a link. A message is handled by the function that `on` has set for its type, a request by `answer`'s.

    Messages are handled in the order in which they were sent; requests run at the same time.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._handlers: dict[type, Callable[[Any], None]] = {Ask: self._asked, Answer: self._told, Failed: self._told}
        self._answers: dict[type, Callable[[Any], Awaitable[object]]] = {}
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.lost = asyncio.Event()
        """Set when the other process is gone."""

    @classmethod
    async def over(cls, sock: socket.socket) -> Self:
        """Create a link over one end of a socket pair, which it closes."""
        reader, writer = await asyncio.open_connection(sock=sock, limit=2**20)
        return cls(reader, writer)

    def on(self, kind: type, handle: Callable[[Any], None]) -> None:
        """Handle messages of this type with a function that does not block."""
        self._handlers[kind] = handle

    def answer(self, kind: type, answer: Callable[[Any], Awaitable[object]]) -> None:
        """Answer requests of this type; an error is raised where the request was sent."""
        self._answers[kind] = answer

    async def run(self) -> None:
        """Handle what arrives until the other process is gone."""
        try:
            while True:
                size = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))[0]
                message = unpack(await self._reader.readexactly(size))
                handle = self._handlers.get(type(message))
                try:
                    if handle is not None:  # a front that is starting does not need all messages yet
                        handle(message)
                except Exception:
                    log.exception("a message of the other process could not be handled")
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """End the link; its requests fail."""
        self.lost.set()
        self._writer.close()
        for task in self._tasks:
            task.cancel()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(LinkLost())

    def post(self, message: object) -> None:
        """Send a small message without waiting. Has no effect once the other process is gone."""
        if self.lost.is_set():
            return
        self._writer.write(pack(message))
        if self._writer.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            log.error("the other process has stopped reading: its link ends")
            self._writer.transport.abort()

    async def send(self, message: object) -> None:
        """Send a message; wait while the other process is behind. Raises LinkLost."""
        if self.lost.is_set():
            raise LinkLost
        try:
            self._writer.write(pack(message))
            await self._writer.drain()
        except OSError:
            raise LinkLost from None

    async def ask(self, request: object) -> Any:
        """Send a request and return the result. Raises the error of the function that answers it, or LinkLost."""
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            await self.send(Ask(number, request))
            return await waiting
        finally:
            del self._waiting[number]

    def _asked(self, ask: Ask) -> None:
        task = asyncio.create_task(self._respond(ask))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _respond(self, ask: Ask) -> None:
        try:
            self.post(Answer(ask.number, await self._answers[type(ask.request)](ask.request)))
        except Exception as error:
            self.post(Failed(ask.number, error))

    def _told(self, response: Answer | Failed) -> None:
        waiting = self._waiting.get(response.number)
        if waiting is None or waiting.done():  # the caller has left
            return
        if isinstance(response, Failed):
            waiting.set_exception(response.error)
        else:
            waiting.set_result(response.value)

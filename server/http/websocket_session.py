"""The life cycle of a WebSocket connection: reading, working, and the end with its reason."""

import asyncio
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from pipeline.errors import Overloaded, ParleyError
from pipeline.support.encodable import encodable
from server.access.limits import held_of
from server.access.revocation import CLOSE_CODE as REVOKED_CODE
from server.access.revocation import Revoked, stay_of
from server.errors import as_json
from server.http.draining import CLOSE_CODE, Leaving
from server.http.idle import Idle, unless_idle
from server.state import state_of

log = logging.getLogger(__name__)

GOODBYE_S = 1.0
"""Timeout in seconds for sending the remaining output, and for sending the reason and the close."""
ARRIVING_S = 0.2
"""Time between the beginning of a drain and the end of a connection without work, in seconds: messages that the client
sent before it could know are still taken."""
REFUSED_CODE = 1008
CLOSE_CODES = {
    "overloaded": 1013, "file_too_large": 1009, "session_expired": 1001, Leaving.code: CLOSE_CODE,
    Revoked.code: REVOKED_CODE, "unsupported_message": 1003,
}  # fmt: skip
"""Code of the error that ends a connection → close code, if it is not 1000."""
MAX_REASON_BYTES = 123
"""Longest reason that a close frame can carry (RFC 6455, 5.5)."""


class Ended(Exception):
    """Ends the connection, with this reason for the client."""

    def __init__(self, reason: ParleyError) -> None:
        super().__init__(reason.message)
        self.reason = reason


class SlowReader(Overloaded):
    """The client does not read what it is sent."""

    def __init__(self) -> None:
        super().__init__("This connection reads too slowly; the session is closed.")


class WebSocketSession(ABC):
    """One connection. A subclass says what a message means, and how its protocol writes an error.

    It reads and works at the same time, so that a disconnect is noticed at once. The first of these ends it: the client
    disconnects, a hook raises `Ended`, the work is over, or the connection is idle. A drain asks it to `finish`, the
    drain deadline and a revoked key to `end`.
    """

    def __init__(self, socket: WebSocket, *, idle_s: float = 0.0, ended: asyncio.Event | None = None) -> None:
        """idle_s: longest time without a message while not busy; 0 for a conversation, whose own watchdog knows what
        silence means. ended: set when `work` writes its last output; the client then has GOODBYE_S to read it."""
        self.held = held_of(socket)
        """The caller's share of the memory budget."""
        self._socket = socket
        self._idle_s = idle_s
        self._output_ended = ended or asyncio.Event()

    @abstractmethod
    async def take(self, message: Message) -> None:
        """Handle a message. Raises ParleyError, which is sent to the client, or Ended."""

    @abstractmethod
    async def work(self) -> None:
        """Produce or write the output. Raises ParleyError: the reason why the connection ends."""

    @abstractmethod
    async def finish(self, reason: ParleyError) -> None:
        """End the connection after what has begun."""

    async def end(self, reason: ParleyError) -> None:
        """End the connection at once."""
        raise Ended(reason)

    def busy(self) -> bool:
        """Whether the client waits for something, and so is not idle."""
        return False

    def error(self, error: ParleyError) -> Mapping[str, object]:
        """Return the message that reports an error."""
        return as_json(error)

    def goodbye(self, reason: ParleyError) -> Mapping[str, object] | None:
        """Return the last message before the close. None for a normal end: in a protocol of requests and responses the
        client would take the message for a response."""
        return None if isinstance(reason, Leaving | Idle) else self.error(reason)

    async def run(self) -> None:
        """Run until one side ends the connection. None of its tasks is left afterwards."""
        reason: ParleyError | None = None
        draining = state_of(self._socket).draining
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._work())
                tasks.create_task(self._read())
                tasks.create_task(self._stop_writing())
                tasks.create_task(_after(draining.begun.wait, self._finish, Leaving()))
                tasks.create_task(_after(draining.cut.wait, self.end, Leaving()))
                tasks.create_task(_after(stay_of(self._socket).end, self.end, Revoked()))
        except BaseExceptionGroup as group:
            # Its traceback holds the frame of the task group, which holds the group: a cycle, which would keep this
            # object, and the messages that wait, until the next full collection.
            group.__traceback__ = None
            _, failed = group.split((WebSocketDisconnect, Ended))
            if failed is not None:
                raise failed from None
            reason = next((ended.reason for ended in group.exceptions if isinstance(ended, Ended)), None)
        if reason is not None:
            await self._close(reason)

    async def send(self, message: Mapping[str, object] | bytes) -> None:
        """Send a message, as JSON or binary, unless the connection is closed."""
        if self._socket.application_state is WebSocketState.CONNECTED:
            with suppress(WebSocketDisconnect, RuntimeError):  # disconnected: the reader notices it, too
                if isinstance(message, bytes):
                    await self._socket.send_bytes(message)
                else:
                    await _send_json(self._socket, message)

    async def send_error(self, error: ParleyError) -> None:
        """Send an error; the connection goes on."""
        await self.send(self.error(error))

    async def report(self, work: Awaitable[None]) -> None:
        """Do some work for the client; if it fails, send the error."""
        try:
            await work
            return
        except Ended:
            raise
        except ParleyError as error:
            told = error.with_traceback(None)  # its frames hold the message
        except Exception:
            log.exception("a request on %s failed", self._socket.url.path)
            told = ParleyError("Something went wrong inside the service.")
        await self.send_error(told)

    async def _read(self) -> None:
        while True:
            # Without a variable for the message: it can be large, and is free as soon as it was handled.
            await self.report(self.take(await self._next()))
            await asyncio.sleep(0)  # during a burst of messages, let the writer and other connections run

    async def _next(self) -> Message:
        try:
            message = await unless_idle(self._socket.receive(), self._idle_s, self.busy)
        except Idle as idle:
            raise Ended(idle) from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect
        return message

    async def _work(self) -> None:
        try:
            await self.work()
        except ParleyError as error:
            raise Ended(error.with_traceback(None)) from None

    async def _finish(self, reason: ParleyError) -> None:
        """End the connection after what has begun; a message that has just arrived begins first."""
        await asyncio.sleep(ARRIVING_S)
        await self.finish(reason)

    async def _stop_writing(self) -> None:
        await self._output_ended.wait()
        await asyncio.sleep(GOODBYE_S)
        raise Ended(SlowReader())

    async def _close(self, reason: ParleyError) -> None:
        with suppress(TimeoutError):  # the close queues behind all unread data
            async with asyncio.timeout(GOODBYE_S):
                if (last := self.goodbye(reason)) is not None:
                    await self.send(last)
                with suppress(WebSocketDisconnect, RuntimeError):  # already closed
                    await self._socket.close(CLOSE_CODES.get(reason.code, 1000), _shortened(reason.message))


async def _after(
    event: Callable[[], Coroutine[object, object, object]],
    then: Callable[[ParleyError], Awaitable[None]],
    reason: ParleyError,
) -> None:
    await event()
    await then(reason)


async def refuse(socket: WebSocket, error: ParleyError, protocol: str | None = None) -> None:
    """Accept and close a connection whose parameters are invalid: browsers cannot read the error in a refused
    handshake."""
    await socket.accept(protocol)
    await _send_json(socket, as_json(error))
    await socket.close(REFUSED_CODE, _shortened(error.message))


def _shortened(message: str) -> str:
    """Return the beginning of a message that fits into a close frame."""
    return message.encode(errors="replace")[:MAX_REASON_BYTES].decode(errors="ignore")


async def _send_json(socket: WebSocket, message: Mapping[str, object]) -> None:
    """Send one object like starlette's own method, but accept any text in it, such as lone surrogates."""
    await socket.send_text(encodable(json.dumps(message, separators=(",", ":"), ensure_ascii=False)))

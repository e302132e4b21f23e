"""TCP servers of protocols other than HTTP, beside the HTTP server."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

from pipeline.errors import ConfigError
from server.access.callers import address_in
from server.access.pace import MIN_PER_S, PACE_WAIT_S, RequestPace
from server.http.draining import Draining
from server.http.hatch import Listen, hatch_here

LINGER_S = 1.0
"""Longest time in which a client's last data is discarded, in seconds."""
DISCARDED_BYTES, DISCARD_PAUSE_S = 1 << 16, 0.05
"""Bytes that are read and discarded at a time, and the pause after them in seconds: clients that send on as fast as
they can must not fill the event loop."""

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(
    host: str,
    port: int,
    serve: Serve,
    *,
    setting: str,
    most: int,
    draining: Draining,
    one_front: bool = False,
) -> AsyncIterator[tuple[str, int]]:
    """Serve connections while the block runs, and accept none once the service is draining; yield the address.

    serve: runs one connection; may raise OSError (disconnected), and is cancelled when the block ends. setting: the
    address as NAME=VALUE. most: maximum number of connections; further ones are closed at once, as are those of one
    address beyond its pace (`RequestPace`). Raises ConfigError if listening fails. one_front: with several processes
    (PROCESSES), all connections go to the same one, because they share something.
    """
    open_now: set[asyncio.Task[None]] = set()
    pace = RequestPace(MIN_PER_S)

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # asyncio runs each connection in one
        open_now.add(task)
        try:
            if len(open_now) <= most and (wait_s := _wait_s(pace, writer)) <= PACE_WAIT_S:
                await asyncio.sleep(wait_s)
                await serve(reader, writer)
        except OSError:
            pass  # disconnected
        except asyncio.CancelledError:
            pass  # the service is stopping
        finally:
            open_now.discard(task)
            writer.close()

    try:
        close, address = await _listen(run, Listen(host, port, one_front), open_now)
    except OSError as error:
        raise ConfigError(f"Cannot listen on {setting}: {error.strerror}.") from None
    closing = asyncio.create_task(_close_when_draining(close, draining))
    try:
        yield address
    finally:
        closing.cancel()
        close()
        for task in open_now:
            task.cancel()
        await asyncio.wait([closing, *open_now])


def _wait_s(pace: RequestPace, writer: asyncio.StreamWriter) -> float:
    """Return the seconds until the turn of a new connection; other machines have one for each address."""
    peer = writer.get_extra_info("peername")
    address = address_in(str(peer[0])) if peer else ""
    return pace.wait_s(("address", address)) if address else 0.0


def write(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write to a connection. Raises ConnectionResetError if it is lost, for which uvloop raises RuntimeError."""
    if writer.transport.is_closing():
        raise ConnectionResetError
    writer.write(data)


async def linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End a connection after its last message. Read what the client still sends for LINGER_S; otherwise the client
    could lose that message."""
    if writer.transport.is_closing():
        return
    with contextlib.suppress(OSError, TimeoutError):
        writer.write_eof()
        async with asyncio.timeout(LINGER_S):
            while await reader.read(DISCARDED_BYTES):  # noqa: ASYNC110  # it is the reading that waits
                await asyncio.sleep(DISCARD_PAUSE_S)


async def _close_when_draining(close: Callable[[], None], draining: Draining) -> None:
    await draining.begun.wait()
    close()


async def _listen(
    run: Serve, wanted: Listen, open_now: Collection[object]
) -> tuple[Callable[[], None], tuple[str, int]]:
    """Listen, or let the main process listen for this one; return a function that ends it, and the address. Raises
    OSError."""
    hatch = hatch_here()
    if hatch is None:
        server = await asyncio.start_server(run, wanted.host, wanted.port)
        return server.close, server.sockets[0].getsockname()[:2]
    loop = asyncio.get_running_loop()
    door = await hatch.listen(wanted)
    connecting: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hatch.count(door.number, len(open_now) + 1)
        try:
            await run(reader, writer)
        finally:
            hatch.count(door.number, len(open_now))

    async def connect(connection: socket.socket) -> None:
        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), serve, loop=loop)
        with contextlib.suppress(OSError):  # the client has left
            await loop.connect_accepted_socket(lambda: protocol, connection)

    def take(connection: socket.socket) -> None:
        task = asyncio.create_task(connect(connection))
        connecting.add(task)
        task.add_done_callback(connecting.discard)

    hatch.on(door.number, take)
    return lambda: hatch.off(door.number), door.address

"""Servers that violate HTTP, on real sockets: a script of the test writes to each connection."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Hostile:
    """One server, and the requests that it has received."""

    address: str = ""
    heads: list[bytes] = field(default_factory=list)
    """The head of each request."""
    open: int = 0
    most_open: int = 0
    """Connections open at the same time."""


@asynccontextmanager
async def hostile(script: Script, host: str = "127.0.0.1") -> AsyncIterator[Hostile]:
    """A server that reads the head of a request and then runs the script, until the connection is closed."""
    server = Hostile()
    at_work: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.open += 1
        server.most_open = max(server.open, server.most_open)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                server.heads.append(await reader.readuntil(b"\r\n\r\n"))
                await script(writer)
        finally:
            server.open -= 1
            writer.close()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        at_work.add(task)
        task.add_done_callback(at_work.discard)

    listening = await asyncio.start_server(begin, host, 0)
    server.address = f"http://{host}:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        for task in at_work:
            task.cancel()
        if at_work:
            await asyncio.wait(at_work)


def sends(*parts: bytes) -> Script:
    """Send these bytes and close."""

    async def script(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return script


async def silent(writer: asyncio.StreamWriter) -> None:
    """Never respond."""
    await asyncio.Event().wait()

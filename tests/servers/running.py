"""A real server on a real socket, for the length of a test."""

import asyncio
import itertools
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

PORTS = range(20_000, 32_000)
"""Below those that Linux gives to whoever asks for any: such a port may be left and taken again, and nobody else gets
it meanwhile."""
OWN_PORTS = 100
"""How many of them each process of the tests has for itself."""
_own_ports = itertools.cycle(range(OWN_PORTS))


@asynccontextmanager
async def running(app: Any, port: int = 0) -> AsyncIterator[str]:
    """Serve an ASGI application on a port of this machine (0: a free one); gives its address."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        # The tests' own signal handlers stay.
        task = asyncio.create_task(server._serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            await task


def wait_for_port(port: int, *, within_s: float = 60.0) -> None:
    """Until something listens on a port of this machine."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"nothing listens on port {port}"
            time.sleep(0.05)


def closed_port() -> int:
    """A port of this machine on which nothing listens, and nothing will that was not told its number."""
    first = PORTS.start + os.getpid() % (len(PORTS) // OWN_PORTS) * OWN_PORTS
    for _ in range(OWN_PORTS):
        port = first + next(_own_ports)
        with socket.socket() as taken:
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"every port from {first} on is taken")

"""A real server on a real socket, for the duration of a test."""

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
"""First port of a range below Linux's ephemeral ports: a test can release such a port and take it again, and no other
program gets it meanwhile.
"""
OWN_PORTS = 100
"""Number of ports reserved for each test process."""
_own_ports = itertools.cycle(range(OWN_PORTS))


@asynccontextmanager
async def running(app: Any, port: int = 0, **options: Any) -> AsyncIterator[str]:
    """Serve an ASGI application on a local port (0: a free one) with options of uvicorn; yield its address."""
    # Only with this protocol does asyncio set TCP_NODELAY; without it a kept connection waits 40 ms for each response.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1, **options)
        server = uvicorn.Server(config)
        # The tests' own signal handlers stay.
        task = asyncio.create_task(server._serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            await task


def wait_for_port(port: int, *, within_s: float = 60.0) -> None:
    """Wait until a server listens on a local port."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"nothing listens on port {port}"
            time.sleep(0.05)


def closed_port() -> int:
    """Return a local port on which no server listens, and which no other program gets by chance."""
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

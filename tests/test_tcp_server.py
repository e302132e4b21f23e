"""How fast one address can open connections to the ports of Wyoming and AudioSocket."""

import asyncio

import pytest

from server.access.pace import PACE_WAIT_S, RequestPace
from server.http import tcp_server
from server.http.draining import Draining

AT_ONCE = 40
WAIT = int(AT_ONCE * PACE_WAIT_S)
"""Number of connections that wait for their turn."""


@pytest.mark.parametrize("stranger", [True, False])
async def test_connections_beyond_the_pace_of_an_address_are_closed(
    monkeypatch: pytest.MonkeyPatch, stranger: bool
) -> None:
    monkeypatch.setattr(tcp_server, "RequestPace", lambda per_s: RequestPace(per_s, clock=lambda: 0.0))
    if stranger:
        monkeypatch.setattr(tcp_server, "address_in", lambda host: "198.51.100.1")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"served")
        await reader.read()

    async with tcp_server.listening("127.0.0.1", 0, serve, setting="TEST=", most=1000, draining=Draining()) as (
        host,
        port,
    ):
        open_now = [await asyncio.open_connection(host, port) for _ in range(AT_ONCE + WAIT + 1)]
        try:
            first, waiting, last = open_now[AT_ONCE - 1][0], open_now[AT_ONCE][0], open_now[-1][0]
            async with asyncio.timeout(60):
                assert await first.read(6) == b"served"
                assert await waiting.read(6) == b"served", "after its turn"
                assert await last.read(6) == (b"" if stranger else b"served")
        finally:
            for _, writer in open_now:
                writer.close()

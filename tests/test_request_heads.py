"""Requests with endless heads are rejected immediately, with a response."""

import contextlib
import socket

import httpx
import pytest

from tests.server_process import ServerProcess

LONG = b"x" * 2**18
"""Slightly more than the server reads: unread data at its close can cost the client the response."""
UPGRADE = (
    b"Host: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


def status_of(server: ServerProcess, head: bytes) -> int:
    """Send a request head; return the status of the response, after which the connection is closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        answer = b""
        with contextlib.suppress(ConnectionError):  # closed while still sending
            connection.sendall(head)
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(4096):
                answer += part
        return int(answer.split()[1])


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /health?" + LONG, 414),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nCookie: " + LONG, 431),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 43_700, 431),
        (b"GET /ws?system=" + LONG[:140_000] + b" HTTP/1.1\r\n" + UPGRADE + b"\r\n", 414),
        (b"GET /ws HTTP/1.1\r\n" + UPGRADE + b"Cookie: " + LONG[:140_000] + b"\r\n\r\n", 431),
        (b"GET /ws HTTP/1.1\r\n" + UPGRADE + b"A: b\r\n" * 500 + b"\r\n", 431),
    ],
    ids=["line", "header", "headers", "socket-line", "socket-header", "socket-headers"],
)
def test_too_long_head_is_rejected(server: ServerProcess, head: bytes, status: int) -> None:
    assert status_of(server, head) == status


def test_long_head_within_the_limit_and_long_body_are_read(server: ServerProcess) -> None:
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/health?" + "x" * 60_000).status_code == 200
        assert client.post("/health", content=b"\0" * 200_000).status_code == 405
        assert client.get("/health").status_code == 200

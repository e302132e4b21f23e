"""Clients that hold a connection and do nothing with it, against the running service."""

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.server_process import ServerProcess, constants, let_in, serving
from tests.waiting import until

HEADER_S, BODY_S, STALL_S, IDLE_S, MOST = 2.0, 1.0, 2.0, 2.0, 12
LATE_S = 60.0
"""Generous, because the machine can be busy."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(
        tmp_path_factory.mktemp("patience"),
        IDLE_TIMEOUT_S=str(IDLE_S), MAX_SESSIONS="4", **constants({
            "pipeline.settings.service:MIN_CONNECTIONS": MOST,
            "server.http.uvicorn_protocols:HEADER_TIMEOUT_S": HEADER_S, "server.access.bodies:BODY_TIMEOUT_S": BODY_S,
            "server.http.stalling:STALL_TIMEOUT_S": STALL_S,
        }),
    ) as running:  # fmt: skip
        yield running


def opened(server: ServerProcess) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.settimeout(LATE_S)
    return connection


def rest(connection: socket.socket) -> bytes:
    """Return what arrives until the service closes; fail if it does not close."""
    received = b""
    try:
        while data := connection.recv(65536):
            received += data
    except ConnectionResetError:
        pass
    return received


def trickle(connection: socket.socket, data: bytes, pause_s: float) -> None:
    """Send one byte at a time, until all is sent or the service closes."""
    try:
        for number in range(len(data)):
            connection.sendall(data[number : number + 1])
            time.sleep(pause_s)
    except OSError:
        pass


def test_missing_headers_time_out(server: ServerProcess) -> None:
    begun = time.monotonic()
    with opened(server) as silent, opened(server) as slow, opened(server) as second:
        second.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        head = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-A: b\r\n" * 1000  # takes minutes
        for one in (slow, second):
            threading.Thread(target=trickle, args=(one, head, 0.05), daemon=True).start()
        assert rest(silent) == b""
        assert b"200 OK" not in rest(slow)
        assert rest(second).count(b"HTTP/1.1 200") == 1
    assert time.monotonic() - begun > HEADER_S * 0.9


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/v1/audio/speech", "application/json"), ("/v1/audio/transcriptions", "multipart/form-data; boundary=x"),
     ("/jobs", "multipart/form-data; boundary=x")],
)  # fmt: skip
def test_missing_bodies_time_out(server: ServerProcess, path: str, kind: str) -> None:
    with opened(server) as slow:
        slow.sendall(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n".encode()
            + b"Content-Length: 100000\r\n\r\n"
        )
        body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + b"a" * 200
        threading.Thread(target=trickle, args=(slow, body, 0.05), daemon=True).start()
        answer = rest(slow)
    assert answer.startswith(b"HTTP/1.1 408"), answer[:100]
    assert b"slow_body" in answer


def test_the_rest_of_a_refused_body_is_not_awaited(server: ServerProcess) -> None:
    with opened(server) as sender:
        sender.sendall(b"POST /v1/audio/speech HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000000\r\n\r\n")
        threading.Thread(target=trickle, args=(sender, b"a" * 1000, 0.05), daemon=True).start()
        assert rest(sender).startswith(b"HTTP/1.1 413")


def test_unread_responses_close_the_connection(server: ServerProcess) -> None:
    process = psutil.Process(server.process.pid)
    with opened(server) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        deaf.settimeout(0.3)
        try:
            for _ in range(3000):
                deaf.sendall(request)
        except OSError:
            pass
        port = deaf.getsockname()[1]
        until(lambda: all(not one.raddr or one.raddr.port != port for one in process.net_connections("tcp")))


def test_unread_conversations_close_the_connection(server: ServerProcess) -> None:
    """Each message gets an error. Unread errors stop the service's reading, and end the connection after a timeout."""
    with opened(server) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(
            b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        deaf.settimeout(0.3)
        frame = b"\x81\x82\x00\x00\x00\x00hi"
        try:
            for _ in range(20_000):
                deaf.sendall(frame * 50)
        except OSError:
            pass
        until(lambda: server_sessions(server) == 0)


def server_sessions(server: ServerProcess) -> float:
    """Conversation slots in use."""
    found = re.search(r"^parley_sessions (\S+)$", httpx.get(f"{server.url}/metrics").text, re.MULTILINE)
    assert found
    return float(found[1])


@pytest.mark.parametrize("path", ["/ws", "/ws?stream=1", "/v1/realtime", "/api/v1/streaming"])
def test_silent_conversations_time_out(server: ServerProcess, path: str) -> None:
    with let_in(lambda: connect(f"ws://127.0.0.1:{server.port}{path}", open_timeout=LATE_S)) as silent:
        if path in ("/ws", "/api/v1/streaming"):
            silent.send("nothing that is understood")
            assert "error" in json.loads(silent.recv(timeout=LATE_S))
        with contextlib.suppress(ConnectionClosed):
            while True:
                silent.recv(timeout=LATE_S)
        assert silent.close_code == 1000


def test_connections_over_the_limit_are_refused(server: ServerProcess) -> None:
    time.sleep(0.3)
    held = [opened(server) for _ in range(MOST + 4)]
    answers = [rest(one) for one in held]
    assert sum(answer.startswith(b"HTTP/1.1 503") for answer in answers) >= 4
    assert sum(answer == b"" for answer in answers) >= MOST - 4
    for one in held:
        one.close()
    assert httpx.get(f"{server.url}/health/live").status_code == 200

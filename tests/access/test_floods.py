"""Very many very small parts: frames of WebSockets, and chunks of bodies. Each costs time, however short it is."""

import socket
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection

from server.access import bodies, limits
from server.http import uvicorn_protocols
from tests.in_process import in_process
from tests.server_process import Service

KEY = "anna-0123456789abcdefghij"
HEAD = (
    "POST /v1/audio/speech HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
    "Content-Type: application/json\r\n"
)
CHUNK = b"1\r\n \r\n"


def frame(kind: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(kind, data, fin=fin).serialize(mask=True)


FLOODS = {
    "pings": (b"", frame(Opcode.PING)),
    "fragments": (frame(Opcode.BINARY, fin=False), frame(Opcode.CONT, fin=False)),
    "empty": (b"", frame(Opcode.BINARY)),
    "sound": (b"", frame(Opcode.BINARY, bytes(2))),
    "texts": (b"", frame(Opcode.TEXT, b"{}")),
}
"""Kind → the first frame, and the frame that is repeated."""


def connected(server: Service, headers: dict[str, str]) -> ClientConnection:
    """Connect a client that reads all responses."""
    return server.connect("?stream=1&rate=16000", additional_headers=headers, max_queue=None)


@pytest.mark.parametrize("kind", FLOODS)
def test_small_frames_are_read_at_a_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    first, more = FLOODS[kind]
    monkeypatch.setattr(limits, "BURST_BYTES", 100 * limits.FRAME_BYTES)
    monkeypatch.setattr(limits, "PACE_BYTES_PER_S", 200 * limits.FRAME_BYTES)
    with (
        in_process(tmp_path, API_KEYS=KEY) as server,
        connected(server, {"Authorization": f"Bearer {KEY}"}) as flooding,
    ):
        began = time.monotonic()
        flooding.socket.sendall(first + 400 * more)
        assert flooding.ping("end").wait(60)
        assert time.monotonic() - began > 1.2, "300 frames above the burst"


def test_others_are_served_before_all_small_frames_are_read(tmp_path: Path) -> None:
    """Callers on this machine without a key have no pace."""
    ping = frame(Opcode.PING)
    flood = ping * ((1 << 17) // len(ping))  # one read from the network
    with (
        in_process(tmp_path) as server,
        httpx.Client(base_url=server.url, timeout=60) as other,
        connected(server, {}) as flooding,
    ):
        other.get("/health/live")
        flooding.socket.sendall(flood)
        ended = flooding.ping("end")
        other.get("/health/live")
        assert not ended.is_set()


def test_small_chunks_of_a_body_are_read_at_a_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_BURST_BYTES", 1)
    monkeypatch.setattr(limits, "BODY_PACE_BYTES_PER_S", 1000 * bodies.CHUNK_BYTES)
    with in_process(tmp_path, API_KEYS=KEY) as server, opened(server.port) as sender:
        began = time.monotonic()
        sender.sendall(f"{HEAD}Authorization: Bearer {KEY}\r\n\r\n".encode() + 1000 * CHUNK + b"0\r\n\r\n")
        assert sender.recv(100).startswith(b"HTTP/1.1 4"), "it is not JSON"
        assert time.monotonic() - began > 0.8


def test_small_chunks_after_a_refusal_end_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn_protocols, "HEADER_TIMEOUT_S", 600.0)
    with in_process(tmp_path, API_KEYS=KEY) as server, opened(server.port) as sender:
        sender.sendall(f"{HEAD}\r\n".encode() + CHUNK)
        assert sender.recv(1000).startswith(b"HTTP/1.1 401 ")
        sender.sendall((uvicorn_protocols.MAX_UNREAD_CHUNKS + 1) * CHUNK)
        with suppress(ConnectionResetError):
            while sender.recv(1000):  # the rest of the response, and then the end
                pass


def opened(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)

"""Floods from one connection or caller: the service buffers little of them, and serves others meanwhile."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.server_process import ServerProcess, constants, let_in, serving
from tests.waiting import until

LATE_S = 60.0
"""Generous, because the machine can be busy."""
UPLOADS = 2
HELD_BYTES = 8 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(
        tmp_path_factory.mktemp("budgets"),
        MAX_FILES="1",
        **constants({
            "server.access.budgets:MEMORY_BYTES": HELD_BYTES, "server.access.budgets:UPLOADS_PER_FILE": UPLOADS,
            "server.http.stalling:STALL_TIMEOUT_S": 20.0,
        }),
    ) as running:  # fmt: skip
        yield running


def opened(server: ServerProcess) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.settimeout(LATE_S)
    return connection


@contextlib.contextmanager
def within(server: ServerProcess, megabytes: int) -> Iterator[None]:
    """Check that the service's memory does not grow by this many megabytes while the block runs."""
    process, over = psutil.Process(server.process.pid), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.005):
            peak = max(peak, process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()
    assert (peak - before) >> 20 < megabytes


def held(server: ServerProcess) -> int:
    """Bytes that the service counts as held."""
    lines = httpx.get(f"{server.url}/metrics", timeout=LATE_S).text.splitlines()
    return int(float(next(line for line in lines if line.startswith("parley_held_bytes ")).split()[1]))


# --- requests whose sender does not wait for the responses ---


def test_pipelined_requests_are_answered_in_order(server: ServerProcess) -> None:
    kinds = [
        b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\nGET /\r\n\r\nabc",
        b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ]
    with opened(server) as connection:
        sent = b"".join(kinds[number % 3] for number in range(300))
        threading.Thread(target=connection.sendall, args=(sent + kinds[0][:-2],), daemon=True).start()
        received = b""
        while received.count(b"HTTP/1.1 ") < 300:
            data = connection.recv(65536)
            assert data, received[-500:]
            received += data
        connection.sendall(b"Connection: close\r\n\r\n")
        while data := connection.recv(65536):
            received += data
    statuses = [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [(b"200", b"404", b"404")[number % 3] for number in range(300)] + [b"200"]


@pytest.mark.parametrize("body", [b"", b"x" * 40_000], ids=["heads", "bodies"])
def test_unread_requests_do_not_fill_memory(server: ServerProcess, body: bytes) -> None:
    """Each connection would send about 100 MB if it were read."""
    request = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    sent = 0
    with within(server, 100), ExitStack() as stack:
        for _ in range(20):
            deaf = stack.enter_context(opened(server))
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.settimeout(0.2)
            with contextlib.suppress(OSError):
                for _ in range(1000):
                    deaf.sendall(request * (20_000 // len(request) + 1))
                    sent += 1
        assert httpx.get(f"{server.url}/health", timeout=LATE_S).status_code == 200
    assert sent


def test_a_request_with_too_many_headers_is_refused(server: ServerProcess) -> None:
    with opened(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200 + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 431")
    many = {f"X-{number}": "y" for number in range(90)}
    assert httpx.get(f"{server.url}/health", headers=many, timeout=LATE_S).status_code == 200


def test_an_upgrade_behind_a_pending_request_closes_the_connection(server: ServerProcess) -> None:
    upgrade = (
        b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with opened(server) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + upgrade)
        while data := connection.recv(65536):
            assert b"101 Switching" not in data


# --- messages ---


def masked(opcode: int, payload: bytes = b"", *, fin: bool = True, claims: int | None = None) -> bytes:
    """A masked client frame. claims: a declared length larger than the payload."""
    length = len(payload) if claims is None else claims
    head = bytes([opcode | (0x80 if fin else 0)])
    if length < 126:
        head += bytes([0x80 | length])
    elif length < 65536:
        head += bytes([0x80 | 126]) + length.to_bytes(2)
    else:
        head += bytes([0x80 | 127]) + length.to_bytes(8)
    return head + b"\0\0\0\0" + payload


def talking(server: ServerProcess, path: str = "/ws") -> socket.socket:
    connection = opened(server)
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".encode()
        + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(1)
    assert b"101 Switching" in head
    return connection


def flood(connection: socket.socket, data: bytes, times: int) -> None:
    connection.settimeout(0.5)
    with contextlib.suppress(OSError):
        for _ in range(times):
            connection.sendall(data)


FLOODS = {
    "tiny messages": masked(2, b"x") * 20_000,
    "empty messages": masked(1) * 20_000,
    "fragments of nothing": masked(0, fin=False) * 20_000,
    "fragments of two bytes": masked(0, b"xy", fin=False) * 40_000,
    "pings": masked(9, b"x" * 100) * 2_000,
}


@pytest.mark.parametrize("kind", FLOODS)
def test_endless_frames_do_not_fill_memory(server: ServerProcess, kind: str) -> None:
    with within(server, 30), ExitStack() as stack:
        for _ in range(4):
            deaf = stack.enter_context(contextlib.closing(talking(server)))
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            if kind.startswith("fragments"):
                deaf.sendall(masked(2, fin=False))
            flood(deaf, FLOODS[kind], 3)
        assert httpx.get(f"{server.url}/health", timeout=LATE_S).status_code == 200


def test_an_incomplete_message_counts_from_its_first_bytes(server: ServerProcess) -> None:
    """Memory counts while bytes arrive and until the connection ends. A message beyond the budget closes with 1013."""
    with ExitStack() as stack:
        for _ in range(2):
            halves = stack.enter_context(contextlib.closing(talking(server)))
            halves.sendall(masked(2, b"x" * (4 << 20), claims=20 << 20))
        until(lambda: held(server) >= 5 << 20)
        third = stack.enter_context(contextlib.closing(talking(server)))
        with contextlib.suppress(OSError):
            third.sendall(masked(2, b"x" * (6 << 20), claims=20 << 20))
        answer = third.recv(100)
        assert answer[:1] == b"\x88"
        assert int.from_bytes(answer[2:4]) == 1013
        # Small messages are still accepted.
        with connect(f"ws://127.0.0.1:{server.port}/ws", open_timeout=LATE_S) as other:
            other.send(b"x" * 1000)
            assert json.loads(other.recv(timeout=LATE_S))["error"]["code"] == "bad_audio"
    until(lambda: held(server) == 0)


# --- texts ---

DEEP = "[" * 100_000 + "]" * 100_000
TEXTS: dict[str, Callable[[], str]] = {
    "deep": lambda: DEEP,
    "deep within": lambda: '{"type": "x", "a": ' + DEEP + "}",
    "many": lambda: '{"type": "say", "a": [' + "{}," * 2_000_000 + "{}]}",
    "many names": lambda: '{"type": "say", ' + ",".join(f'"{n}": {n}' for n in range(200_000)) + "}",
    "a long number": lambda: '{"type": "played", "ms": ' + "9" * 5000 + "}",
    "a large number": lambda: '{"type": "played", "ms": 1e999}',
    "an endless text": lambda: '{"type": "say", "text": "' + "x" * 5_000_000 + '"}',
    "a wide text": lambda: '{"type": "say", "text": "' + "x" * 5_000_000 + '\U0001f600"}',
    "half a character": lambda: '{"type": "\\ud83d"}',
    "not a number": lambda: '{"type": "played", "ms": NaN}',
}


def error_of(connection: ClientConnection) -> str:
    """The code of the next error, in any of the protocols."""
    while True:
        told = json.loads(connection.recv(timeout=LATE_S))
        if (error := told.get("error")) or (error := told if told.get("type") == "error" else None):
            return str(error["code"])


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("path", ["/ws?stream=1", "/v1/realtime", "/api/v1/streaming"])
def test_texts_over_the_limit_of_their_kind_are_refused(server: ServerProcess, path: str, kind: str) -> None:
    text = TEXTS[kind]()
    with (
        within(server, 60),
        let_in(
            lambda: connect(f"ws://127.0.0.1:{server.port}{path}", open_timeout=LATE_S, max_size=None, compression=None)
        ) as connection,
    ):
        for _ in range(3):  # the connection stays open
            connection.send(text)
            assert error_of(connection) in {
                "unsupported_message", "message_too_large", "unknown_or_invalid_event", "bad_parameter",
            }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/audio/speech"), ("POST", "/api/v1/upload/url"), ("PUT", "/jobs/x/speakers")],
)
@pytest.mark.parametrize("kind", TEXTS)
def test_bodies_over_the_limit_of_their_kind_are_refused(
    server: ServerProcess, method: str, path: str, kind: str
) -> None:
    answer = httpx.request(
        method, f"{server.url}{path}", content=TEXTS[kind]().encode(), timeout=LATE_S,
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["error"]["message"]


def test_form_fields_count_against_the_memory_budget(server: ServerProcess) -> None:
    """Fields are held in memory, whatever MAX_FILE_SIZE is."""
    fields = {f"known_speaker_references[{number}]": "x" * (7 << 20) for number in range(3)}
    answer = httpx.post(f"{server.url}/v1/audio/transcriptions", data=fields, files={"file": b"x"}, timeout=LATE_S)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
    until(lambda: held(server) == 0)


# --- uploads in chunks ---


def test_streamed_uploads_take_a_slot_from_their_first_byte(server: ServerProcess) -> None:
    url = f"ws://127.0.0.1:{server.port}/api/v1/streaming?rate=16000"

    def stop(socket: ClientConnection) -> dict[str, object]:
        socket.send('{"action": "stop"}')
        told: dict[str, object] = json.loads(socket.recv(timeout=LATE_S))
        return told

    with ExitStack() as stack:
        first, second, third = (stack.enter_context(connect(url, open_timeout=LATE_S)) for _ in range(3))
        for one in (first, second):
            one.send(bytes(32_000))
        until(lambda: taken(server) == UPLOADS)
        third.send(bytes(32_000))
        assert error_of(third) == "overloaded"
        third.send(bytes(32_000))  # the error is sent once; later data is discarded
        third.send('{"action": "stop"}')
        answer = httpx.post(f"{server.url}/asr", files={"audio_file": b"x"}, timeout=LATE_S)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "transcription" in stop(first)
        until(lambda: taken(server) == UPLOADS - 1)
        third.send(bytes(32_000))
        assert "transcription" in stop(third)
    with contextlib.suppress(ConnectionClosed):
        second.recv(timeout=LATE_S)
    until(lambda: taken(server) == 0)


def taken(server: ServerProcess) -> int:
    """Upload slots in use."""
    lines = httpx.get(f"{server.url}/metrics", timeout=LATE_S).text.splitlines()
    return int(float(next(line for line in lines if line.startswith("parley_uploads_running ")).split()[1]))

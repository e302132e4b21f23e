"""Bodies that are made to be slow to parse, and false claims about their length."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from pipeline.settings import Settings
from server.http.uvicorn_protocols import bounded
from tests.in_process import in_process
from tests.server_process import Service

SIZE = 1 << 18
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with in_process(tmp_path_factory.mktemp("bodies")) as running:
        yield running


class Wire(asyncio.Transport):
    """A transport that collects what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: asyncio.BaseProtocol | None = None
        self.written = b""
        self.answered = asyncio.Event()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return False

    def write(self, data: Any) -> None:
        self.written += data
        if self.written.endswith(str(SIZE).encode()):
            self.answered.set()

    def close(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self.protocol is not None
        return self.protocol


class Counted:
    """A parser that counts how often it is fed."""

    def __init__(self, parser: Any) -> None:
        self.feeds = 0
        self._parser = parser

    def feed_data(self, data: bytes) -> None:
        self.feeds += 1
        self._parser.feed_data(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


async def echo_size(scope: Scope, receive: Receive, send: Send) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    told = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(told))]})
    await send({"type": "http.response.body", "body": told})


@pytest.mark.parametrize(
    ("head", "tail", "most"),
    [
        (b"Content-Length: %d\r\n\r\n" % SIZE, b"", 10),
        (b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % SIZE, b"\r\n0\r\n\r\n", SIZE // 256 + 10),
    ],
    ids=["length", "chunked"],
)
async def test_a_body_of_blank_lines_is_parsed_in_few_steps(head: bytes, tail: bytes, most: int) -> None:
    config = uvicorn.Config(echo_size, lifespan="off", log_config=None, **bounded(Settings()))
    config.load()
    make: Any = config.http_protocol_class
    protocol = make(config=config, server_state=ServerState(), app_state={}, _loop=asyncio.get_running_loop())
    wire = Wire()
    wire.protocol = protocol
    protocol.connection_made(wire)
    parser = protocol.parser = Counted(protocol.parser)
    protocol.data_received(HEAD + head + b"\r\n\r\n" * (SIZE // 4) + tail)
    async with asyncio.timeout(60):
        await wire.answered.wait()
    assert parser.feeds <= most
    protocol.connection_lost(None)


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/jobs"])
def test_a_content_length_of_thousands_of_digits_is_refused(server: Service, path: str) -> None:
    kind = b"multipart/form-data; boundary=b"
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(
            b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %b\r\nContent-Length: %b3\r\n\r\nabc"
            % (path.encode(), kind, b"0" * 5000)
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")

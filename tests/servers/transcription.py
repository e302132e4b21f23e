"""A server with OpenAI's POST /v1/audio/transcriptions on a real socket, with configurable faults."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import soundfile

KEY = "right"
TEXT = " Hello there. "


@dataclass
class TranscriptionServer:
    """The server's behaviour, and the requests that it has received."""

    mode: str = "verbose"
    """verbose: supports verbose_json; json: refuses it; error: 500; silent: never responds; garbage: no JSON; empty:
    JSON without a text; absent: 404.
    """
    requests: list[dict[str, Any]] = field(default_factory=list)
    """The form fields of each request; the file as its rate and length in seconds."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with the first request."""
    left_early: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client disconnects before the response."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            status, answer = await self._answer(lines[0].split()[1], headers, body, reader)
            head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n"
            writer.write(head.encode() + b"Connection: close\r\n\r\n" + answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left_early.set()
        finally:
            writer.close()

    async def _answer(
        self, path: str, headers: dict[str, str], body: bytes, reader: asyncio.StreamReader
    ) -> tuple[int, bytes]:
        if headers.get("authorization") not in (f"Bearer {KEY}", "Bearer none", None):
            return 401, b'{"error": {"message": "wrong key"}}'
        if path == "/v1/models":
            return 200, b'{"data": []}'
        fields = _form(headers["content-type"], body)
        self.requests.append(fields)
        self.asked.set()
        if self.mode == "silent":
            await reader.read()  # until the client disconnects
            raise ConnectionError
        if self.mode in ("error", "absent"):
            return (500 if self.mode == "error" else 404), b'{"error": {"message": "secret details"}}'
        if self.mode == "garbage":
            return 200, b"<html>it works</html>"
        if self.mode == "empty":
            return 200, b"{}"
        if fields["response_format"] == "json":
            return 200, json.dumps({"text": TEXT}).encode()
        if self.mode == "json":
            return 400, b'{"error": {"message": "response_format verbose_json is not compatible with model"}}'
        words = [{"word": "Hello", "start": 0.5, "end": 0.9}, {"word": "there", "start": 0.9, "end": 1.25}]
        answer = {"task": "transcribe", "language": "portuguese", "duration": 2.0, "text": TEXT, "segments": []}
        return 200, json.dumps(
            {**answer, **({"words": words} if "timestamp_granularities[]" in fields else {})}
        ).encode()


def _form(content_type: str, body: bytes) -> dict[str, Any]:
    """The fields of a multipart form; a list for a repeated one."""
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields: dict[str, Any] = {}
    several: dict[str, list[str]] = {}
    for part in message.iter_parts():
        assert isinstance(part, EmailMessage)
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        if name == "file":
            samples, rate_hz = soundfile.read(io.BytesIO(data))
            fields["file"] = (rate_hz, len(samples) / rate_hz)
        else:
            several.setdefault(str(name), []).append(data.decode())
    return fields | {name: values if len(values) > 1 else values[0] for name, values in several.items()}


@asynccontextmanager
async def serve() -> AsyncIterator[TranscriptionServer]:
    """A running server on a free port."""
    behaviour = TranscriptionServer()
    server = await asyncio.start_server(behaviour.handle, "127.0.0.1", 0)
    behaviour.port = server.sockets[0].getsockname()[1]
    async with server:
        yield behaviour

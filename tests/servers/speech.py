"""A small server with OpenAI's POST /v1/audio/speech on a real socket, with configurable faults."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.audio.clip import Clip, encode_wav

KEY = "right"
CHUNKS, CHUNK_S = 5, 0.2


@dataclass
class SpeechServer:
    """The server's behaviour, and the requests that it has received."""

    mode: str = "pcm"
    """pcm: raw samples; wav: supports only WAV; sneaky: sends WAV when asked for raw samples; endless: ends only when
    the client disconnects; silent: never responds; stall: one chunk, then nothing; broken: one chunk, then the
    connection ends; empty; garbage; error.
    """
    wav_rate_hz: int = 24_000
    requests: list[dict[str, Any]] = field(default_factory=list)
    left_early: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client closed the connection during a response."""
    port: int = 0
    key: str = KEY
    listening: asyncio.Server = field(init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            await self._answer(lines[0].split()[1], headers, body, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left_early.set()
        finally:
            writer.close()

    async def _answer(
        self,
        path: str,
        headers: dict[str, str],
        body: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        if headers.get("authorization") not in (f"Bearer {self.key}", "Bearer none", None):
            return self._whole(writer, 401, b'{"error": {"message": "wrong key"}}')
        if path == "/v1/models":
            return self._whole(writer, 200, b'{"data": []}')
        request = json.loads(body)
        self.requests.append(request)
        if self.mode == "error":
            return self._whole(writer, 503, b'{"error": {"message": "the model is loading"}}')
        if self.mode == "wav" and request["response_format"] != "wav":
            return self._whole(writer, 400, b'{"error": {"message": "unsupported response_format"}}')
        if self.mode == "empty":
            return self._whole(writer, 200, b"")
        if self.mode == "garbage":
            return self._whole(writer, 200, b"RIFF<html>this is not sound</html>")
        if self.mode == "silent":
            await reader.read()
            raise ConnectionResetError
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        rate_hz = self.wav_rate_hz if self.mode in ("wav", "sneaky") else 24_000
        chunk = tone(CHUNK_S, rate_hz).pcm16()
        if self.mode in ("wav", "sneaky"):
            header = bytearray(encode_wav(tone(CHUNK_S, rate_hz))[:44])
            header[40:44] = b"\xff\xff\xff\xff"  # as in the header of a streamed WAV
            self._part(writer, bytes(header))
        gone = asyncio.create_task(reader.read())
        for number in range(CHUNKS):
            if self.mode == "endless" and number == CHUNKS - 1:
                await asyncio.wait([gone], timeout=10)
            if number and self.mode == "stall":
                await gone
            if number and self.mode == "broken":
                gone.cancel()
                return
            if gone.done():
                raise ConnectionResetError
            self._part(writer, chunk[: len(chunk) // 2 - 1])  # odd: a sample is cut in half
            await writer.drain()
            self._part(writer, chunk[len(chunk) // 2 - 1 :])
            await writer.drain()
        gone.cancel()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def _part(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _whole(self, writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)


def tone(seconds: float, rate_hz: int) -> Clip:
    return Clip(
        (0.3 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(np.float32), rate_hz
    )


@asynccontextmanager
async def speech_server(mode: str = "pcm", wav_rate_hz: int = 24_000) -> AsyncIterator[SpeechServer]:
    """A server on a free local port."""
    server = SpeechServer(mode, wav_rate_hz)
    async with await asyncio.start_server(server.handle, "127.0.0.1", 0) as listening:
        server.listening = listening
        server.port = listening.sockets[0].getsockname()[1]
        yield server

"""Twilio as a client of the tests: it signs its requests, and plays the sound that it gets in real time."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from pipeline.audio.clip import Samples
from pipeline.audio.g711 import from_mulaw, to_mulaw
from tests.telephone.phone import FRAME, FRAME_S, Phone

TOKEN = "0123456789abcdef0123456789abcdef"
FORM = {"CallSid": "CA1", "From": "+351210000000", "To": "+351220000000", "CallStatus": "ringing"}
SILENCE = to_mulaw(np.zeros(FRAME, np.float32))
START: dict[str, Any] = {
    "event": "start", "sequenceNumber": "1", "streamSid": "MZ1",
    "start": {
        "streamSid": "MZ1", "accountSid": "AC1", "callSid": "CA1", "tracks": ["inbound"], "customParameters": {},
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    },
}  # fmt: skip


def signed(url: str, fields: Mapping[str, str] | None = None, token: str = TOKEN) -> dict[str, str]:
    """Return the header with which Twilio signs a request."""
    text = url
    for name in sorted(fields or {}):
        text += name + (fields or {})[name]
    found = hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()
    return {"X-Twilio-Signature": base64.b64encode(found).decode()}


def ring(url: str, query: str = "", *, token: str = TOKEN, **headers: str) -> httpx.Response:
    """Let a call come in: ask for its TwiML."""
    target = f"{url}/twilio/voice{query}"
    return httpx.post(target, data=FORM, headers={**signed(target, FORM, token), **headers})


class TwilioPhone(Phone):
    """One call over Media Streams."""

    def __init__(self, socket: ClientConnection) -> None:
        super().__init__()
        self.socket = socket
        self.messages: list[dict[str, Any]] = []
        """Messages of the service."""
        self.cleared: list[float] = []
        """Times at which `clear` has arrived."""
        self.closed: tuple[int, str] | None = None
        self._buffer = bytearray()
        self._played = 0
        self._marks: list[tuple[int, str]] = []
        """Marks that are due, by the number of bytes played."""
        self._sequence = 1

    async def tell(self, event: str, **fields: Any) -> None:
        """Send a message."""
        self._sequence += 1
        message = {"event": event, "sequenceNumber": str(self._sequence), "streamSid": "MZ1", **fields}
        try:
            await self.socket.send(json.dumps(message))
        except ConnectionClosed:
            self.over.set()

    async def start(self, **parameters: str) -> None:
        """Begin the stream."""
        await self.socket.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
        await self.socket.send(json.dumps({**START, "start": {**START["start"], "customParameters": parameters}}))

    async def send(self, samples: Samples) -> None:
        payload = base64.b64encode(to_mulaw(samples)).decode()
        media = {"track": "inbound", "chunk": str(self.frames + 1), "timestamp": str(self.frames * 20)}
        await self.tell("media", media={**media, "payload": payload})

    async def tick(self) -> Samples:
        part = bytes(self._buffer[:FRAME])
        del self._buffer[:FRAME]
        self._played += len(part)
        while self._marks and self._marks[0][0] <= self._played:
            await self._report()
        return from_mulaw(part + SILENCE[len(part) :])

    async def press(self, digits: str) -> None:
        for digit in digits:
            await self.tell("dtmf", dtmf={"track": "inbound_track", "digit": digit})

    async def hang_up(self) -> None:
        await self.tell("stop", stop={"accountSid": "AC1", "callSid": "CA1"})

    async def listen(self) -> None:
        """Receive the service's messages until it ends the call."""
        try:
            async for text in self.socket:
                await self._take(json.loads(text))
        except ConnectionClosed:
            pass
        self.closed = (self.socket.close_code or 0, self.socket.close_reason or "")
        self.over.set()

    async def _take(self, message: dict[str, Any]) -> None:
        assert message["streamSid"] == "MZ1"
        self.messages.append(message)
        match message["event"]:
            case "media":
                self._buffer += base64.b64decode(message["media"]["payload"], validate=True)
            case "mark":
                self._marks.append((self._played + len(self._buffer), message["mark"]["name"]))
            case "clear":
                self.cleared.append(asyncio.get_running_loop().time())
                self._buffer.clear()
                while self._marks:
                    await self._report()
            case other:
                raise AssertionError(other)

    async def _report(self) -> None:
        _, name = self._marks.pop(0)
        await self.tell("mark", mark={"name": name})

    @property
    def ahead_s(self) -> float:
        """Seconds of sound that Twilio has and has not played."""
        return len(self._buffer) / FRAME * FRAME_S


@asynccontextmanager
async def connected(url: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[ClientConnection]:
    """Open the WebSocket of a call."""
    target = url.replace("http", "ws", 1) + "/twilio/media"
    async with connect(target, additional_headers=dict(signed(target) if headers is None else headers)) as socket:
        yield socket


@asynccontextmanager
async def calling(url: str, **parameters: str) -> AsyncIterator[TwilioPhone]:
    """Hold a call."""
    async with connected(url) as socket:
        phone = TwilioPhone(socket)
        await phone.start(**parameters)
        tasks = [asyncio.create_task(phone.listen()), asyncio.create_task(phone.run())]
        try:
            yield phone
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

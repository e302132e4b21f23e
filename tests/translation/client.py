"""The `openai` package's own client for translations, connected to our server; every event is checked."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from openai import AsyncOpenAI
from openai.resources.realtime.translations.translations import AsyncTranslationsConnection
from openai.types.realtime import RealtimeTranslationServerEvent

from pipeline.audio.clip import Clip
from server.realtime.parsing import events_of
from tests.realtime.client import EVENT_S

RATE_HZ = 24_000
CHUNK_MS = 200
PATIENT: Any = {"open_timeout": EVENT_S}
"""Options of the connection: the first session imports the types, which takes seconds on a busy machine."""
SERVER_EVENTS = events_of(RealtimeTranslationServerEvent)


class Listener:
    """One session. `events` are all received events, as objects."""

    def __init__(self, connection: AsyncTranslationsConnection) -> None:
        self.connection = connection
        self.events: list[dict[str, Any]] = []

    async def next(self) -> dict[str, Any]:
        """Return the next event, checked against its class: no field missing, no unknown field at the top level."""
        async with asyncio.timeout(EVENT_S):
            raw = await self.connection.recv_bytes()
        event: dict[str, Any] = json.loads(raw)
        parsed = SERVER_EVENTS[event["type"]].model_validate(event)
        assert not parsed.model_extra, (event["type"], parsed.model_extra)
        self.events.append(event)
        return event

    async def until(self, kind: str) -> dict[str, Any]:
        """Return the next event of that type; errors fail."""
        while (event := await self.next())["type"] != kind:
            assert event["type"] != "error", event
        return event

    async def error(self) -> Mapping[str, Any]:
        """Return the next error's object."""
        while (event := await self.next())["type"] != "error":
            pass
        error: dict[str, Any] = event["error"]
        return error

    async def send(self, **event: Any) -> None:
        """Send any client event, valid or not."""
        await self.connection._connection.send(json.dumps(event))

    async def speak(self, clip: Clip, *, silence_s: float = 1.0, pace: float = 0.0) -> None:
        """Send sound and the silence after it. pace: 1 in real time, 0 at once."""
        silence = Clip(np.zeros(int(silence_s * RATE_HZ), np.float32), RATE_HZ)
        data = Clip.join([clip, silence], RATE_HZ).pcm16()
        size = 2 * RATE_HZ * CHUNK_MS // 1000
        for start in range(0, len(data), size):
            audio = base64.b64encode(data[start : start + size]).decode()
            await self.connection.session.input_audio_buffer.append(audio=audio)
            await asyncio.sleep(pace * CHUNK_MS / 1000)

    async def update(self, language: str | None = None, **fields: Any) -> dict[str, Any]:
        """Send session.update; return the updated session."""
        output = {"output": {"language": language}} if language else {}
        await self.send(type="session.update", session={"audio": {**output, **fields}})
        session: dict[str, Any] = (await self.until("session.updated"))["session"]
        return session

    async def close(self) -> None:
        """Ask for the end of the session, and receive all events until it has come."""
        await self.send(type="session.close")
        await self.until("session.closed")

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    def text(self, kind: str = "output") -> str:
        """The transcript so far: of the output or of the input."""
        return "".join(event["delta"] for event in self.of(f"session.{kind}_transcript.delta"))

    @property
    def speech(self) -> Clip:
        """The sound so far."""
        deltas = [base64.b64decode(event["delta"]) for event in self.of("session.output_audio.delta")]
        return Clip.from_pcm16(b"".join(deltas), RATE_HZ)


@asynccontextmanager
async def translating(url: str, *, key: str = "none", model: str = "gpt-realtime-translate") -> AsyncIterator[Listener]:
    """Open a session."""
    async with (
        AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client,
        client.realtime.translations.connect(model=model, websocket_connection_options=PATIENT) as connection,
    ):
        listener = Listener(connection)
        await listener.until("session.created")
        yield listener

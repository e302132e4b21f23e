"""The `openai` package's own Realtime client, connected to our server; every event that it receives is checked."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, get_args

import numpy as np
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel

from pipeline.audio.clip import Clip

EVENT_S = 60.0
"""Generous, because the machine can be busy."""
SERVER_EVENTS: dict[str, type[BaseModel]] = {
    get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(get_args(RealtimeServerEvent)[0])
}
"""`type` in the protocol → class in the installed `openai` package."""


class Talk:
    """One session. `events` are all received events, as objects; `kinds` their types, with repeated deltas merged."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.events: list[dict[str, Any]] = []

    async def next(self) -> dict[str, Any]:
        """Return the next event, checked against its class: no field missing, no unknown field at the top level."""
        async with asyncio.timeout(EVENT_S):
            raw = await self.connection.recv_bytes()
        event: dict[str, Any] = json.loads(raw)
        model = SERVER_EVENTS[event["type"]]
        parsed = model.model_validate(event)
        assert not parsed.model_extra, (event["type"], parsed.model_extra)
        self.events.append(event)
        return event

    async def until(self, kind: str) -> dict[str, Any]:
        """The next event of that type."""
        while True:
            event = await self.next()
            if event["type"] == kind:
                return event
            assert event["type"] != "error", event

    async def error(self) -> dict[str, Any]:
        """The next error's object."""
        while True:
            event = await self.next()
            if event["type"] == "error":
                error: dict[str, Any] = event["error"]
                return error

    @property
    def kinds(self) -> list[str]:
        kinds = [event["type"] for event in self.events]
        return [kind for i, kind in enumerate(kinds) if not (i and kind == kinds[i - 1] and kind.endswith("delta"))]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    async def send(self, **event: Any) -> None:
        """Send any client event, valid or not."""
        await self.connection._connection.send(json.dumps(event))

    async def speak(self, clip: Clip, *, silence_s: float = 1.5) -> None:
        """Send sound and the silence after it in chunks, as a microphone would, but without real-time pace."""
        silence = Clip(np.zeros(int(silence_s * 24_000), np.float32), 24_000)
        await self.send_sound(Clip.join([clip, silence], 24_000).pcm16())

    async def send_sound(self, data: bytes) -> None:
        """Send sound in the session's format."""
        for start in range(0, len(data), 9_600):
            audio = base64.b64encode(data[start : start + 9_600]).decode()
            await self.connection.input_audio_buffer.append(audio=audio)

    async def type(self, text: str) -> None:
        """Send a typed user message."""
        content: Any = [{"type": "input_text", "text": text}]
        await self.connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})

    def heard(self, response_id: str | None = None) -> bytes:
        """The sound received so far."""
        deltas = self.of("response.output_audio.delta")
        return b"".join(
            base64.b64decode(event["delta"]) for event in deltas if response_id in (None, event["response_id"])
        )


@asynccontextmanager
async def talking(url: str, *, key: str = "none", **query: str) -> AsyncIterator[Talk]:
    """A session that has begun."""
    async with (
        AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client,
        client.realtime.connect(model="gpt-realtime", extra_query=query) as connection,
    ):
        talk = Talk(connection)
        await talk.until("session.created")
        yield talk

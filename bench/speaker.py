"""A simulated user of `/ws?stream=1` who speaks in real time, and the times of all events and sounds in reply."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from pipeline.audio.clip import Clip, Samples
from tests.questions import spoken

RATE_HZ = 16_000
CHUNK_MS = 20


def cut(text: str, voice: str = "en-us+f2") -> Samples:
    """Speech by eSpeak, without silence at its ends."""
    samples = spoken(text, voice).samples
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    return samples[loud[0] : loud[-1] + 1]


def question() -> Samples:
    """The question used when its content does not matter."""
    return cut("what does the heron do all day")


@dataclass
class Speaker:
    """One connection: 20 ms of sound (or more) a message."""

    socket: ClientConnection
    chunk_ms: int = CHUNK_MS
    got: list[tuple[float, str | int]] = field(default_factory=list)
    """Arrival time of each event (its type) or sound (its bytes)."""
    timings: list[dict[str, float]] = field(default_factory=list)
    _due: float = 0.0

    async def listen(self) -> None:
        async for message in self.socket:
            now = time.monotonic()
            if isinstance(message, bytes):
                self.got.append((now, len(message)))
            else:
                told = json.loads(message)
                self.got.append((now, told["type"]))
                if "timings_ms" in told:
                    self.timings.append(told["timings_ms"])

    async def send(self, samples: Samples) -> float:
        """Send sound in real time; return the time when the last of it was sent."""
        self._due = max(self._due, time.monotonic() - 0.5)
        step = self.chunk_ms * RATE_HZ // 1000
        pcm = Clip(samples, RATE_HZ).pcm16()
        for start in range(0, len(pcm), 2 * step):
            chunk = pcm[start : start + 2 * step]
            self._due += len(chunk) / 2 / RATE_HZ  # the last message of a call can be shorter
            await asyncio.sleep(self._due - time.monotonic())
            await self.socket.send(chunk)
        return time.monotonic()

    async def quiet(self, seconds: float) -> None:
        await self.send(np.zeros(int(seconds * RATE_HZ), np.float32))

    async def until(self, kind: str, count: int = 1, within_s: float = 20.0) -> float:
        """Send silence until the `count`-th event of that kind (or "sound"); return its arrival time."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found = [at for at, what in self.got if what == kind or (kind == "sound" and isinstance(what, int))]
            if len(found) >= count:
                return found[count - 1]
            await self.quiet(0.1)
        raise TimeoutError(f"no {kind} in {[what for _, what in self.got if isinstance(what, str)]}")


@asynccontextmanager
async def speaker(port: int, chunk_ms: int = CHUNK_MS, **options: Any) -> AsyncIterator[Speaker]:
    query = "&".join(
        f"{name}={value}" for name, value in {"rate": RATE_HZ, "adaptive_endpointing": False, **options}.items()
    )
    async with connect(
        f"ws://127.0.0.1:{port}/ws?stream=1&{query}", compression=None, open_timeout=60, ping_interval=None
    ) as connection:
        person = Speaker(connection, chunk_ms)
        listening = asyncio.create_task(person.listen())
        try:
            yield person
        finally:
            listening.cancel()
            await asyncio.wait([listening])


@dataclass
class Heard:
    """Observations of one session."""

    first_audio_s: list[float] = field(default_factory=list)
    server_s: list[float] = field(default_factory=list)
    """Seconds from the endpoint to the first sound, by the server's own clock."""
    missing: int = 0


async def converse(
    port: int, turns: int, *, chunk_ms: int = CHUNK_MS, wait_s: float = 0.0, asked: Samples | None = None,
    within_s: float = 20.0, **options: Any
) -> Heard:  # fmt: skip
    """Simulate one user with this many questions (`asked`, at 16 kHz), each after the previous reply is complete."""
    heard = Heard()
    asked = question() if asked is None else asked
    await asyncio.sleep(wait_s)
    async with speaker(port, chunk_ms, **options) as person:
        await person.quiet(0.5)
        for turn in range(1, turns + 1):
            # Start at a random offset within the VAD's frame.
            await person.quiet(0.5 + np.random.default_rng().uniform(0, 0.032))
            spoke_until = await person.send(asked)
            try:
                await person.until("turn_completed", turn, within_s)
                heard.first_audio_s.append(
                    next(t for t, w in person.got if isinstance(w, int) and t > spoke_until) - spoke_until
                )
            except (TimeoutError, StopIteration, ConnectionClosed):
                heard.missing += 1
        heard.server_s = [(marks["first_sound"] - marks["endpoint"]) / 1000 for marks in person.timings]
    return heard


def percentile(values: list[float], share: float) -> float:
    return float(np.percentile(values, share)) if values else float("nan")

"""Sharing among any number of processes and machines through Redis (REDIS_URL).

Nothing here is needed to serve: while Redis does not answer, each process counts on its own, and conversations resume
only in the process that has them.
"""

import asyncio
import contextlib
import json
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pipeline.support.background import background
from pipeline.support.redis_client import open_client
from pipeline.workers.sharing import joined
from server.sharing.places import Elsewhere, Places, Table, Taken
from server.sharing.values import GiveUp

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger(__name__)

PREFIX = "parley:"
PLACES = PREFIX + "places"
SECRET = PREFIX + "secret"
TELL_S, LOOK_S = 0.1, 1.0
"""Shortest and longest time between two exchanges of places, in seconds."""
DEAD_S, FORGOTTEN_S = 5.0, 60.0
"""Time without a sign of a process after which it holds no places, and after which its entry is removed, in seconds."""
REST_S = 5.0
"""Time without attempts after a failed one, in seconds."""


class ThroughRedis:
    """See `server.sharing.opening.Shared`. Methods raise the errors of the client."""

    counts = None  # `server.access.rates` counts in Redis itself

    def __init__(self, client: "Redis", away: tuple[type[Exception], ...]) -> None:
        """away: the client's errors when Redis cannot be reached."""
        self.away = away
        self._client = client
        self._machine = f"{socket.gethostname()}:{os.getppid() if joined() else os.getpid()}"
        self._process = f"{self._machine}:{os.getpid()}:{secrets.token_hex(4)}"
        self._secret = secrets.token_hex(32)
        """This process's own until Redis has answered. It is put into a Redis that has none, or has lost it."""
        self._use_secret: Callable[[bytes], None] = lambda _: None
        self._here: Callable[[], Table] | None = None
        self._places = Places({})
        self._changed = asyncio.Event()
        self._beats: dict[str, tuple[int, float]] = {}
        """Last sign of each other process, and when it changed."""

    async def put(self, key: str, value: str, seconds: float) -> None:
        await self._client.set(PREFIX + key, value, px=max(1, int(seconds * 1000)))

    async def replace(self, key: str, value: str, seconds: float) -> bool:
        return bool(await self._client.set(PREFIX + key, value, px=max(1, int(seconds * 1000)), xx=True))

    async def get(self, key: str) -> str | None:
        return _found(await self._client.get(PREFIX + key))

    async def take(self, key: str) -> str | None:
        return _found(await self._client.getdel(PREFIX + key))

    async def remove(self, key: str) -> None:
        await self._client.delete(PREFIX + key)

    def when_taken(self, give_up: GiveUp) -> None:
        """Nothing: a process notices with its next copy that another one has taken the conversation."""

    async def share_secret(self, use: Callable[[bytes], None]) -> None:
        """See Shared. Until Redis answers, it is this process's own."""
        self._use_secret = use
        use(self._secret.encode())
        try:
            await self._agree()
        except Exception as error:
            log.warning("Redis does not answer (REDIS_URL): %s; page tokens are not shared", type(error).__name__)

    async def _agree(self) -> None:
        """Use the secret that is in Redis."""
        found = _found(await self._client.get(SECRET))
        if found is None:
            await self._client.set(SECRET, self._secret, nx=True)
            found = _found(await self._client.get(SECRET))
        if found is not None and found != self._secret:
            self._secret = found
            self._use_secret(found.encode())

    def share_places(self, here: Callable[[], Table], elsewhere: Mapping[str, Elsewhere]) -> None:
        """See Shared. The others know of a change within about a second."""
        self._here, self._places = here, Places(elsewhere)
        for kind in elsewhere.values():
            kind.changed = self._changed.set
        self._changed.set()

    async def run(self) -> None:
        """Exchange places until cancelled."""
        beat = 0
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._changed.wait()
                self._changed.clear()
                beat += 1
                try:
                    if self._here is not None:
                        await self._exchange(beat, self._here())
                    await self._agree()
                except Exception as error:
                    log.warning("Redis does not answer (REDIS_URL): %s", type(error).__name__)
                    for process in list(self._beats):
                        self._places.told(process, {})
                    await asyncio.sleep(REST_S)
                await asyncio.sleep(TELL_S)
        finally:
            with contextlib.suppress(Exception):
                await self._client.hdel(PLACES, self._process)

    async def _exchange(self, beat: int, table: Table) -> None:
        told = {"machine": self._machine, "beat": beat, "table": _written(table)}
        await self._client.hset(PLACES, self._process, json.dumps(told))
        found = await self._client.hgetall(PLACES)
        now = time.monotonic()
        there = {name: json.loads(text) for key, text in found.items() if (name := _text(key)) != self._process}
        for process, entry in there.items():
            known = self._beats.get(process)
            if known is None or known[0] != entry["beat"]:
                self._beats[process] = known = entry["beat"], now
            silent_s = now - known[1]
            alive = silent_s < DEAD_S
            self._places.told(process, _read(entry["table"]) if alive else {}, here=entry["machine"] == self._machine)
            if silent_s > FORGOTTEN_S:
                await self._client.hdel(PLACES, process)
        for process in self._beats.keys() - there.keys():
            del self._beats[process]
            self._places.told(process, {})


def _written(table: Table) -> dict[str, Any]:
    return {
        kind: [taken.total, [[*caller, held] for caller, held in taken.of.items()]] for kind, taken in table.items()
    }


def _read(told: dict[str, Any]) -> Table:
    return {kind: Taken(total, {(one, name): held for one, name, held in of}) for kind, (total, of) in told.items()}


def _text(data: bytes | str) -> str:
    return data.decode() if isinstance(data, bytes) else data


def _found(data: bytes | str | None) -> str | None:
    return None if data is None else _text(data)


@asynccontextmanager
async def open_redis(redis_url: str) -> AsyncIterator[ThroughRedis]:
    """Share through the Redis at this URL while the block runs. Raises ConfigError."""
    async with open_client(redis_url) as client:
        import redis.asyncio as redis

        shared = ThroughRedis(client, (redis.ConnectionError, redis.TimeoutError, TimeoutError, OSError))
        async with background(shared.run()):
            yield shared

"""Results in Redis, before the database is asked. A cache and no more: when it is away, nothing is lost."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from pipeline.errors import ConfigError

log = logging.getLogger(__name__)

DEADLINE_S = 0.5
"""A cache that takes longer is no help."""
KEEP_S = 86_400
MAX_BYTES = 8 << 20
"""Longer transcripts are left to the database."""
PREFIX = "parley:result:"


class Cache(Protocol):
    """Bodies of results by their key."""

    async def get(self, key: str) -> str | None: ...

    async def put(self, key: str, body: str) -> None: ...


class NoCache:
    """Where no Redis is set."""

    async def get(self, key: str) -> str | None:
        return None

    async def put(self, key: str, body: str) -> None:
        pass


class RedisCache:
    """Shared by all services on one Redis; while that is away, nothing is found."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def get(self, key: str) -> str | None:
        try:
            found = await self._client.get(PREFIX + key)
        except Exception as error:
            self._away(error)
            return None
        return None if found is None else str(found, "utf-8")

    async def put(self, key: str, body: str) -> None:
        data = body.encode()
        if len(data) > MAX_BYTES:
            return
        try:
            await self._client.set(PREFIX + key, data, ex=KEEP_S)
        except Exception as error:
            self._away(error)

    def _away(self, error: Exception) -> None:
        log.warning("Redis does not answer (REDIS_URL): %s", type(error).__name__)


@asynccontextmanager
async def open_cache(redis_url: str) -> AsyncIterator[Cache]:
    """The cache at this address; an empty one: none. Raises ConfigError."""
    if not redis_url:
        yield NoCache()
        return
    try:
        import redis.asyncio as redis  # an extra
    except ModuleNotFoundError:
        raise ConfigError("REDIS_URL needs the extra `redis`: make install EXTRAS=redis.") from None
    try:
        client = redis.from_url(
            redis_url, socket_timeout=DEADLINE_S, socket_connect_timeout=DEADLINE_S, max_connections=16
        )
    except ValueError:
        raise ConfigError("REDIS_URL is no address of a Redis (redis://host:6379).") from None
    try:
        yield RedisCache(client)
    finally:
        await client.aclose()

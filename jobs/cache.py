"""Optional cache of results in Redis, in front of the database. Nothing is lost when Redis is unavailable."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from pipeline.support.redis_client import open_client

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger(__name__)

KEEP_S = 86_400
MAX_BYTES = 8 << 20
"""Maximum size of a cached result; larger ones are read from the database."""
PREFIX = "parley:result:"


class Cache(Protocol):
    """Result bodies by their keys."""

    async def get(self, key: str) -> str | None: ...

    async def put(self, key: str, body: str) -> None: ...


class NoCache:
    """The cache without Redis: always empty."""

    async def get(self, key: str) -> str | None:
        return None

    async def put(self, key: str, body: str) -> None:
        pass


class RedisCache:
    """A cache shared by all services on one Redis; it is empty while Redis is unavailable."""

    def __init__(self, client: "Redis") -> None:
        self._client = client

    async def get(self, key: str) -> str | None:
        try:
            found = await self._client.get(PREFIX + key)
        except Exception as error:
            self._away(error)
            return None
        return found.decode() if isinstance(found, bytes) else found

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
    """Open the cache at this URL, or none if the URL is empty. Raises ConfigError."""
    if not redis_url:
        yield NoCache()
        return
    async with open_client(redis_url) as client:
        yield RedisCache(client)

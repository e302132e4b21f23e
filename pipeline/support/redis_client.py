"""The connection to Redis (REDIS_URL), for everything that uses it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError
from pipeline.support.installing import how_to_install

if TYPE_CHECKING:
    from redis.asyncio import Redis

DEADLINE_S = 0.5
"""Timeout for Redis, in seconds: what it is used for works without it, and must not wait for it."""
CONNECTIONS = 16
"""Maximum number of connections of one user of Redis."""


@asynccontextmanager
async def open_client(redis_url: str) -> AsyncIterator["Redis"]:
    """Open a client for the block; it connects with its first command. Raises ConfigError."""
    try:
        import redis.asyncio as redis  # an extra
    except ModuleNotFoundError:
        raise ConfigError(f"REDIS_URL needs the extra `redis`: {how_to_install('redis')}.") from None
    try:
        # Further commands wait for a connection, in the same time that a command has.
        pool = redis.BlockingConnectionPool.from_url(
            redis_url,
            max_connections=CONNECTIONS,
            timeout=DEADLINE_S,
            socket_timeout=DEADLINE_S,
            socket_connect_timeout=DEADLINE_S,
        )
        client = redis.Redis.from_pool(pool)  # closes the pool, too
    except ValueError:
        raise ConfigError("REDIS_URL is not a Redis URL (redis://host:6379).") from None
    try:
        yield client
    finally:
        await client.aclose()

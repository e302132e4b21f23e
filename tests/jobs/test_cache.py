"""Results in a real Redis that can go away at any time."""

import asyncio
from pathlib import Path

import pytest

from jobs.cache import MAX_BYTES, open_cache
from jobs.store import JobStore
from pipeline.errors import ConfigError
from tests.jobs.conftest import submission
from tests.servers.redis_server import needs_redis, redis
from tests.servers.running import closed_port

ANSWERS_S = 30.0
"""Far more than the timeout for Redis, but finite."""

pytest.importorskip("redis")
pytestmark = needs_redis


@pytest.fixture
def port() -> int:
    return closed_port()


async def test_results_come_from_redis_until_it_goes_away(store: JobStore, tmp_path: Path, port: int) -> None:
    async with open_cache(f"redis://127.0.0.1:{port}") as cache:
        cached = JobStore(store.database, max_waiting=10, cache=cache)
        await store.submit([submission()], cached=[None])
        job = await store.claim()
        assert job is not None
        await store.complete(job, "k" * 64, '{"text": "olá"}', 1.0)
        with redis(tmp_path, port) as process:
            assert await cache.get("k" * 64) is None
            assert await cached.result("k" * 64) == '{"text": "olá"}'
            assert await cache.get("k" * 64) == '{"text": "olá"}'
            await cache.put("large", "x" * (MAX_BYTES + 1))
            assert await cache.get("large") is None
            process.send_signal(19)  # SIGSTOP: Redis is there but does not reply
            async with asyncio.timeout(ANSWERS_S):
                assert await cached.result("k" * 64) == '{"text": "olá"}'
        async with asyncio.timeout(ANSWERS_S):
            assert await cached.result("k" * 64) == '{"text": "olá"}'
            assert await cached.result("none") is None


async def test_an_invalid_redis_url_ends_the_start() -> None:
    with pytest.raises(ConfigError):
        async with open_cache("http://redis"):
            pass

"""Rate limits per caller, counted in this process, or in Redis for all processes that share it."""

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Callable
from functools import partial

from limits import RateLimitItem, parse_many
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from pipeline.errors import ConfigError, Overloaded
from pipeline.settings import Settings
from server.access.callers import Caller
from server.access.pace import PACE_WAIT_S, RequestPace
from server.sharing.opening import Counts, Shared

log = logging.getLogger(__name__)

REJECTED_SHARE = 4
"""Divisor of RATE_LIMIT for requests of an address without a valid key."""
OPEN_LIMIT = "6000/minute"
"""Limit of an address for requests that need no key (the page, its files, the API's documentation), and the same again
for health checks: far above what a page or a load balancer sends."""
MAX_DELAYED = 1024
"""Maximum number of refusals that wait, of all callers: each keeps a connection and a task."""
REDIS_S = 0.5
"""Timeout for Redis in seconds: a count must not delay a request."""
REDIS_REST_S = 10.0
"""Seconds without calls of Redis after it failed; meanwhile this process counts on its own."""


class TooOften(Overloaded):
    """This caller sends requests too often."""

    code = "rate_limited"
    openai_code = "rate_limit_exceeded"


class Rates:
    """RATE_LIMIT for admitted callers, a quarter of it for rejected ones, OPEN_LIMIT for public paths."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises ConfigError for an invalid limit or Redis URL."""
        self._of_caller = _parsed(settings.rate_limit)
        self._of_rejected = [
            type(limit)(max(1, limit.amount // REJECTED_SHARE), limit.multiples) for limit in self._of_caller
        ]
        self._of_open = parse_many(OPEN_LIMIT)
        # Twice the mean rate: a caller that sends steadily does not wait.
        means = [limit.amount / limit.get_expiry() for limit in self._of_caller]
        self._pace = RequestPace(2 * min(means, default=0.0), clock)
        self._here = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._redis: SlidingWindowCounterRateLimiter | None = None
        self._shared: Counts | None = None
        self._clock = clock
        self._delayed = 0
        """Number of refusals that wait."""
        self._rests_until = -math.inf
        if settings.redis_url and self._of_caller:
            self._redis = SlidingWindowCounterRateLimiter(_redis(settings.redis_url))
            self._shared = partial(hit, self._redis)

    def share(self, shared: Shared) -> None:
        """Count in the service's main process, from now on, unless Redis counts."""
        if self._shared is None:
            self._shared = shared.counts

    async def count(self, caller: Caller, *, refused: bool = False) -> None:
        """Count one request of this caller, by key, or by address without a key. refused: whether the request lacks a
        valid key. A request beyond the pace of `RequestPace` waits for its turn, or, if too many wait, for its
        refusal: retries of refusals at once would else fill the event loop. Raises TooOften, with the time to wait.
        Callers on this machine without a key are not counted."""
        limits = self._of_rejected if refused else self._of_caller
        name = (caller.kind, caller.name) if caller.known else ("address", caller.address)
        if name[1] and limits:
            wait_s = self._pace.wait_s(name)
            if wait_s > PACE_WAIT_S:
                await self.delay_refusal()
                raise TooOften(
                    f"More than {self._pace.per_s:g} requests per second; retry in {math.ceil(wait_s)} s.",
                    retry_after_s=math.ceil(wait_s),
                )
            if wait_s:
                await asyncio.sleep(wait_s)
            for limit in limits:
                _check(limit, await self._hit(limit, name))

    async def delay_refusal(self) -> None:
        """Wait one to two times PACE_WAIT_S, unless many refusals wait already. The time is random: refusals of
        requests that came together would come together, too, and so would the next requests."""
        if self._delayed < MAX_DELAYED:
            self._delayed += 1
            try:
                await asyncio.sleep(PACE_WAIT_S * random.uniform(1, 2))  # noqa: S311  # not a secret
            finally:
                self._delayed -= 1

    async def count_open(self, caller: Caller, *, health: bool) -> None:
        """Count one request for a public path, by address. health: whether it is a health check. Health checks are
        counted separately, so that visitors who share an address with a load balancer do not make the service look dead
        to it. All are counted in this process, so that a health check does not depend on Redis. Raises TooOften."""
        if caller.address:
            for limit in self._of_open:
                _check(limit, await hit(self._here, limit, ("health" if health else "open", caller.address)))

    async def _hit(self, limit: RateLimitItem, name: tuple[str, str]) -> float | None:
        """Return None if the request may pass, or the seconds until the next one may."""
        if self._shared is not None and self._clock() >= self._rests_until:
            try:
                async with asyncio.timeout(REDIS_S):
                    return await self._shared(limit, name)
            except Exception as error:  # Redis failures have many types
                log.warning(
                    "requests cannot be counted in one place (%s): this process counts on its own", type(error).__name__
                )
                self._rests_until = self._clock() + REDIS_REST_S
        return await hit(self._here, limit, name)

    async def close(self) -> None:
        """Close the connection to Redis and stop the counter in this process."""
        timer = getattr(self._here.storage, "timer", None)
        if timer is not None:
            timer.cancel()
            await asyncio.wait([timer])
        if self._redis is not None:
            with contextlib.suppress(Exception):
                await self._redis.storage.bridge.storage.aclose()  # type: ignore[attr-defined]  # the only way


def _check(limit: RateLimitItem, wait_s: float | None) -> None:
    if wait_s is not None:
        raise TooOften(
            f"More than {limit.amount} requests in {limit.get_expiry()} s; retry in {math.ceil(wait_s)} s.",
            retry_after_s=math.ceil(wait_s),
        )


async def hit(limiter: SlidingWindowCounterRateLimiter, limit: RateLimitItem, name: tuple[str, str]) -> float | None:
    """Count a request of a caller. Return None if it may pass, or the seconds until the next one may."""
    if await limiter.hit(limit, *name):
        return None
    reset_at, _ = await limiter.get_window_stats(limit, *name)
    return min(max(reset_at - time.time(), 1.0), float(limit.get_expiry()))


def _parsed(text: str) -> list[RateLimitItem]:
    try:
        return parse_many(text) if text.strip().lower() not in ("", "none") else []
    except ValueError:
        raise ConfigError("RATE_LIMIT must be like 1200/minute (separate several by ;), or 'none'.") from None


def _redis(url: str) -> Storage:
    """Raises ConfigError."""
    try:
        return RedisStorage(f"async+{url}", implementation="redispy", key_prefix="parley:rate")
    except Exception as error:
        raise ConfigError(f"REDIS_URL cannot be used to count requests: {type(error).__name__}.") from None

"""Sharing as the settings ask for it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from limits import RateLimitItem

from pipeline.settings import Settings
from pipeline.workers.sharing import joined
from server.sharing.places import Elsewhere, Table
from server.sharing.values import GiveUp, Values

Counts = Callable[[RateLimitItem, tuple[str, str]], Awaitable[float | None]]
"""Counts a request of a caller. Returns None if it may pass, or the seconds until the next one may."""


class Shared(Values, Protocol):
    """State that the processes of a service share."""

    def when_taken(self, give_up: GiveUp) -> None:
        """Call a function before another process gets a value that this one has set, where that is possible."""
        ...

    def share_places(self, here: Callable[[], Table], elsewhere: Mapping[str, Elsewhere]) -> None:
        """Tell the others the slots of this process, and keep `elsewhere` up to date."""
        ...

    @property
    def counts(self) -> Counts | None:
        """A function that counts requests in one place; None: `server.access.rates` finds that place itself."""
        ...

    async def share_secret(self, use: Callable[[bytes], None]) -> None:
        """Call a function with a secret that all processes have; later again whenever it has changed."""
        ...


@asynccontextmanager
async def open_shared(settings: Settings) -> AsyncIterator[Shared | None]:
    """Yield the state that this process shares with others of its service: through Redis with REDIS_URL, else through
    its main process; None if it is alone. Raises ConfigError."""
    if settings.redis_url:
        from server.sharing.redis import open_redis

        async with open_redis(settings.redis_url) as redis:
            yield redis
    elif (link := joined()) is not None:
        from server.sharing.main_process import ThroughMainProcess

        yield ThroughMainProcess(link)
    else:
        yield None

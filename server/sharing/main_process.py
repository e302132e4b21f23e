"""Sharing among the fronts of one machine: their main process keeps the values, and counts the requests."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from limits import RateLimitItem

from pipeline.workers.sharing.link import Link, LinkLost
from server.sharing.opening import Counts
from server.sharing.places import Elsewhere, Places, Table
from server.sharing.values import GiveUp


@dataclass(frozen=True, slots=True)
class Put:
    """Request: set a value."""

    key: str
    value: str
    seconds: float
    only_if_there: bool = False


@dataclass(frozen=True, slots=True)
class Get:
    """Request: return a value."""

    key: str


@dataclass(frozen=True, slots=True)
class Take:
    """Request: remove and return a value. Sent to the front that has set it, too, which may have a newer one."""

    key: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Request: remove a value that this front has set."""

    key: str


@dataclass(frozen=True, slots=True)
class Hit:
    """Request: count a request of a caller. The result is None, or the seconds until the next one may come."""

    limit: RateLimitItem
    caller: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Secret:
    """Request: return the secret of all fronts."""


@dataclass(frozen=True, slots=True)
class PlacesOf:
    """The slots of a front."""

    front: str
    """Its name; set by the main process."""
    table: Table


class ThroughMainProcess:
    """See `server.sharing.opening.Shared`. All methods raise LinkLost when the main process is gone."""

    away = (LinkLost, TimeoutError)

    def __init__(self, link: Link) -> None:
        self._link = link
        self._telling = False

    def share_places(self, here: Callable[[], Table], elsewhere: Mapping[str, Elsewhere]) -> None:
        """See Shared. The others know of a change within a millisecond."""
        places = Places(elsewhere)

        def tell() -> None:
            self._telling = False
            self._link.post(PlacesOf("", here()))

        def tell_soon() -> None:  # once for all changes of one moment
            if not self._telling:
                self._telling = True
                asyncio.get_running_loop().call_soon(tell)

        self._link.on(PlacesOf, lambda told: places.told(told.front, told.table))
        for kind in elsewhere.values():
            kind.changed = tell_soon
        tell()

    def when_taken(self, give_up: GiveUp) -> None:
        """Call a function before another front gets a value that this one has set."""
        self._link.answer(Take, lambda take: give_up(take.key))

    async def put(self, key: str, value: str, seconds: float) -> None:
        await self._link.ask(Put(key, value, seconds))

    async def replace(self, key: str, value: str, seconds: float) -> bool:
        replaced: bool = await self._link.ask(Put(key, value, seconds, only_if_there=True))
        return replaced

    async def get(self, key: str) -> str | None:
        found: str | None = await self._link.ask(Get(key))
        return found

    async def take(self, key: str) -> str | None:
        found: str | None = await self._link.ask(Take(key))
        return found

    async def remove(self, key: str) -> None:
        await self._link.ask(Remove(key))

    async def share_secret(self, use: Callable[[bytes], None]) -> None:
        """See Shared. It does not change."""
        use(await self._link.ask(Secret()))

    @property
    def counts(self) -> Counts:
        return self._count

    async def _count(self, limit: RateLimitItem, caller: tuple[str, str]) -> float | None:
        wait_s: float | None = await self._link.ask(Hit(limit, caller))
        return wait_s

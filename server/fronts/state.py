"""The state that the fronts share, in the main process: values, places, and counts of requests.

In memory and not in a file: the main process is there for the models anyway, notices at once when a front dies, and
needs no disk for each request. The database has the state that must survive the service: jobs and results.
"""

import asyncio
import logging
import secrets

from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from pipeline.workers.sharing.link import Link
from server.access.client_secrets import MOST, SHARED_PREFIX
from server.access.rates import hit
from server.sharing.main_process import Get, Hit, PlacesOf, Put, Remove, Secret, Take
from server.sharing.values import ValuesHere

log = logging.getLogger(__name__)

GIVE_UP_S = 1.0
"""Timeout for a front that has set a value which another one takes, in seconds."""


SWEEP_S = 10.0
"""Time between two removals of expired values, in seconds: they contain what users have said."""


class SharedState:
    """The state that the fronts share."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        # Apart, so that neither takes the other's room.
        self._conversations = ValuesHere(20_000, 1 << 28)
        self._secrets = ValuesHere(MOST, 1 << 26)
        self._counts = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._links: dict[Link, str] = {}
        self._places: dict[Link, PlacesOf] = {}

    def join(self, link: Link, name: str) -> None:
        """Share with the front at the other end of this link. name: its name."""
        self._links[link] = name

        async def put(request: Put) -> bool:
            values = self._values(request.key)
            if request.only_if_there and values.owner(request.key) is not link:
                return False
            values.put(request.key, request.value, request.seconds, owner=link)
            return True

        async def get(request: Get) -> str | None:
            return self._values(request.key).get(request.key)

        async def remove(request: Remove) -> None:
            if (values := self._values(request.key)).owner(request.key) is link:
                values.take(request.key)

        async def count(request: Hit) -> float | None:
            return await hit(self._counts, request.limit, request.caller)

        link.answer(Put, put)
        link.answer(Get, get)
        link.answer(Remove, remove)
        link.answer(Take, lambda request: self._take(request, link))

        async def secret(_: Secret) -> bytes:
            return self._secret

        link.answer(Hit, count)
        link.answer(Secret, secret)
        link.on(PlacesOf, lambda places: self._note(link, PlacesOf(name, places.table)))

    def left(self, link: Link) -> None:
        """Free the places of a front that is gone. Its values stay until they expire."""
        name = self._links.pop(link)
        if self._places.pop(link, None) is not None:
            self._tell(link, PlacesOf(name, {}))

    def relay(self, link: Link, message: object) -> None:
        """Pass a front's message on to all others."""
        self._tell(link, message)

    async def sweep(self) -> None:
        """Remove expired values, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self._conversations.sweep()
            self._secrets.sweep()

    def _values(self, key: str) -> ValuesHere:
        return self._secrets if key.startswith(SHARED_PREFIX) else self._conversations

    async def _take(self, request: Take, link: Link) -> str | None:
        values = self._values(request.key)
        owner = values.owner(request.key)
        stored = values.take(request.key)  # at once: of several fronts that want it, one gets it
        newer: str | None = None
        if stored is not None and isinstance(owner, Link) and owner is not link and owner in self._links:
            try:
                async with asyncio.timeout(GIVE_UP_S):
                    newer = await owner.ask(request)
            except Exception as error:  # it hangs, has died or fails; the value is what it has told last
                log.warning("a process did not give up a conversation: %s", type(error).__name__)
        return stored if newer is None else newer

    def _note(self, link: Link, places: PlacesOf) -> None:
        if link not in self._places:  # it has started now
            for known in self._places.values():
                link.post(known)
        self._places[link] = places
        self._tell(link, places)

    def _tell(self, link: Link, message: object) -> None:
        for other in self._links:
            if other is not link:
                other.post(message)

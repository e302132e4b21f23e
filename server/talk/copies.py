"""Copies of live conversations that another process of the service can resume, after this one has died, too.

A copy is written a moment after each change of the history, and once a second while a reply is spoken, with the part
that was heard.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pipeline.conversation.history import Conversation
from pipeline.conversation.saved import restored
from pipeline.settings import Settings
from pipeline.support.background import background
from pipeline.support.json_types import JsonObject
from server.sharing.opening import Shared
from server.sharing.values import Values

log = logging.getLogger(__name__)

Owner = tuple[str, str]

PACE_S = 0.2
"""Shortest time between two rounds of writing, in seconds."""
SPOKEN_S = 1.0
"""Time after which the heard part of a running reply is written again, in seconds."""
RENEW_S = 30.0
"""Time after which a copy is written again without a change, in seconds, so that it does not expire."""
REST_S = 5.0
"""Time without attempts after a failed one, in seconds."""
DEADLINE_S = 2.0
"""Timeout for one write, in seconds."""
TAKEN = ":taken"
"""Ending of the key under which the process that takes a copy leaves its name for the one that writes it."""


@dataclass(eq=False, slots=True)
class Copy:
    """The copy of one connection's conversation."""

    key: str
    snapshot: Callable[[], JsonObject | None]
    """Returns the conversation; None if there is nothing to resume yet."""
    leave: Callable[[], object]
    """Ends the connection, because the conversation continues on another one."""
    changed: bool = True
    closed_at: float | None = None
    """Time at which the connection has ended."""
    written: bool = False
    written_at: float = 0.0

    def text(self) -> str | None:
        """Return the conversation as JSON."""
        snapshot = self.snapshot()
        return None if snapshot is None else json.dumps(snapshot, separators=(",", ":"))


class Copies:
    """The copies of this process's conversations. `run` writes them."""

    def __init__(self, values: Values, seconds: float, *, most: int, budget_tokens: int) -> None:
        """seconds: time that a conversation can be resumed after its connection was lost. most: maximum number of such
        conversations that are kept here, too."""
        self._most = most
        self._values = values
        self._seconds = seconds
        self._budget_tokens = budget_tokens
        self._name = secrets.token_hex(8)
        self._copies: dict[str, Copy] = {}
        self._ended: OrderedDict[str, tuple[float, str]] = OrderedDict()
        """Copies of connections that have ended, with their expiry: the others may be gone or have lost them."""
        self._unwanted: list[str] = []
        """Keys of copies that must no longer be resumed."""
        self._taken: set[str] = set()
        """Keys of conversations that this process has taken, or is taking, until `open` follows."""
        self._wake = asyncio.Event()

    def open(
        self, token: str, owner: Owner, snapshot: Callable[[], JsonObject | None], leave: Callable[[], object]
    ) -> None:
        """Write copies of an open connection's conversation from now on."""
        key = _key(token, owner)
        self._taken.discard(key)
        self._copies[key] = Copy(key, snapshot, leave)
        self._wake.set()

    def changed(self, token: str, owner: Owner) -> None:
        """Write the copy soon: the history has changed."""
        if (copy := self._copies.get(_key(token, owner))) is not None:
            copy.changed = True
            self._wake.set()

    def spoken(self, token: str, owner: Owner) -> None:
        """Write the copy within SPOKEN_S: more of the reply was heard."""
        copy = self._copies.get(_key(token, owner))
        if copy is not None and time.monotonic() - copy.written_at >= SPOKEN_S:
            copy.changed = True
            self._wake.set()

    def close(self, token: str, owner: Owner) -> None:
        """Write the last copy of a connection that has ended."""
        if (copy := self._copies.get(_key(token, owner))) is not None:
            copy.changed, copy.closed_at = True, time.monotonic()
            self._wake.set()

    def forget(self, token: str, owner: Owner) -> None:
        """Remove a copy, because the client has a newer token or has resumed the conversation."""
        key = _key(token, owner)
        self._ended.pop(key, None)
        if self._copies.pop(key, None) is not None:
            self._unwanted.append(key)
            self._wake.set()

    async def take(self, token: str, owner: Owner) -> Conversation | None:
        """Return a conversation whose connection has ended or is another process's, for `open`, which must follow; None
        without one. Of several callers, one gets it, or keeps it: the others' connections end."""
        key = _key(token, owner)
        if key in self._taken:
            return None
        self._taken.add(key)
        found: Conversation | None = None
        try:
            found = await self._find(key)
        finally:
            if found is None:
                self._taken.discard(key)
        return found

    async def _find(self, key: str) -> Conversation | None:
        if (own := self._copies.pop(key, None)) is not None:
            self._unwanted.append(key)
            snapshot = own.snapshot()
            return None if snapshot is None else restored(snapshot, budget_tokens=self._budget_tokens)
        until, kept = self._ended.pop(key, (0.0, None))
        if until <= time.monotonic():
            kept = None
        text: str | None = None
        try:
            async with asyncio.timeout(DEADLINE_S):
                text = await self._claimed(key, kept)
        except Exception as error:  # of Redis, which have many types
            log.warning("a conversation cannot be looked up in other processes: %s", type(error).__name__)
            text = kept
        try:
            return None if text is None else restored(json.loads(text), budget_tokens=self._budget_tokens)
        except Exception as error:  # of foreign data
            log.warning("a conversation cannot be resumed: %s", type(error).__name__)
            return None

    async def _claimed(self, key: str, kept: str | None) -> str | None:
        """Take a copy from another process, and put it back as this one's, so that it survives this one, too. kept: the
        result if there is none, and no other process has taken it."""
        if await self._values.get(key) is None:
            return None if await self._was_taken(key) else kept
        seconds = self._seconds + RENEW_S
        await self._values.put(key + TAKEN, self._name, seconds)  # before `take`: its process must not write it again
        text = await self._values.take(key)
        if text is not None:
            await self._values.put(key + TAKEN, self._name, seconds)  # another one may have written its name meanwhile
            await self._values.put(key, text, seconds)
        elif await self._values.get(key + TAKEN) == self._name:
            await self._values.remove(key + TAKEN)
        return text

    async def give_up(self, key: str) -> str | None:
        """End the connection of a conversation that another process resumes, and return the conversation."""
        self._ended.pop(key, None)
        copy = self._copies.pop(key, None)
        if copy is None:
            return None
        self._leave(copy)
        return copy.text()

    async def run(self) -> None:
        """Write the copies that have changed, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PACE_S if self._due() else RENEW_S / 3):
                    await self._wake.wait()
            await asyncio.sleep(PACE_S if await self.write() else REST_S)

    async def write(self) -> bool:
        """Write the copies that have changed, or that would expire; return whether that was possible."""
        self._wake.clear()
        self._drop_old()
        unwanted, self._unwanted = self._unwanted, []
        try:
            for key in unwanted:
                async with asyncio.timeout(DEADLINE_S):
                    await self._values.remove(key)
            for copy in list(self._copies.values()):
                if copy.changed or time.monotonic() - copy.written_at >= RENEW_S:
                    await self._write_or_log(copy)
        except Exception as error:
            log.warning("conversations cannot be copied for other processes: %s", type(error).__name__)
            self._unwanted += unwanted
            for copy in self._copies.values():  # they may be lost when they can be written again
                copy.changed, copy.written = True, False
            return False
        return True

    def _drop_old(self) -> None:
        """Drop the copies that have expired, or are too many, of connections that have ended."""
        now = time.monotonic()
        while self._ended and (len(self._ended) > self._most or next(iter(self._ended.values()))[0] <= now):
            self._ended.popitem(last=False)
        # Those that could not be written so far.
        closed = sorted((one.closed_at, one.key) for one in self._copies.values() if one.closed_at is not None)
        for number, (closed_at, key) in enumerate(closed):
            if closed_at < now - self._seconds or number < len(closed) - self._most:
                del self._copies[key]

    def _due(self) -> bool:
        return any(copy.changed for copy in self._copies.values())

    async def _write_or_log(self, copy: Copy) -> None:
        """Write a copy. If only this one cannot be written, log it and leave it until its next change."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self._write(copy)
        except self._values.away:
            raise
        except Exception as error:
            log.warning("a conversation cannot be copied for other processes: %s", type(error).__name__)
            copy.changed, copy.written_at = False, time.monotonic()

    async def _write(self, copy: Copy) -> None:
        if await self._was_taken(copy.key):
            self._leave(copy)
            return
        copy.changed, copy.written_at = False, time.monotonic()
        text = copy.text()
        seconds = self._seconds + (RENEW_S if copy.closed_at is None else 0.0)
        if text is not None and not (copy.written and await self._values.replace(copy.key, text, seconds)):
            await self._values.put(copy.key, text, seconds)
            copy.written = True
            if await self._was_taken(copy.key):  # between the two
                self._unwanted.append(copy.key)
                self._leave(copy)
                return
        if copy.closed_at is not None and not copy.changed:
            self._copies.pop(copy.key, None)
            if text is not None:
                self._ended[copy.key] = copy.closed_at + self._seconds, text

    async def _was_taken(self, key: str) -> bool:
        """Whether another process has taken the conversation."""
        return await self._values.get(key + TAKEN) not in (None, self._name)

    def _leave(self, copy: Copy) -> None:
        """End the connection of a copy that was taken; its other token must not be used."""
        self._copies.pop(copy.key, None)
        for other in list(self._copies.values()):
            if other.leave == copy.leave:
                del self._copies[other.key]
                self._unwanted.append(other.key)
        self._wake.set()
        if copy.closed_at is None:
            copy.leave()


@asynccontextmanager
async def open_copies(settings: Settings, shared: Shared | None, seconds: float) -> AsyncIterator[Copies | None]:
    """Write copies while the block runs; None if there are no other processes. seconds: see Copies."""
    if shared is None:
        yield None
        return
    copies = Copies(shared, seconds, most=4 * settings.max_sessions, budget_tokens=settings.history_tokens)
    shared.when_taken(copies.give_up)
    async with background(copies.run()):
        yield copies
        await copies.write()  # the last ones


def _key(token: str, owner: Owner) -> str:
    """Return the key of a copy: another caller's token does not find it, and the token is not stored."""
    return "resume:" + hashlib.sha256("\0".join((token, *owner)).encode()).hexdigest()

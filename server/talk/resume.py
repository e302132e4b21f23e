"""Conversations of dropped connections, kept for a while so that their caller can resume them with a token, also in
another process of the service."""

import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.requests import HTTPConnection

from pipeline.conversation.history import Conversation
from pipeline.conversation.saved import saved
from pipeline.support.json_types import JsonObject
from server.access import caller_of
from server.state import state_of
from server.talk.copies import Copies, Owner

RESUME_S = 120.0
"""How long a client can return to a conversation after its connection dropped, in seconds."""


class Resumable:
    """Conversations to resume: at most `most`, each kept for `seconds`; the oldest are dropped first. A token is
    unguessable and works once."""

    def __init__(
        self,
        seconds: float,
        most: int,
        clock: Callable[[], float] = time.monotonic,
        copies: Copies | None = None,
    ) -> None:
        """copies: those for other processes; None: this one is alone."""
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._copies = copies
        self._kept: OrderedDict[str, tuple[float, Owner, Conversation]] = OrderedDict()
        self._open: dict[str, tuple[Owner, Callable[[], Conversation]]] = {}

    @staticmethod
    def token() -> str:
        """Return a new token, for a conversation that begins or is resumed."""
        return secrets.token_urlsafe(24)

    def open(self, token: str, owner: Owner, give_up: Callable[[], Conversation]) -> None:
        """Register an open connection with the owner of its conversation. give_up: ends the connection and returns its
        conversation; needed when a client changes its network and reconnects before the old connection times out.
        """
        self._open[token] = (owner, give_up)

    def copy(self, token: str, snapshot: Callable[[], JsonObject | None]) -> None:
        """Copy the conversation of an open connection for other processes. snapshot: returns it, see `saved`."""
        if self._copies is not None:
            owner, give_up = self._open[token]
            self._copies.open(token, owner, snapshot, give_up)

    def changed(self, token: str) -> None:
        """Update the copy of a conversation whose history has changed."""
        if self._copies is not None and token in self._open:
            self._copies.changed(token, self._open[token][0])

    def spoken(self, token: str) -> None:
        """Update the copy of a conversation, of whose running reply more was heard."""
        if self._copies is not None and token in self._open:
            self._copies.spoken(token, self._open[token][0])

    def forget(self, token: str) -> None:
        """Forget a token, because the client has a newer one."""
        owner, _ = self._open.pop(token, (None, None))
        if self._copies is not None and owner is not None:
            self._copies.forget(token, owner)

    def keep(self, token: str, give_up: Callable[[], Conversation], conversation: Conversation) -> None:
        """Keep the conversation of a closed connection for resuming. give_up: the function given to `open`.

        Keep nothing if the connection was given up: its token can already belong to the connection that resumed the
        conversation.
        """
        self._forget()
        owner, opened_with = self._open.get(token, (None, None))
        if owner is None or opened_with != give_up:
            return
        del self._open[token]
        if self._copies is not None:
            self._copies.close(token, owner)
        else:
            self._keep(token, owner, conversation)

    def _keep(self, token: str, owner: Owner, conversation: Conversation) -> None:
        if self._seconds > 0 and conversation.messages:
            self._kept[token] = (self._clock() + self._seconds, owner, conversation)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    async def find_elsewhere(self, token: str, owner: Owner) -> Conversation | None:
        """Remove and return the conversation of a token that is not of an open connection here, if other processes can
        have it."""
        if self._copies is None or token in self._open:
            return None
        return await self._copies.take(token, owner)

    def give_back(self, token: str, owner: Owner, conversation: Conversation) -> None:
        """Let the client resume a conversation of `find_elsewhere` or `take` again, because it was not resumed."""
        if self._copies is not None:
            self._copies.open(token, owner, lambda: saved(conversation), lambda: None)
            self._copies.close(token, owner)
        else:
            self._forget()
            self._keep(token, owner, conversation)

    def take(self, token: str, owner: Owner) -> Conversation | None:
        """Remove and return the conversation of this token. Return None if there is none, or if it has another owner,
        who can still resume it."""
        self._forget()
        if token in self._open and self._open[token][0] == owner:
            if self._copies is not None:
                self._copies.forget(token, owner)
            return self._open.pop(token)[1]()
        if token in self._kept and self._kept[token][1] == owner:
            return self._kept.pop(token)[2]
        return None

    def _forget(self) -> None:
        now = self._clock()
        while self._kept and next(iter(self._kept.values()))[0] <= now:
            self._kept.popitem(last=False)


class Resuming:
    """A connection that asks for the conversation of a token, until `resumed`. See `resuming`."""

    def __init__(self, store: Resumable, token: str | None, owner: Owner) -> None:
        self._store, self._token, self._owner = store, token, owner
        self._found: Conversation | None = None

    async def look_elsewhere(self) -> None:
        """Look in the other processes of the service."""
        if self._token:
            self._found = await self._store.find_elsewhere(self._token, self._owner)

    def take(self) -> Conversation | None:
        """Remove and return the conversation; None without one. An open connection that has it ends."""
        if self._found is None and self._token:
            self._found = self._store.take(self._token, self._owner)
        return self._found

    def resumed(self) -> None:
        """Note that the connection now keeps the conversation at its end."""
        self._found = None

    def give_back(self) -> None:
        """Let the client resume the conversation with the same token later, unless it is resumed."""
        if self._token and self._found is not None:
            self._store.give_back(self._token, self._owner, self._found)


@asynccontextmanager
async def resuming(connection: HTTPConnection) -> AsyncIterator[Resuming]:
    """Find the conversation that a connection's query resumes. The block opens the connection; if it fails, the
    conversation can be resumed by the next one."""
    caller = caller_of(connection)
    token, store = connection.query_params.get("resume"), state_of(connection).resumable
    one = Resuming(store, token, (caller.kind, caller.name))
    try:
        await one.look_elsewhere()
        yield one
    except BaseException:
        one.give_back()
        raise

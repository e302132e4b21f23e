"""Conversations of dropped connections, kept for a while for the caller who comes back with their token."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from pipeline.conversation import Conversation

Owner = tuple[str, str]
"""Whose conversation it is: the caller's kind and name. To all others its token is as good as none."""


class Resumable:
    """At most `most` conversations, each for `seconds`; the oldest make room. Tokens are unguessable, each for once."""

    def __init__(self, seconds: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Owner, Conversation]] = OrderedDict()
        self._open: dict[str, tuple[Owner, Callable[[], Conversation]]] = {}

    @staticmethod
    def token() -> str:
        """A new one, for a conversation that begins or goes on."""
        return secrets.token_urlsafe(24)

    def open(self, token: str, owner: Owner, give_up: Callable[[], Conversation]) -> None:
        """A connection that lives, and who may go on with it. give_up: ends it and gives its conversation; for a client
        whose network has changed and who is back before anybody noticed that the old connection is dead.
        """
        self._open[token] = (owner, give_up)

    def forget(self, token: str) -> None:
        """Its client has a newer one."""
        self._open.pop(token, None)

    def keep(self, token: str, give_up: Callable[[], Conversation], conversation: Conversation) -> None:
        """Its connection is gone; it may come back. give_up: what it was opened with. Nothing is kept of one that was
        given up: its token may be that of the connection already that goes on with its conversation.
        """
        self._forget()
        owner, opened_with = self._open.get(token, (None, None))
        if owner is None or opened_with != give_up:
            return
        del self._open[token]
        if self._seconds > 0 and conversation.messages:
            self._kept[token] = (self._clock() + self._seconds, owner, conversation)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def take(self, token: str, owner: Owner) -> Conversation | None:
        """The conversation of this token; None when there is none (any more), and when it is somebody else's, who can
        still come back to it."""
        self._forget()
        if token in self._open and self._open[token][0] == owner:
            return self._open.pop(token)[1]()
        if token in self._kept and self._kept[token][1] == owner:
            return self._kept.pop(token)[2]
        return None

    def _forget(self) -> None:
        now = self._clock()
        while self._kept and next(iter(self._kept.values()))[0] <= now:
            self._kept.popitem(last=False)

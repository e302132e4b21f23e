"""Conversations of dropped connections, kept for a while for who comes back with their token."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from pipeline.conversation import Conversation


class Resumable:
    """At most `most` conversations, each for `seconds`; the oldest make room. Tokens are unguessable, each for once."""

    def __init__(self, seconds: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Conversation]] = OrderedDict()
        self._open: dict[str, Callable[[], Conversation]] = {}

    @staticmethod
    def token() -> str:
        """A new one, for a conversation that begins or goes on."""
        return secrets.token_urlsafe(24)

    def open(self, token: str, give_up: Callable[[], Conversation]) -> None:
        """A connection that lives. give_up: ends it and gives its conversation; for a client whose network has changed
        and who is back before anybody noticed that the old connection is dead.
        """
        self._open[token] = give_up

    def forget(self, token: str) -> None:
        """Its client has a newer one."""
        self._open.pop(token, None)

    def keep(self, token: str, give_up: Callable[[], Conversation], conversation: Conversation) -> None:
        """Its connection is gone; it may come back. give_up: what it was opened with. Nothing is kept of one that was
        given up: its token may be that of the connection already that goes on with its conversation.
        """
        self._forget()
        if self._open.get(token) != give_up:
            return
        del self._open[token]
        if self._seconds > 0 and conversation.messages:
            self._kept[token] = (self._clock() + self._seconds, conversation)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def take(self, token: str) -> Conversation | None:
        """The conversation of this token; None when there is none (any more)."""
        self._forget()
        if (give_up := self._open.pop(token, None)) is not None:
            return give_up()
        _, conversation = self._kept.pop(token, (0.0, None))
        return conversation

    def _forget(self) -> None:
        now = self._clock()
        while self._kept and next(iter(self._kept.values()))[0] <= now:
            self._kept.popitem(last=False)

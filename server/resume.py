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

    @staticmethod
    def token() -> str:
        """A new one, for a conversation that begins or goes on."""
        return secrets.token_urlsafe(24)

    def keep(self, token: str, conversation: Conversation) -> None:
        """Its connection is gone; it may come back."""
        self._forget()
        if self._seconds > 0 and conversation.messages:
            self._kept[token] = (self._clock() + self._seconds, conversation)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def take(self, token: str) -> Conversation | None:
        """The conversation of this token; None when there is none (any more)."""
        self._forget()
        _, conversation = self._kept.pop(token, (0.0, None))
        return conversation

    def _forget(self) -> None:
        now = self._clock()
        while self._kept and next(iter(self._kept.values()))[0] <= now:
            self._kept.popitem(last=False)

"""Conversations of clients that open a connection for each request and send the name of the conversation with it."""

import time
from collections import OrderedDict
from collections.abc import Callable

from pipeline.conversation.history import Conversation


class Conversations:
    """Conversations by the client's names: at most `most`, each kept for `seconds` after its last turn."""

    def __init__(
        self,
        make: Callable[[], Conversation],
        *,
        most: int,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make, self._most, self._seconds, self._clock = make, most, seconds, clock
        self._kept: OrderedDict[str, tuple[float, Conversation]] = OrderedDict()

    def get(self, name: str | None) -> Conversation:
        """Return the conversation of this name, or a new one. name: None for a conversation that is not kept."""
        if name is None:
            return self._make()
        now = self._clock()
        while self._kept and next(iter(self._kept.values()))[0] <= now:
            self._kept.popitem(last=False)
        _, conversation = self._kept.pop(name, (0.0, None))
        conversation = conversation or self._make()
        self._kept[name] = (now + self._seconds, conversation)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return conversation

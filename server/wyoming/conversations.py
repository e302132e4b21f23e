"""Conversations of clients that open a connection for each question and name the conversation in it."""

import time
from collections import OrderedDict
from collections.abc import Callable

from pipeline.conversation import Conversation


class Conversations:
    """By the client's names; at most `most`, each for `seconds` after its last turn."""

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
        """The conversation of that name, begun if there is none; None: one for this question alone."""
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

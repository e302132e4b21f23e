"""One call on its way to a model and back."""

import time
from collections.abc import Callable
from typing import Any

from pipeline import tracing
from pipeline.channel import Channel
from pipeline.workers.scheduler import Caller
from pipeline.workers.wire import Done, Failed, Item, Ran

ITEMS_AHEAD = 4
"""Items kept for a caller who does not ask for them; beyond, the engine waits."""


class Job:
    """A call that somebody waits for: what is to be done, for whom, and the channel through which the answer comes."""

    def __init__(self, method: str, args: tuple[Any, ...], caller: Caller, *, batched: bool = False) -> None:
        """batched: may be run together with other calls of the same method."""
        self.method = method
        self.args = args
        self.caller = caller
        self.batched = batched
        self.answers: Channel[Item | Done] = Channel(ITEMS_AHEAD)
        self.given = False
        """Something of the answer has reached the caller: it cannot be begun again."""
        self.retried = False
        self.over = False
        """Answered, failed or given up."""
        self.cancelled = False
        self.ran: Ran | None = None
        """When and where the engine worked on it, once it has."""
        self.put_at = time.monotonic()
        self.around = tracing.around()
        """Where its caller is in a trace."""
        self.on_cancel: Callable[[], None] | None = None
        """Set while it runs; called when the caller gives it up."""

    async def take(self, message: Item | Done | Failed) -> None:
        """Hand on what the engine said; waits while the caller is behind."""
        if isinstance(message, Done | Failed):
            self.ran = message.ran
        if isinstance(message, Failed):
            self.fail(message.error)
            return
        if isinstance(message, Item) or message.value is not None:  # a stream's end needs no room in the channel
            self.given = self.given or message.value is not None
            await self.answers.send(message)
        if isinstance(message, Done):
            self.over = True
            self.answers.close()

    def fail(self, error: BaseException) -> None:
        """End it with this error, raised where its answers are read."""
        self.over = True
        self.answers.close(error)

    def cancel(self) -> None:
        """The caller does not want it any more. Returns at once; the engine stops at its next item."""
        if self.over or self.cancelled:
            return
        self.cancelled = True
        self.answers.close()
        if self.on_cancel is not None:
            self.on_cancel()

"""One call of a model and its results."""

import time
from collections.abc import Callable

from pipeline.support.channel import Channel
from pipeline.telemetry import tracing
from pipeline.workers.caller import Caller
from pipeline.workers.wire import Done, Failed, Item, Ran

ITEMS_AHEAD = 4
"""Items buffered for a caller that does not read them; beyond this, the engine waits."""


class ModelCall:
    """A model call: its method and arguments, its caller, and the channel for its results."""

    def __init__(self, method: str, args: tuple[object, ...], caller: Caller, *, batched: bool = False) -> None:
        """batched: whether it can run together with other calls of the same method."""
        self.method = method
        self.args = args
        self.caller = caller
        self.batched = batched
        self.results: Channel[Item | Done] = Channel(ITEMS_AHEAD)
        self.given = False
        """Whether the caller has received a result: then the call cannot be retried."""
        self.retried = False
        self.over = False
        """Whether the call has returned, failed or been cancelled."""
        self.cancelled = False
        self.ran: Ran | None = None
        """Time and place of the engine's run, once there was one."""
        self.put_at = time.monotonic()
        self.waited_s: float | None = None
        """Time in the queue, once a replica has taken the call."""
        self.around = tracing.around()
        """The caller's position in a trace."""
        self.on_cancel: Callable[[], None] | None = None
        """Set while the call runs; called when the caller cancels it."""

    async def take(self, message: Item | Done | Failed) -> None:
        """Pass on a message of the engine; waits while the caller is behind."""
        if isinstance(message, Done | Failed):
            self.ran = message.ran
        if isinstance(message, Failed):
            self.fail(message.error)
            return
        if isinstance(message, Item) or message.value is not None:  # the end of a stream needs no room in the channel
            self.given = self.given or message.value is not None
            await self.results.send(message)
        if isinstance(message, Done):
            self.over = True
            self.results.close()

    def fail(self, error: BaseException) -> None:
        """End the call with this error, which is raised where its results are read."""
        self.over = True
        self.results.close(error)

    def cancel(self) -> None:
        """Cancel the call. Returns at once; the engine stops at its next item."""
        if self.over or self.cancelled:
            return
        self.cancelled = True
        self.results.close()
        if self.on_cancel is not None:
            self.on_cancel()

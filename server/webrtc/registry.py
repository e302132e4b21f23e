"""The open calls of one deployment. `aiortc` is imported with the first one."""

import asyncio
import logging
from typing import TYPE_CHECKING, Self

from starlette.requests import Request

from pipeline.errors import ParleyError
from server.access import caller_of
from server.http.draining import Draining
from server.webrtc.network import Network

if TYPE_CHECKING:
    from server.webrtc.call import Call

log = logging.getLogger(__name__)


class Calls:
    """The open calls. They end with the block."""

    def __init__(self, draining: Draining, network: Network) -> None:
        self.network = network
        """The addresses and ports of the calls."""
        self._draining = draining
        self._open: dict[str, tuple[Call, asyncio.Task[None]]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [task for _, task in self._open.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def start(self, call: "Call") -> None:
        """Run a call that was answered. The service's shutdown waits for it, as for a WebSocket."""
        self._draining.came()
        task = asyncio.create_task(call.run())
        self._open[call.id] = call, task
        task.add_done_callback(lambda done: self._ended(call, done))

    def get(self, id: str, request: Request) -> "Call":
        """Return the caller's own call. Raises ParleyError (not_found)."""
        call, _ = self._open.get(id, (None, None))
        if call is None or call.caller.account != caller_of(request).account:
            raise ParleyError("There is no call with this ID.", code="not_found")
        return call

    def _ended(self, call: "Call", task: asyncio.Task[None]) -> None:
        self._open.pop(call.id, None)
        self._draining.went()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("call %s failed", call.id, exc_info=error)

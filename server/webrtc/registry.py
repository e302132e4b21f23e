"""The open calls of one deployment. `aiortc` is imported with the first one."""

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from starlette.requests import Request

from pipeline.errors import ParleyError
from pipeline.workers.sharing import AskOthers, joined
from server.access import caller_of
from server.http.draining import Draining
from server.webrtc.network import Network

if TYPE_CHECKING:
    from server.webrtc.call import Call

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HangUp:
    """Request to the other fronts: end this call of this account; the result is whether there is one."""

    id: str
    account: str


class Calls:
    """The open calls. They end with the block."""

    def __init__(self, draining: Draining, network: Network) -> None:
        self.network = network
        """The addresses and ports of the calls."""
        self._draining = draining
        self._open: dict[str, tuple[Call, asyncio.Task[None]]] = {}

    async def __aenter__(self) -> Self:
        if (link := joined()) is not None:
            link.answer(HangUp, self._hang_up)
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

    async def hang_up(self, id: str, request: Request) -> None:
        """End the caller's own call, here or in another front. Raises ParleyError (not_found)."""
        wanted = HangUp(id, caller_of(request).account)
        if await self._hang_up(wanted):
            return
        link = joined()
        if link is None or not any(await link.ask(AskOthers(wanted))):
            raise ParleyError("There is no call with this ID.", code="not_found")

    async def _hang_up(self, wanted: HangUp) -> bool:
        call, _ = self._open.get(wanted.id, (None, None))
        if call is None or call.caller.account != wanted.account:
            return False
        call.hang_up()
        return True

    def _ended(self, call: "Call", task: asyncio.Task[None]) -> None:
        self._open.pop(call.id, None)
        self._draining.went()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("call %s failed", call.id, exc_info=error)

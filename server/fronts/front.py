"""A front: the application for connections that the main process has accepted."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

import uvicorn

from jobs.service import Jobs
from pipeline.support.background import background
from pipeline.workers import sharing
from pipeline.workers.sharing import worker
from pipeline.workers.sharing.link import Link
from server.fronts.messages import Accepts, Leaving, Ping, Ready, StopNow, Welcome
from server.http import hatch
from server.http.draining import Draining
from server.http.hatch import HTTP, Hatch
from server.http.shutdown import Server

log = logging.getLogger(__name__)

T = TypeVar("T")


@asynccontextmanager
async def joining(sock: socket.socket, channel: socket.socket) -> AsyncIterator[tuple[Welcome, Link, Hatch]]:
    """Make this process a front while the block runs; it ends at once when the main process is gone. sock, channel:
    its ends of the link, and of the socket pair for connections."""
    link = await Link.over(sock)
    welcome: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
    link.on(Welcome, welcome.set_result)
    link.answer(Ping, _respond)
    worker.receive(link)
    sharing.join(link)
    here = Hatch(channel, link)
    hatch.receive_through(here)
    async with background(link.run()), background(_end_with(link)):
        yield await welcome, link, here


class FrontServer(Server):
    """An HTTP server that does not listen."""

    def __init__(
        self,
        config: uvicorn.Config,
        draining: Draining,
        link: Link,
        hatch: Hatch,
        *,
        drain_s: float,
        give_up: Callable[[], None],
    ) -> None:
        """drain_s, give_up: see `Server`."""
        super().__init__(config, draining, drain_s=drain_s, give_up=give_up)
        self._link, self._hatch = link, hatch
        self._asked_to_stop = False
        self._connecting: set[asyncio.Task[None]] = set()
        self.server_state.connections = _Counted(lambda number: hatch.count(HTTP, number))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        if not self.should_exit:
            self._hatch.on(HTTP, self._take)
            self._hatch.open()
            self._link.on(StopNow, lambda _: super(FrontServer, self).handle_exit(signal.SIGTERM, None))
            self._link.post(Accepts())
            self._leaving = asyncio.create_task(self._leave())

    def loaded(self, jobs: Jobs) -> None:
        super().loaded(jobs)
        self._link.post(Ready())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._hatch.close()
        self._leaving.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain. A service manager that signals all processes does not make this one stop at once, although
        the main process signals it, too."""
        if not self._asked_to_stop:
            self._asked_to_stop = True
            super().handle_exit(sig, frame)

    async def _leave(self) -> None:
        """Ask for no further connections once this process drains. If all fronts do, they still get and refuse them."""
        await self._draining.begun.wait()
        self._link.post(Leaving())

    def _take(self, connection: socket.socket) -> None:
        task = asyncio.create_task(self._connect(connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, connection: socket.socket) -> None:
        with suppress(OSError):  # the client has left
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


class _Counted(set[T]):
    """A set that tells its size when it changes."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        super().__init__()
        self._tell = tell

    def add(self, element: T) -> None:
        super().add(element)
        self._tell(len(self))

    def discard(self, element: object) -> None:
        super().discard(element)
        self._tell(len(self))

    def remove(self, element: T) -> None:
        super().remove(element)
        self._tell(len(self))


async def _respond(_: Ping) -> None:
    """Show that the event loop runs."""


async def _end_with(link: Link) -> None:
    """End this process at once when its main process is gone, which has the models and accepts the connections."""
    await link.lost.wait()
    log.error("the main process is gone; this process ends")
    os._exit(1)

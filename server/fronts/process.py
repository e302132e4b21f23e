"""One front, as the main process sees it."""

import asyncio
import contextlib
import logging
import socket
from asyncio.subprocess import Process

from pipeline.settings import Settings
from pipeline.workers.sharing.link import Link, LinkLost
from pipeline.workers.sharing.models import FrontCalls
from server.fronts.doors import send
from server.fronts.messages import Ping
from server.http.hatch import Busy

log = logging.getLogger(__name__)

ANSWER_S = 1.0
"""Timeout for a front's answer to another one, in seconds."""
PING_S, HANG_S, START_HANG_S = 1.0, 20.0, 120.0
"""Time between questions whether a front responds, and time without an answer after which it is killed, once it serves
and while it starts, in seconds."""


class Front:
    """One front: its process, its link, and the socket on which it receives connections."""

    def __init__(
        self, name: str, settings: Settings, process: Process, link: Link, channel: socket.socket, calls: FrontCalls
    ) -> None:
        self.name, self.settings, self.process, self.link = name, settings, process, link
        self.ready = asyncio.Event()
        self.accepts = False
        """Whether it can take connections, perhaps only to show the progress of its start."""
        self.takes = False
        """Whether it takes connections."""
        self.replaced = asyncio.Event()
        """Set when another front has its place, and it only has to end."""
        self.doors: set[int] = set()
        """Doors that it has asked for."""
        self.responds = True
        self._channel, self._calls = channel, calls
        self._given = 0
        self._busy = Busy(0, 0)
        self.reading = asyncio.create_task(link.run())
        self.watching = asyncio.create_task(self._watch())

    @property
    def connections(self) -> int:
        """Its open connections, with those that it has not received yet."""
        return self._busy.open + self._given - self._busy.received

    def give(self, connection: socket.socket, door: int) -> bool:
        """See Taker."""
        given = send(self._channel, connection, door)
        self._given += given
        return given

    def told(self, busy: Busy) -> None:
        """Note its connections."""
        self._busy = busy

    async def close(self) -> None:
        """End its link and its calls, once the process has ended."""
        self.takes = False
        for task in (self.reading, self.watching):
            task.cancel()
        await asyncio.wait([self.reading, self.watching])
        self.link.close()
        self._channel.close()
        await self._calls.close()

    async def _watch(self) -> None:
        """Note whether the process responds. If it does not, end the calls that wait for it, and kill it in the end, so
        that its conversations can continue elsewhere. Questions are counted, not time, which also passes while the main
        process does not run."""
        missed, serves = 0, False
        while True:
            await asyncio.sleep(PING_S)
            if not serves and self.ready.is_set():
                missed, serves = 0, True
            responds = bool(await result_of(self.link, Ping()))
            self.responds = responds or not serves  # while it starts, it often does not, and gets no connections anyway
            missed = 0 if responds else missed + 1
            if missed and serves:
                self._calls.stall()
            if missed >= (HANG_S if serves else START_HANG_S) / (PING_S + ANSWER_S):
                log.error("a process that serves connections hangs; it is killed")
                with contextlib.suppress(ProcessLookupError):
                    self.process.kill()
                return


async def result_of(link: Link, request: object) -> list[object]:
    """Return a front's result; nothing if it does not respond in time, or cannot answer."""
    try:
        async with asyncio.timeout(ANSWER_S):
            return [await link.ask(request)]
    except (TimeoutError, LinkLost):
        return []
    except Exception as error:
        log.warning("a process of the service cannot answer %s: %s", type(request).__name__, type(error).__name__)
        return []

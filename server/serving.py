"""The HTTP server, and how it stops: SIGTERM (or Ctrl-C) drains it, a second one ends it at once."""

import asyncio
import logging
import socket
from types import FrameType

import uvicorn

from jobs.service import Jobs
from server.draining import Draining
from server.patience import PatientHttp

log = logging.getLogger(__name__)

FAREWELL_S = 1
"""What is cut off at the end of the drain has so long to clean up after itself, in seconds."""


class Server(uvicorn.Server):
    """uvicorn, which stops in order: see `stop`."""

    def __init__(self, config: uvicorn.Config, draining: Draining, jobs: Jobs, *, drain_s: float) -> None:
        """drain_s: how long running turns and requests may take to finish."""
        config.timeout_graceful_shutdown = FAREWELL_S
        super().__init__(config)
        self._draining = draining
        self._jobs = jobs
        self._drain_s = drain_s
        self._loop = asyncio.get_running_loop()
        self._stopping: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal, anywhere in our code: what follows is done by the loop. It is not raised again when all is over,
        as uvicorn would, for this is how the service is meant to end."""
        self._loop.call_soon_threadsafe(self.stop)

    def stop(self) -> None:
        """Take nothing new, finish what runs, then stop serving. Called again: stop serving now."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._drain())
        else:
            log.warning("Stopping at once: %d conversations and requests are cut off", self._draining.running)
            self._stopping.cancel()
            self.config.timeout_graceful_shutdown = 0
            self.should_exit = True

    async def _drain(self) -> None:
        log.info("Stopping: %d conversations and requests may take %g s", self._draining.running, self._drain_s)
        self._draining.begun.set()
        self._jobs.stop_watching()  # its streams would last until their jobs have ended
        try:
            async with asyncio.timeout(self._drain_s):
                await self._jobs.stop_working()
                await self._draining.finished()
        except TimeoutError:
            log.warning("%d are cut off: they took longer than DRAIN_SECONDS", self._draining.running)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._draining.begun.set()
        self._jobs.stop_watching()
        for connection in list(self.server_state.connections):
            if isinstance(connection, PatientHttp):
                connection.cut()
        await super().shutdown(sockets)

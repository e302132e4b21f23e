"""The HTTP server, and how it stops: SIGTERM (or Ctrl-C) drains it, a second one ends it at once. The same where the
server is somebody else's, `uvicorn main:app`, as far as it can be."""

import asyncio
import inspect
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from types import FrameType

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from jobs.service import Jobs
from pipeline.settings import Settings
from server.draining import Draining
from server.patience import PatientHttp, bounded
from server.patient_socket import PatientSocket

log = logging.getLogger(__name__)

FAREWELL_S = 1
"""What is cut off at the end of the drain has so long to clean up after itself, in seconds."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """How a server is stopped: it takes nothing new, finishes what runs, then stops serving."""

    def __init__(self, server: uvicorn.Server, draining: Draining, jobs: Jobs, *, drain_s: float) -> None:
        """drain_s: how long running turns and requests may take to finish."""
        self._server = server
        self._draining = draining
        self._jobs = jobs
        self._drain_s = drain_s
        self._loop = asyncio.get_running_loop()
        self._draining_task: asyncio.Task[None] | None = None

    def handle_signal(self, number: int, frame: FrameType | None) -> None:
        """Anywhere in our code: what follows is done by the loop. The signal is not raised again when all is over, as
        uvicorn would, for this is how the service is meant to end."""
        # In a context of its own: a signal interrupts any task, and what is logged from here on is not that one's.
        self._loop.call_soon_threadsafe(self._begin, context=Context())

    def cut_off(self) -> None:
        """Nothing new is taken, and who is still being answered will not be any more."""
        self._take_nothing_new()
        self._draining.cut.set()
        for connection in list(self._server.server_state.connections):
            if isinstance(connection, PatientHttp):
                connection.cut()

    def _begin(self) -> None:
        """The second time: stop serving now."""
        if self._draining_task is None:
            self._draining_task = asyncio.create_task(self._drain())
        else:
            log.warning("Stopping at once: %d conversations and requests are cut off", self._draining.running)
            self._draining_task.cancel()
            self._exit()

    async def _drain(self) -> None:
        log.info("Stopping: %d conversations and requests may take %g s", self._draining.running, self._drain_s)
        self._take_nothing_new()
        try:
            async with asyncio.timeout(self._drain_s):
                await self._jobs.stop_working()
                await self._draining.finished()
        except TimeoutError:
            log.warning("%d are cut off: they took longer than DRAIN_SECONDS", self._draining.running)
        self._exit()

    def _wait_for_nobody(self) -> None:
        """Who does not even read that it is over."""
        for connection in list(self._server.server_state.connections):
            if isinstance(connection, PatientSocket):
                connection.cut()

    def _take_nothing_new(self) -> None:
        self._draining.begun.set()
        self._jobs.stop_watching()  # its streams would last until their jobs have ended

    def _exit(self) -> None:
        self.cut_off()  # here, because a server of somebody else's does not ask us when it shuts down
        self._loop.call_later(FAREWELL_S / 2, self._wait_for_nobody)
        self._server.config.timeout_graceful_shutdown = FAREWELL_S
        self._server.should_exit = True


class Server(uvicorn.Server):
    """uvicorn, which stops in order."""

    def __init__(self, config: uvicorn.Config, draining: Draining, jobs: Jobs, *, drain_s: float) -> None:
        """drain_s: see `Stop`."""
        super().__init__(config)
        self._stop = Stop(self, draining, jobs, drain_s=drain_s)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stop.handle_signal(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stop.cut_off()
        await super().shutdown(sockets)


# --- a server that somebody else has begun ---


@contextmanager
def adopted(settings: Settings, draining: Draining, jobs: Jobs) -> Iterator[None]:
    """Around the life of an application: the uvicorn that serves it keeps the bounds of `server.patience`, and drains.

    Of another server nothing is known; it is left as it is.
    """
    server = _running()
    if server is None:
        yield
        return
    _bound(server.config, settings)
    stop = Stop(server, draining, jobs, drain_s=settings.drain_seconds)
    # uvicorn puts back what was there before it when it has stopped.
    for number in SIGNALS:
        signal.signal(number, stop.handle_signal)
    yield


def _running() -> uvicorn.Server | None:
    """The uvicorn that serves this process: it tells an application nothing of itself, but handles the signals."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if isinstance(server, uvicorn.Server) and not isinstance(server, Server) else None


def _bound(config: uvicorn.Config, settings: Settings) -> None:
    """What was given on uvicorn's command line stays; it reads the rest when it begins to listen, which is after us."""
    for name, value in bounded(settings).items():
        match name:
            case "http" if config.http_protocol_class is HttpToolsProtocol:
                config.http_protocol_class = value
            case "ws" if config.ws_protocol_class is WebSocketsSansIOProtocol:
                config.ws_protocol_class = value
            case "http" | "ws":
                log.warning("uvicorn was started with another --%s: it keeps no time-outs and no bounds", name)
            case _ if getattr(config, name) == inspect.signature(uvicorn.Config).parameters[name].default:
                setattr(config, name, value)

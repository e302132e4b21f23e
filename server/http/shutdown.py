"""The HTTP server and its shutdown: SIGTERM (or Ctrl-C) drains it, a second signal ends it at once. This also works, as
far as possible, for a server that was started by `uvicorn main:app`."""

import asyncio
import inspect
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from types import FrameType

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from jobs.service import Jobs
from pipeline.settings import Settings
from server.http.draining import Draining
from server.http.uvicorn_protocols import BoundedHttp, bounded
from server.http.websocket_protocol import BoundedWebSocket

log = logging.getLogger(__name__)

FAREWELL_S = 1
"""Grace period for connections cut at the drain deadline, in seconds."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Graceful shutdown of a server: refuse new work, finish running work, then stop serving."""

    def __init__(self, server: uvicorn.Server, draining: Draining, jobs: Jobs, *, drain_s: float) -> None:
        """drain_s: time for running turns and requests to finish, in seconds."""
        self._server = server
        self._draining = draining
        self._jobs = jobs
        self._drain_s = drain_s
        self._loop = asyncio.get_running_loop()
        self._draining_task: asyncio.Task[None] | None = None

    def handle_signal(self, number: int, frame: FrameType | None) -> None:
        """Start the shutdown from the event loop, because a signal can arrive anywhere in our code. Unlike uvicorn, do
        not raise the signal again at the end: this is the normal way to end the service."""
        # An empty context: a signal interrupts any task, and the shutdown must not log in that task's context.
        self._loop.call_soon_threadsafe(self._begin, context=Context())

    def cut_off(self) -> None:
        """Refuse new work, and abort responses that are still being sent."""
        self._take_nothing_new()
        self._draining.cut.set()
        for connection in list(self._server.server_state.connections):
            if isinstance(connection, BoundedHttp):
                connection.cut()

    def _begin(self) -> None:
        """Start draining; when called again, stop serving at once."""
        if self._draining_task is None:
            self._draining_task = asyncio.create_task(self._drain())
        else:
            log.warning("Stopping at once: %d conversations and requests are cut off", self._draining.running)
            self._draining_task.cancel()
            self._draining_task = asyncio.create_task(self._exit())

    async def _drain(self) -> None:
        log.info("Stopping: %d conversations and requests have %g s to finish", self._draining.running, self._drain_s)
        self._take_nothing_new()
        try:
            async with asyncio.timeout(self._drain_s):
                await self._jobs.stop_working()
                await self._draining.finished()
        except TimeoutError:
            log.warning(
                "%d conversations and requests took longer than DRAIN_SECONDS and are cut off", self._draining.running
            )
        await self._exit()

    def _wait_for_nobody(self) -> None:
        """Abort WebSockets whose clients have not read their close frame."""
        for connection in list(self._server.server_state.connections):
            if isinstance(connection, BoundedWebSocket):
                connection.cut()

    def _take_nothing_new(self) -> None:
        self._draining.begun.set()
        self._jobs.stop_watching()  # event streams would last until their jobs end

    async def _exit(self) -> None:
        """Cut off what still runs, and stop serving once it has ended: uvicorn closes connections at once, before their
        conversations have said why."""
        self.cut_off()  # here, because a server that we did not start does not call `Server.shutdown`
        self._loop.call_later(FAREWELL_S / 2, self._wait_for_nobody)
        self._server.config.timeout_graceful_shutdown = FAREWELL_S
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S / 2):
                await self._draining.finished()
        self._server.should_exit = True


class Server(uvicorn.Server):
    """uvicorn with a graceful shutdown."""

    def __init__(
        self, config: uvicorn.Config, draining: Draining, *, drain_s: float, give_up: Callable[[], None]
    ) -> None:
        """drain_s: see `Stop`. give_up: cancels the start, on a signal before `loaded`."""
        super().__init__(config)
        self._draining, self._drain_s, self._give_up = draining, drain_s, give_up
        self._stop: Stop | None = None
        self._loop = asyncio.get_running_loop()
        self.accepts = asyncio.Event()
        """Set when it accepts connections."""

    def loaded(self, jobs: Jobs) -> None:
        """Drain on a signal from now on: the application has its state."""
        self._stop = Stop(self, self._draining, jobs, drain_s=self._drain_s)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Decided in the event loop: `loaded` can run between the signal and the next step of the loop, and what serves
        # by then must drain.
        self._loop.call_soon_threadsafe(self._end, sig, frame, context=Context())

    def _end(self, sig: int, frame: FrameType | None) -> None:
        if self._stop is None:
            self._give_up()
        else:
            self._stop.handle_signal(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepts.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._stop is None:
            self.config.timeout_graceful_shutdown = FAREWELL_S
        else:
            self._stop.cut_off()
        await super().shutdown(sockets)


# --- a server that was started by another program ---


@contextmanager
def adopted(settings: Settings, draining: Draining, jobs: Jobs) -> Iterator[None]:
    """Give the uvicorn that serves this application the limits of `uvicorn_protocols` and the graceful shutdown,
    while the block runs.

    Other servers stay unchanged, because they offer no interface for it.
    """
    server = _running()
    if server is None:
        yield
        return
    _bound(server.config, settings)
    stop = Stop(server, draining, jobs, drain_s=settings.drain_seconds)
    # uvicorn restores the previous signal handlers when it stops.
    for number in SIGNALS:
        signal.signal(number, stop.handle_signal)
    yield


def _running() -> uvicorn.Server | None:
    """Return the uvicorn that serves this process. Applications get no reference to it, but its signal handler has one.

    Return None for our own `Server` and for servers of other kinds.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if isinstance(server, uvicorn.Server) and not isinstance(server, Server) else None


def _bound(config: uvicorn.Config, settings: Settings) -> None:
    """Set the limits that uvicorn's command line leaves at their defaults; uvicorn reads them when it starts to listen,
    after this call."""
    for name, value in bounded(settings).items():
        match name:
            case "http" if config.http_protocol_class is HttpToolsProtocol:
                config.http_protocol_class = value
            case "ws" if config.ws_protocol_class is WebSocketsSansIOProtocol:
                config.ws_protocol_class = value
            case "http" | "ws":
                log.warning("uvicorn was started with another --%s: timeouts and limits are not enforced", name)
            case _ if getattr(config, name) == inspect.signature(uvicorn.Config).parameters[name].default:
                setattr(config, name, value)

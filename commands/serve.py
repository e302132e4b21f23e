"""`python main.py`, `python main.py serve`: run the service."""

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from commands.logs import set_up
from commands.progress import StartProgress
from commands.redaction import Redaction, secrets_of
from commands.start import leave, leave_within, load_settings, refuse, run_to_end
from commands.unknown_settings import warn_of_unknown
from pipeline.assistant import Assistant
from pipeline.errors import HostLost, ParleyError, cause_of
from pipeline.settings import Settings
from pipeline.telemetry import tracing

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from server.http.draining import Draining
    from server.http.shutdown import Server

log = logging.getLogger(__name__)

BACKLOG = 2048
"""Connections that the kernel queues while the loop is busy."""
FILES_OF_OURS = 1024
"""Files that are open in addition to connections: databases, models' pipes, recordings."""
END_S = 2.0
"""Seconds for the rest of the shutdown, after all connections are closed."""
MAX_LINE_BYTES = 131_072
"""Longest request line: `?system=` can have 8,000 characters, each of up to 12 bytes in a URL."""


HostOption = Annotated[str | None, typer.Option(help="Address to listen on. Default: HOST.")]
PortOption = Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on. Default: PORT.")]


def serve(host: HostOption = None, port: PortOption = None) -> None:
    """Run the service (the default)."""
    settings = load_settings(host=host, port=port)
    set_up(settings.log_format, logging.DEBUG if settings.debug_mode else logging.INFO, Redaction(secrets_of(settings)))
    warn_of_unknown()
    # Until the server has a handler: there is nothing to close yet, and an exception during its imports can be lost.
    signal.signal(signal.SIGTERM, lambda number, frame: leave())
    try:
        # Outside the loop, so that spans of its last moment are exported.
        with tracing.exporting():
            serving = _serve_with_fronts(settings, host, port) if settings.processes > 1 else _serve(settings)
            code = run_to_end(serving, uvloop.new_event_loop)
        leave(code)
    except ParleyError as error:
        raise refuse(error.full_message) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass  # asked to stop while it was loading


def application() -> "FastAPI":
    """Create the service for an external ASGI server: `uvicorn main:app`."""
    settings = load_settings()
    set_up(settings.log_format, logging.DEBUG if settings.debug_mode else logging.INFO, Redaction(secrets_of(settings)))
    warn_of_unknown()
    if settings.processes > 1:
        raise refuse("PROCESSES needs `python main.py`: an external ASGI server starts its processes itself.")
    from server.app import create_app
    from server.http.draining import Draining

    draining = Draining()
    app = create_app(settings, draining=draining)
    allow_files(settings)
    _warn_of_guessable(settings)
    opened = app.router.lifespan_context

    @asynccontextmanager
    async def ending(app: "FastAPI") -> AsyncIterator[None]:
        async with opened(app):
            yield
            if draining.begun.is_set():  # on a signal; not if the embedding program continues
                leave_within(END_S)

    app.router.lifespan_context = ending
    return app


async def _serve(settings: Settings) -> int:
    """Serve with this process alone; return the exit code."""
    prepare()
    import uvicorn

    from server.access import check_exposure
    from server.http.draining import Draining
    from server.http.shutdown import Server

    console = Console(stderr=True)
    check_exposure(settings)
    allow_files(settings)
    _warn_of_guessable(settings)
    with _listen(settings) as listening, StartProgress(console) as progress:

        def server(config: uvicorn.Config, draining: Draining, give_up: Callable[[], None]) -> Server:
            return Server(config, draining, drain_s=settings.drain_seconds, give_up=give_up)

        def announce(assistant: Assistant) -> None:
            announce_engines(console, assistant)
            _announce(console, listening)

        _announce_start(console, listening)
        await serve_on(settings, server, announce, progress, sockets=[listening])
        return 0


async def _serve_with_fronts(settings: Settings, host: str | None, port: int | None) -> int:
    """Run the main process of several fronts; return the exit code. host, port: those of the command line."""
    prepare()
    from server.access import check_exposure
    from server.fronts.main_process import MainProcess

    console = Console(stderr=True)
    check_exposure(settings)
    allow_files(settings)
    _warn_of_guessable(settings)

    def read_again() -> Settings | None:
        try:
            return load_settings(host=host, port=port)
        except typer.Exit:
            return None

    with _listen(settings) as listening:
        _announce_start(console, listening)
        fronts = MainProcess(settings, listening, lambda: _announce(console, listening), read_again)
        await fronts.run()
        leave_within(END_S, fronts.code)
        return fronts.code


def prepare() -> None:
    """Set what libraries read when they are imported."""
    # websockets reads it; `server.http.uvicorn_protocols` refuses longer lines.
    os.environ.setdefault("WEBSOCKETS_MAX_LINE_LENGTH", str(MAX_LINE_BYTES))


async def serve_on(
    settings: Settings,
    server_of: "Callable[[uvicorn.Config, Draining, Callable[[], None]], Server]",
    announce: Callable[[Assistant], None],
    progress: StartProgress | None,
    sockets: list[socket.socket] | None = None,
) -> None:
    """Serve until a signal asks to stop: the progress of the start first, and everything once the models are loaded.

    server_of: creates the server; its last argument cancels the start. announce: called once the models are loaded.
    """
    import uvicorn

    from server.app import create_app
    from server.http.draining import Draining
    from server.http.starting import Start
    from server.http.uvicorn_protocols import bounded
    from server.state import opened_state

    this = asyncio.current_task()
    assert this is not None  # noqa: S101  # this coroutine runs in a task

    def give_up() -> None:
        this.cancel()

    start, draining = Start(progress.report if progress else None), Draining()
    app = create_app(settings, draining=draining, start=start)
    config = uvicorn.Config(
        app, log_config=None, access_log=settings.debug_mode, lifespan="off", server_header=False, **bounded(settings)
    )
    server = server_of(config, draining, give_up)
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, server.handle_exit)  # also after it has stopped, until the process ends
    of_uvicorn = logging.getLogger("uvicorn.error")
    of_uvicorn.setLevel(logging.WARNING)  # until it has started: a failed start is one sentence
    serving = asyncio.create_task(server.serve(sockets=sockets))
    serving.add_done_callback(lambda _: server.accepts.set())  # also if it has failed: its error follows
    try:
        await server.accepts.wait()
        async with app.router.lifespan_context(app):
            state = opened_state(app)
            if progress:
                progress.stop()
            of_uvicorn.setLevel(logging.NOTSET)
            # A full collection of all that was loaded would stop all conversations for a tenth of a second, each time.
            gc.collect()
            gc.freeze()
            server.loaded(state.jobs)
            announce(state.assistant)
            await serving
            lost = state.assistant.host_lost.is_set()
            leave_within(END_S, int(lost))
    except ExceptionGroup as failed:  # the task groups of the application wrap what ends its start
        raise cause_of(failed) from None
    finally:
        server.should_exit = True  # if the start has failed or was cancelled
        await serving
    if lost:
        raise HostLost  # with an error, so that the service manager starts another process


def announce_engines(console: Console, assistant: Assistant) -> None:
    """Show the engines, and why better ones are not used."""
    console.print(engine_table(assistant))
    for info in assistant.engines:
        for note in info.notes:
            console.print(f"{info.stage}: {note}", style="yellow", highlight=False, soft_wrap=True)


def _announce_start(console: Console, listening: socket.socket) -> None:
    console.print(f"Starting: http://{_place(listening)} shows the progress", highlight=False, soft_wrap=True)


def _announce(console: Console, listening: socket.socket) -> None:
    place = _place(listening)
    console.print(f"Parley listens on http://{place} (WebSocket: ws://{place}/ws)", highlight=False, soft_wrap=True)


def _place(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def engine_table(assistant: Assistant) -> Table:
    """Stage, engine, model, its source and licence, device and seconds to ready."""
    table = Table("stage", "engine", "model", "from", "device", "ready in s")
    for info in assistant.engines:
        table.add_row(info.stage, info.engine, info.model, info.origin, info.device, f"{info.ready_s:.1f}")
    return table


def _warn_of_guessable(settings: Settings) -> None:
    from server.access.keys import GUESSABLE_CHARS, weak

    if guessable := weak(settings.api_keys):
        log.warning("API_KEYS: %s can be guessed, with fewer than %d characters (openssl rand -hex 32)",
                    ", ".join(guessable), GUESSABLE_CHARS)  # fmt: skip


def allow_files(settings: Settings) -> None:
    """Raise the limit on open files as far as permitted. Many shells allow 1,024: as many open
    connections would leave none for databases, uploads and restarts of models."""
    wanted = 2 * settings.max_connections + FILES_OF_OURS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        log.warning("%d connections need %d open files, but only %d are allowed (ulimit -n)",
                    settings.max_connections, wanted, most)  # fmt: skip


def _listen(settings: Settings) -> socket.socket:
    """Open the listening socket before the models are loaded, so that a port in use is reported at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        place = f"{settings.host} port {settings.port}"
        raise refuse(f"Cannot listen on {place}: {error.strerror}. Set PORT, or give --port.") from None
    return listening

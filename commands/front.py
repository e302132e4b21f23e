"""One front of a service with several (PROCESSES): `python -m commands.front LINK_FD CHANNEL_FD`, started only by the
main process (`server.fronts.main_process`), whose settings it uses."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable

import typer
import uvloop
from rich.console import Console

from commands.logs import set_up
from commands.progress import StartProgress
from commands.redaction import Redaction, secrets_of
from commands.serve import announce_engines, prepare, serve_on
from commands.start import leave, refuse, run_to_end
from pipeline.assistant import Assistant
from pipeline.errors import ParleyError
from pipeline.telemetry import tracing


def main() -> None:
    """Serve connections until the main process asks to stop, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the main process, which drains this one
    link, channel = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    try:
        with tracing.exporting():
            run_to_end(_serve(link, channel), uvloop.new_event_loop)
        leave()
    except ParleyError as error:
        sys.exit(refuse(error.full_message).exit_code)
    except typer.Exit as error:
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass  # asked to stop while it was loading


async def _serve(sock: socket.socket, channel: socket.socket) -> None:
    prepare()
    import uvicorn

    from server.fronts.front import FrontServer, joining
    from server.http.draining import Draining

    async with joining(sock, channel) as (told, link, here):
        settings = told.settings
        level = logging.DEBUG if settings.debug_mode else logging.INFO
        set_up(settings.log_format, level, Redaction(secrets_of(settings)))
        console = Console(stderr=True)

        def server(config: uvicorn.Config, draining: Draining, give_up: Callable[[], None]) -> FrontServer:
            return FrontServer(config, draining, link, here, drain_s=settings.drain_seconds, give_up=give_up)

        def announce(assistant: Assistant) -> None:
            if told.first:
                announce_engines(console, assistant)

        with StartProgress(console) if told.first else contextlib.nullcontext() as progress:
            await serve_on(settings, server, announce, progress)


if __name__ == "__main__":
    main()

"""Shared parts of the commands: settings, options, output, and how a command ends when it fails."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from dotenv import dotenv_values
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from commands.logs import set_up
from commands.redaction import Redaction, secrets_of
from pipeline.audio.clip import Clip, encode_wav
from pipeline.audio.decode import decode
from pipeline.errors import BadInput, ParleyError
from pipeline.languages import language_code
from pipeline.settings import Settings
from pipeline.support.environment import SECRET
from pipeline.support.progress import Report

log = logging.getLogger(__name__)

T = TypeVar("T")

OTHERS = ("OTEL_", "COQUI_TOS_AGREED", "TRIGGER_API_URL")
"""Names in `.env`, or their beginnings, of variables that other programs have, too."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
VoiceOption = Annotated[str, typer.Option(help="Voice by name; see `voices`. Default: VOICE_NAME.")]


def language_option(value: str) -> str:
    """Convert an option to a language code. Raises typer.BadParameter."""
    try:
        return language_code(value) or ""
    except BadInput as error:
        raise typer.BadParameter(error.message) from None


LanguageOption = Annotated[
    str,
    typer.Option(callback=language_option, help="Language spoken, as a code or an English name. Default: detected."),
]


def load_settings(**options: Any) -> Settings:
    """Load the settings, or end the command with one line for each invalid one. OTHERS in `.env` are
    copied to the environment, where they are read. options: settings of the command line, which go first; None: not
    given."""
    for name, value in env_file().items():
        if name.startswith(OTHERS) and value:
            try:
                os.environ.setdefault(name, value)
            except ValueError as error:  # a null character
                raise refuse(f"{name} in .env: {error}.") from None
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except (OSError, UnicodeDecodeError) as error:  # changed a moment ago
        raise _unreadable(error) from None
    except ValidationError as error:
        for problem in error.errors():
            name = str(problem["loc"][0]).upper() if problem["loc"] else "settings"
            value = "" if SECRET.search(name) else f" (it is {str(problem['input'])[:60]!r})"
            print(f"parley: {name}: {problem['msg']}{value}", file=sys.stderr)
        raise typer.Exit(2) from None


def env_file() -> dict[str, str | None]:
    """Read `.env` of the working directory; end the command with one sentence if it cannot be read. Empty if there is
    none."""
    try:
        return dotenv_values(".env")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(error) from None


def _unreadable(error: OSError | UnicodeDecodeError) -> typer.Exit:
    what = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text. Save it in that encoding"
    return refuse(f".env cannot be read: {what}.")


def refuse(message: str) -> typer.Exit:
    """Print an error on stderr; return the exception that ends the command when raised."""
    print(f"parley: {message}", file=sys.stderr)
    return typer.Exit(2)


def run(
    settings: Settings, work: Coroutine[object, object, None], *, level: int = logging.ERROR, ends: bool = False
) -> None:
    """Run a command; report an error in one sentence, without a traceback. level: log level without DEBUG_MODE. ends:
    the caller ends the process by `leave`."""
    set_up(settings.log_format, logging.DEBUG if settings.debug_mode else level, Redaction(secrets_of(settings)))
    try:
        if ends:
            run_to_end(_stoppable(work), None)
        else:
            asyncio.run(_stoppable(work))
    except ParleyError as error:
        raise refuse(error.full_message) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except asyncio.CancelledError:
        raise typer.Exit(0 if ends else 128 + signal.SIGTERM) from None


async def _stoppable(work: Coroutine[object, object, None]) -> None:
    """Run this so that SIGTERM cancels it, as Ctrl-C does, and it closes what it has opened."""
    this = asyncio.current_task()
    assert this is not None  # noqa: S101  # this coroutine runs in a task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    await work


def run_to_end(work: Coroutine[object, object, T], loop_factory: Callable[[], asyncio.AbstractEventLoop] | None) -> T:
    """Run a service until it is asked to stop, without waiting for threads that still run then; see `leave`."""
    runner = asyncio.Runner(loop_factory=loop_factory)
    try:
        return runner.run(work)
    except BaseException:
        runner.close()
        raise


def leave(code: int = 0) -> NoReturn:
    """End the process with this exit code after all is closed. An interpreter that ends by itself waits for every
    thread, and a stuck one would keep a service alive forever that was asked to stop."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def leave_within(seconds: float, code: int = 0) -> None:
    """End the process with this exit code after this time, if it has not ended by then."""

    def end() -> None:
        log.warning("the shutdown hangs; the process ends now")
        leave(code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


async def load_clip(path: Path, settings: Settings) -> Clip:
    """Decode a file. Raises BadInput with the file's name."""
    try:
        data = await asyncio.to_thread(path.read_bytes)
        return await decode(data, max_seconds=settings.max_audio_seconds)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", code="bad_audio") from None
    except BadInput as error:
        raise BadInput(f"{path}: {error.message}", code=error.code) from None


async def write_wav(path: Path, clip: Clip) -> None:
    """Write a WAV file. Raises BadInput with the file's name if that fails."""
    try:
        await asyncio.to_thread(path.write_bytes, encode_wav(clip))
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None


@asynccontextmanager
async def progress_bar() -> AsyncIterator[Report]:
    """Yield a callback that shows the slow steps of the start on stderr."""
    from commands.progress import StartProgress

    with StartProgress(Console(stderr=True)) as progress:
        yield progress.report


def print_rows(rows: Sequence[Mapping[str, object]], *, as_json: bool) -> None:
    """Print rows as a table in a terminal, as tab-separated lines in a pipe, or as JSON."""
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    console = Console()
    if not console.is_terminal:
        for row in rows:
            print("\t".join("" if value is None else str(value) for value in row.values()))
        return
    table = Table(*(rows[0].keys() if rows else ()))
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    console.print(table)

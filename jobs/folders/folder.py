"""One watched folder, for its watcher and its result writer: place, rows in the database, thread, and state."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from jobs.database import Database
from jobs.files import FileStore
from jobs.folders.output import Output
from jobs.folders.rows import Recorder, WatchedFiles
from jobs.job import Job, Options, Submission
from pipeline.support.encodable import encodable

log = logging.getLogger(__name__)

ANSWER_S = 30.0
"""Time without an answer after which a folder counts as gone, in seconds: a lost network drive can hang."""
UNEXPECTED = "an unexpected error happened, which is in the log"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Options for the recordings in all watched folders."""

    formats: tuple[str, ...]
    options: Options


@dataclass(frozen=True, slots=True)
class Place:
    """A watched folder, as the settings name it."""

    root: Path
    output: Path | None
    """The folder for the results; None: beside the recordings."""
    wanted: Wanted


@dataclass(slots=True)
class Shown:
    """The state of a watched folder, for people."""

    folder: str
    """Its name, without the folders above it."""
    status: str = "starting"
    """starting, watching, elsewhere (another process watches it), unavailable (it cannot be read), or blocked (its
    results cannot be written, or no job can be created)."""
    message: str | None = None
    waiting: int = 0
    """Number of its files that have no job yet."""


@dataclass(frozen=True, slots=True)
class Doors:
    """The parts of the job service that a watcher uses."""

    database: Database
    files: FileStore
    check: Callable[[Options], Awaitable[None]]
    """Raises BadInput or EngineUnavailable if no job can have these options."""
    submit: Callable[[Submission, Recorder], Awaitable[None]]
    render: Callable[[Job, str], Coroutine[object, object, str | bytes]]
    """Returns the transcript in a format. Raises NotPossible, Overloaded."""


class Folder:
    """One watched folder."""

    def __init__(self, place: Place, doors: Doors) -> None:
        self.root, self.wanted = place.root, place.wanted
        self.output = None if place.output is None else Output(place.output, doors.files.root)
        """The folder for the results; None: beside the recordings."""
        self.doors = doors
        self.rows = WatchedFiles(doors.database, place.root)
        self.shown = Shown(encodable(place.root.name))
        # Its own thread: a drive that hangs must not occupy one that others share.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="folder")

    async def io(self, work: Callable[..., T], *args: object) -> T:
        """Do work on the folder in its thread. While the folder does not answer, wait for it and start nothing else."""
        step = asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
        try:
            done, _ = await asyncio.wait([step], timeout=ANSWER_S)
            if not done:
                self.say("unavailable", f"it has not answered for {ANSWER_S:g} s")
                await asyncio.wait([step])
        except asyncio.CancelledError:
            step.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            raise
        return step.result()

    def say(self, status: str, message: str | None) -> None:
        """Show a state, and log it when it changes."""
        if (status, message) == (self.shown.status, self.shown.message):
            return
        self.shown.status, self.shown.message = status, message
        if status in ("unavailable", "blocked"):
            log.warning("the watched folder %s is %s: %s", self.root, status, message)
        else:
            log.info("the watched folder %s: %s", self.root, status)

    def close_file(self, descriptor: int) -> None:
        """Close a file in the thread, after a read that a cancellation has left there."""
        self._thread.submit(os.close, descriptor)

    def close(self) -> None:
        """End the thread, without waiting for a folder that does not answer."""
        self._thread.shutdown(wait=False)

"""The task of one watched folder: it looks into the folder, creates jobs for complete files, and writes their results.

It looks at intervals instead of waiting for events of the kernel: network drives and mounted folders of containers have
none, a new file is not complete yet, and libraries for such events follow links.

The folder is the queue: only a few jobs wait at a time, so a thousand recordings neither fill UPLOAD_DIR nor delay a
user. One process does this for each folder, the holder of a lock file.
"""

import asyncio
import errno
import hashlib
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from jobs.archives import is_archive
from jobs.database import Database
from jobs.errors import NotPossible, Refused
from jobs.file_kinds import HEAD_BYTES, plainly
from jobs.files import FileStore
from jobs.folders import looking, results
from jobs.folders.looking import Stamp
from jobs.folders.results import Written
from jobs.folders.rows import Due, Known, Recorder, WatchedFiles
from jobs.folders.settling import Settling
from jobs.names import safe_name
from jobs.schema import Job, Options, Submission
from jobs.states import Status
from pipeline.errors import Overloaded, ParleyError, StorageError
from pipeline.support.encodable import encodable
from pipeline.support.file_lock import locked, open_lock
from pipeline.support.storage_errors import FULL, storing

log = logging.getLogger(__name__)

LOOK_S = 2.0
"""Time between two looks into a folder, in seconds."""
SHARE = 20.0
"""Least time between two looks as a multiple of the time that a look takes, so that it costs 5 % of a core at most."""
RETRY_S = 15.0
"""Time after which a folder is tried again that cannot be used, in seconds."""
ANSWER_S = 30.0
"""Time without an answer after which a folder counts as gone, in seconds: a lost network drive can hang."""
AHEAD = 4
"""Jobs of watched folders that wait at a time."""
UNREADABLE_S = 60.0
"""Time after which a file is tried again that cannot be read, in seconds."""
ASIDE_S = 600.0
"""Time after which results are tried again that alone cannot be written, in seconds, if the folder stays the same."""
DRIVE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE})
"""Errors that the results of other files would have, too."""
UNEXPECTED = "an unexpected error happened, which is in the log"
KNOWN_AT_ONCE = 500
READ_BYTES = 1 << 20
ERROR = "error"
"""Name of the file with the error among the outputs, beside the formats."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Options for the recordings in all watched folders."""

    formats: tuple[str, ...]
    options: Options
    settle_s: float


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
    submit: Callable[[Submission, Recorder], Awaitable[None]]
    render: Callable[[Job, str], Coroutine[Any, Any, str | bytes]]
    """Returns the transcript in a format. Raises NotPossible, Overloaded."""


class _CannotWrite(Exception):
    """Results cannot be written; the cause is an OSError."""


class _Away(Exception):  # not an error
    """The recording is not in its place, beside which its results belong: its drive is not there, or it was moved."""


class Folder:
    """One watched folder."""

    def __init__(self, place: Place, doors: Doors) -> None:
        self.shown = Shown(encodable(place.root.name))
        self._root, self._output, self._wanted = place.root, place.output, place.wanted
        self._doors = doors
        self._rows = WatchedFiles(doors.database, place.root)
        self._settling = Settling(place.wanted.settle_s)
        # Its own thread: a drive that hangs must not occupy one that others share.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="folder")
        self._writable = False
        """Whether results could be written when that was tried last."""

    async def run(self) -> None:
        """Watch the folder until cancelled."""
        try:
            while True:
                try:
                    await self._locked()
                except OSError as error:
                    self._say("unavailable", f"it cannot be read: {error.strerror or type(error).__name__}")
                except StorageError as error:
                    self._say("blocked", error.message)
                except Exception:
                    log.exception("the watched folder %s failed; retrying in %g s", self._root, RETRY_S)
                    self._say("blocked", UNEXPECTED)
                await asyncio.sleep(RETRY_S)
        finally:
            self._thread.shutdown(wait=False)

    async def _locked(self) -> None:
        """Watch while this process holds the folder's lock. Raises OSError when the folder cannot be read: another
        process, for which it can be, then watches it."""
        await self._io(looking.identity, self._root)
        name = hashlib.sha256(os.fsencode(self._root)).hexdigest()[:16]
        with ExitStack() as stack:
            with storing("UPLOAD_DIR"):
                lock = await asyncio.to_thread(open_lock, self._doors.files.root / f"watch-{name}.lock")
                file = stack.enter_context(lock)
                while not locked(file):  # nothing tells of it
                    self._say("elsewhere", None)
                    await asyncio.sleep(LOOK_S)
            await self._watch()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        seen: tuple[int, int] | None = None
        while True:
            if (now := await self._io(looking.identity, self._root)) != seen:  # such as a drive that is back
                await self._rows.now()
                seen = now
            began = loop.time()
            found = await self._io(looking.look, self._root)
            took_s = loop.time() - began
            self._settling.seen(found, loop.time())
            if len(found) >= looking.MAX_FILES:
                log.warning("the watched folder %s has more than %d files; others wait", self._root, looking.MAX_FILES)
            wait_s = max(LOOK_S, SHARE * took_s)
            try:
                await self._write_results()
                await self._begin_jobs()
                self._say("watching", None)
            except _CannotWrite as error:
                self._writable = False
                self._say("blocked", str(error))
                wait_s = max(RETRY_S, wait_s)
            except (StorageError, Overloaded) as error:
                self._say("blocked", error.message)
                wait_s = max(RETRY_S, wait_s)
            self.shown.waiting = self._settling.waiting
            await asyncio.sleep(wait_s)

    async def _io(self, work: Callable[..., T], *args: Any) -> T:
        """Do work on the folder in its thread. While the folder does not answer, wait for it and start nothing else."""
        step = asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
        try:
            done, _ = await asyncio.wait([step], timeout=ANSWER_S)
            if not done:
                self._say("unavailable", f"it has not answered for {ANSWER_S:g} s")
                await asyncio.wait([step])
        except asyncio.CancelledError:
            step.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            raise
        return step.result()

    def _say(self, status: str, message: str | None) -> None:
        """Show a state, and log it when it changes."""
        if (status, message) == (self.shown.status, self.shown.message):
            return
        self.shown.status, self.shown.message = status, message
        if status in ("unavailable", "blocked"):
            log.warning("the watched folder %s is %s: %s", self._root, status, message)
        else:
            log.info("the watched folder %s: %s", self._root, status)

    # --- recordings in ---

    async def _begin_jobs(self) -> None:
        """Create jobs for complete files while there is room for them."""
        now = asyncio.get_running_loop().time()
        ready = self._settling.settled(now)
        if not ready:
            return
        room = AHEAD - await self._rows.queued()
        if room <= 0:
            return
        for at in range(0, len(ready), KNOWN_AT_ONCE):
            files = ready[at : at + KNOWN_AT_ONCE]
            known = await self._rows.known(files)
            for path, stamp in files:
                if path in known:
                    self._settling.done(path)
                    continue
                if room <= 0:
                    return
                if not self._writable:  # before the work, not after it
                    await self._check_writable()
                room -= await self._begin(path, stamp)

    async def _begin(self, path: str, stamp: Stamp) -> bool:
        """Create the job of a file; return whether there is one now."""
        try:
            descriptor = await self._io(looking.open_file, self._root, path)
            try:
                return await self._take(path, stamp, descriptor)
            except Refused as error:
                await self._refuse(path, stamp, error.message)
            finally:
                self._thread.submit(os.close, descriptor)  # after a read that a cancellation has left
        except FileNotFoundError:  # gone since the look, or a link now
            pass
        except OSError as error:
            log.warning("%r in the watched folder %s cannot be read: %s", path, self._root, error.strerror)
            self._later(path)
        except (StorageError, Overloaded, _CannotWrite):
            raise
        except ParleyError as error:  # such as a missing engine
            log.warning("%r in the watched folder %s gets no job: %s", path, self._root, error.message)
            self._later(path)
        except Exception:  # of this file: the others go on
            log.exception("%r in the watched folder %s gets no job", path, self._root)
            self._later(path)
        return False

    def _later(self, path: str) -> None:
        self._settling.again(path, asyncio.get_running_loop().time() + UNREADABLE_S)

    async def _take(self, path: str, stamp: Stamp, descriptor: int) -> bool:
        """Copy a file and create its job. Raises Refused for a file that is not accepted."""
        loop = asyncio.get_running_loop()
        if stamp.size_bytes > self._doors.files.max_bytes:
            raise Refused(f"The file is larger than {self._doors.files.max_bytes} bytes (MAX_FILE_SIZE).")
        if await self._io(looking.is_being_written, descriptor):
            self._settling.again(path, loop.time())
            return False
        head = await self._io(os.pread, descriptor, HEAD_BYTES, 0)
        if plainly(head) is not None:  # pictures, texts, and the results themselves
            self._settling.done(path)
            return False
        if is_archive(head):
            raise Refused("Archives are not unpacked here; put the recordings themselves into the folder.")
        async with self._doors.files.receive() as incoming:
            while data := await self._io(os.read, descriptor, READ_BYTES):
                await incoming.write(data)
            if not await self._io(self._is_same, path, stamp, descriptor):
                self._settling.again(path, loop.time())
                return False
            stored = await incoming.commit()
        name = safe_name(encodable(PurePosixPath(path).name)) or "audio"
        one = Submission(name, self._wanted.options, stored.sha256, stored.size_bytes, background=True)
        with suppress(Known):
            await self._doors.submit(one, self._rows.recorder(path, stamp))
            log.info("%r in the watched folder %s is being transcribed", path, self._root)
        self._settling.done(path)
        return True

    def _is_same(self, path: str, stamp: Stamp, descriptor: int) -> bool:
        """Whether the file that was read is still the one at this path, and has not changed while it was read."""
        return Stamp.of(os.fstat(descriptor)) == stamp == looking.stamp_of(self._root, path)

    # --- results out ---

    async def _write_results(self) -> None:
        """Write the results of jobs that have ended. Those that alone cannot be written are left for later. Raises
        _CannotWrite."""
        for one in await self._rows.due():
            try:
                await self._write(one)
                continue
            except _Away:
                log.info("%r is not in the watched folder %s; its results wait for it", one.path, self._root)
            except OSError as error:
                await self._only_this(one.path, error)
            except (StorageError, Overloaded):
                raise
            except Exception:  # of this file: the others go on
                log.exception("the results of %r in the watched folder %s cannot be written", one.path, self._root)
            await self._rows.later(one, ASIDE_S)

    async def _only_this(self, path: str, error: OSError) -> None:
        """Log an error at the results of one file. Raises _CannotWrite if it concerns others, too."""
        if error.errno in DRIVE:
            raise self._cannot_write(error) from error
        await self._check_writable()
        log.warning("the results of %r in the watched folder %s cannot be written: %s", path, self._root,
                    error.strerror or type(error).__name__)  # fmt: skip

    async def _check_writable(self) -> None:
        """Check that results can be written. Raises _CannotWrite."""

        def check() -> None:
            with looking.opened_folder(self._output or self._root, "x", make=self._output is not None) as folder:
                results.check_writable(folder)

        try:
            await self._io(check)
        except OSError as error:
            raise self._cannot_write(error) from error
        self._writable = True

    def _cannot_write(self, error: OSError) -> _CannotWrite:
        told = "its disk is full" if error.errno in FULL else (error.strerror or type(error).__name__)
        if self._output is not None:
            return _CannotWrite(f"results cannot be written to OUTPUT_DIR: {told}")
        return _CannotWrite(f"results cannot be written beside its files: {told}; set OUTPUT_DIR")

    async def _write(self, due: Due) -> None:
        outputs, job = dict(due.outputs), due.job
        if job is not None and job.status is Status.COMPLETED:
            made: dict[str, bytes] = {}
            failed: list[str] = []
            for kind in self._wanted.formats:
                try:
                    made[kind] = _bytes(await self._doors.render(job, kind))
                except NotPossible:  # deleted meanwhile: the next look finds it without a job
                    return
                except (StorageError, Overloaded):
                    raise
                except ParleyError as error:  # such as a PDF in a script without a font
                    log.warning("%r cannot be written as %s: %s", due.path, kind, error.message)
                    failed.append(f"{kind}: {error.message}\n")
                except Exception:
                    log.exception("%r cannot be written as %s", due.path, kind)
                    failed.append(f"{kind}: {UNEXPECTED}.\n")
            if made:
                outputs = await self._io(self._plan_now, due.path, tuple(made), outputs)
                await self._rows.planned(due, outputs)
            if failed:
                made[ERROR] = "".join(failed).encode()
            outputs = await self._put(due.path, made, outputs)
        elif job is not None and job.status in (Status.FAILED, Status.EXPIRED):
            message = job.error_message or "The transcription failed."
            log.warning("%r in the watched folder %s: %s", due.path, self._root, message)
            outputs = await self._put(due.path, {ERROR: f"{message}\n".encode()}, outputs)
        await self._rows.told(due, outputs)

    async def _refuse(self, path: str, stamp: Stamp, message: str) -> None:
        """Write why a file is not accepted. Raises _CannotWrite."""
        log.warning("%r in the watched folder %s: %s", path, self._root, message)
        before = await self._rows.outputs(path)
        try:
            outputs = await self._put(path, {ERROR: f"{message}\n".encode()}, before)
        except _Away:
            return
        except OSError as error:
            await self._only_this(path, error)
            self._later(path)
            return
        await self._rows.refused(path, stamp, outputs)
        self._settling.done(path)

    async def _put(self, path: str, made: dict[str, bytes], before: dict[str, Written]) -> dict[str, Written]:
        """Write the outputs of a file; return all that it has now. An error that no longer holds is removed."""
        return await self._io(self._put_now, path, made, before)

    def _put_now(self, path: str, made: dict[str, bytes], before: dict[str, Written]) -> dict[str, Written]:
        outputs = dict(before)
        with self._beside(path) as folder:
            for kind, data in made.items():
                known = before.get(kind)
                if kind == ERROR:  # no other file has this name: one of the same content is this one
                    known = results.plan(folder, *_named(path, kind), known)
                outputs[kind] = results.write(folder, *_named(path, kind), data, known)
            if ERROR not in made and ERROR in outputs:
                results.remove(folder, outputs.pop(ERROR))
        return outputs

    def _plan_now(self, path: str, kinds: tuple[str, ...], before: dict[str, Written]) -> dict[str, Written]:
        with self._beside(path) as folder:
            return {**before, **{kind: results.plan(folder, *_named(path, kind), before.get(kind)) for kind in kinds}}

    @contextmanager
    def _beside(self, path: str) -> Iterator[int]:
        """Open the folder for the results of a file. Raises _Away when they belong beside it and it is not there: an
        unmounted drive leaves an empty folder, in which they would be hidden when it is back."""
        if self._output is not None:
            with looking.opened_folder(self._output, path, make=True) as folder:
                yield folder
            return
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(looking.opened_folder(self._root, path))
                os.stat(PurePosixPath(path).name, dir_fd=folder, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                raise _Away from None
            yield folder


def _named(path: str, kind: str) -> tuple[str, str]:
    """Return stem and ending of an output of the file at this path."""
    name = PurePosixPath(path)
    return (name.name, ".error.txt") if kind == ERROR else (name.stem, f".{kind}")


def _bytes(text: str | bytes) -> bytes:
    return encodable(text).encode() if isinstance(text, str) else text

"""The results of one watched folder: rendered in its formats, and written beside the recordings or to OUTPUT_DIR.

An output is a file in one of the formats, or the text of an error. `results` writes each.
"""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import PurePosixPath

from jobs.errors import NotPossible
from jobs.folders import looking, results
from jobs.folders.folder import UNEXPECTED, Folder
from jobs.folders.looking import Stamp
from jobs.folders.results import Written
from jobs.folders.rows import Due
from jobs.states import Status
from pipeline.errors import Overloaded, ParleyError, StorageError
from pipeline.support.encodable import encodable
from pipeline.support.storage_errors import FULL

log = logging.getLogger(__name__)

ASIDE_S = 600.0
"""Time after which results are tried again that alone cannot be written, in seconds, if the folder stays the same."""
DRIVE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE})
"""Errors that the results of other files would have, too."""
ERROR = "error"
"""Name of the file with the error among the outputs, beside the formats."""


class CannotWrite(Exception):
    """Results cannot be written; the cause is an OSError."""


class Away(Exception):  # not an error
    """The recording is not in its place, beside which its results belong: its drive is not there, or it was moved."""


class ResultWriter:
    """Writes the results of one watched folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._writable = False
        """Whether results could be written when that was tried last."""

    async def write_due(self) -> None:
        """Write the results of jobs that have ended. Those that alone cannot be written are left for later. Raises
        CannotWrite."""
        root = self._folder.root
        for one in await self._folder.rows.due():
            try:
                await self._write(one)
                continue
            except Away:
                log.info("%r is not in the watched folder %s; its results wait for it", one.path, root)
            except OSError as error:
                await self._only_this(one.path, error)
            except (StorageError, Overloaded):
                raise
            except Exception:  # of this file: the others go on
                log.exception("the results of %r in the watched folder %s cannot be written", one.path, root)
            await self._folder.rows.later(one, ASIDE_S)

    async def refuse(self, path: str, stamp: Stamp, message: str) -> bool:
        """Write why a file is not accepted; return False if that alone cannot be written. Raises Away, CannotWrite."""
        before = await self._folder.rows.outputs(path)
        try:
            outputs = await self._put(path, {ERROR: f"{message}\n".encode()}, before)
        except OSError as error:
            await self._only_this(path, error)
            return False
        await self._folder.rows.refused(path, stamp, outputs)
        return True

    async def ensure_writable(self) -> None:
        """Check that results can be written, if that is not known. Raises CannotWrite."""
        if not self._writable:
            await self._check_writable()

    async def _write(self, due: Due) -> None:
        outputs, job = dict(due.outputs), due.job
        if job is not None and job.status is Status.COMPLETED:
            made: dict[str, bytes] = {}
            failed: list[str] = []
            for kind in self._folder.wanted.formats:
                try:
                    made[kind] = _bytes(await self._folder.doors.render(job, kind))
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
                outputs = await self._folder.io(self._plan_now, due.path, tuple(made), outputs)
                await self._folder.rows.planned(due, outputs)
            if failed:
                made[ERROR] = "".join(failed).encode()
            outputs = await self._put(due.path, made, outputs)
        elif job is not None and job.status in (Status.FAILED, Status.EXPIRED):
            message = job.error_message or "The transcription failed."
            log.warning("%r in the watched folder %s: %s", due.path, self._folder.root, message)
            outputs = await self._put(due.path, {ERROR: f"{message}\n".encode()}, outputs)
        await self._folder.rows.told(due, outputs)

    async def _only_this(self, path: str, error: OSError) -> None:
        """Log an error at the results of one file. Raises CannotWrite if it concerns others, too."""
        if error.errno in DRIVE:
            raise self._cannot_write(error) from error
        await self._check_writable()
        log.warning("the results of %r in the watched folder %s cannot be written: %s", path, self._folder.root,
                    error.strerror or type(error).__name__)  # fmt: skip

    async def _check_writable(self) -> None:
        """Check that results can be written. Raises CannotWrite."""

        def check() -> None:
            root, output = self._folder.root, self._folder.output
            with output.opened("x") if output is not None else looking.opened_folder(root, "x") as folder:
                results.check_writable(folder)

        try:
            await self._folder.io(check)
        except OSError as error:
            raise self._cannot_write(error) from error
        self._writable = True

    def _cannot_write(self, error: OSError) -> CannotWrite:
        self._writable = False
        told = "its disk is full" if error.errno in FULL else (error.strerror or type(error).__name__)
        if self._folder.output is not None:
            return CannotWrite(f"results cannot be written to OUTPUT_DIR: {told}")
        return CannotWrite(f"results cannot be written beside its files: {told}; set OUTPUT_DIR")

    async def _put(self, path: str, made: dict[str, bytes], before: dict[str, Written]) -> dict[str, Written]:
        """Write the outputs of a file; return all that it has now. An error that no longer holds is removed."""
        return await self._folder.io(self._put_now, path, made, before)

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
        """Open the folder for the results of a file. Raises Away when they belong beside it and it is not there: an
        unmounted drive leaves an empty folder, in which they would be hidden when it is back."""
        if self._folder.output is not None:
            with self._folder.output.opened(path) as folder:
                yield folder
            return
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(looking.opened_folder(self._folder.root, path))
                os.stat(PurePosixPath(path).name, dir_fd=folder, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                raise Away from None
            yield folder


def _named(path: str, kind: str) -> tuple[str, str]:
    """Return stem and ending of an output of the file at this path."""
    name = PurePosixPath(path)
    return (name.name, ".error.txt") if kind == ERROR else (name.stem, f".{kind}")


def _bytes(text: str | bytes) -> bytes:
    return encodable(text).encode() if isinstance(text, str) else text

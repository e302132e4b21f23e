"""Looking into a watched folder, which other programs and users change at the same time.

Links are never followed, at any level, because they lead out of the folder: each sub-folder is opened relative to the
one that holds it, so a folder cannot be exchanged for a link in between. All functions block, and raise OSError.
"""

import contextlib
import fcntl
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MAX_DEPTH = 16
"""Levels of sub-folders that are looked into."""
MAX_FILES = 100_000
"""Files of one folder that are looked at; more take too long each time."""
UNFINISHED = frozenset(
    {".part", ".partial", ".crdownload", ".download", ".opdownload", ".tmp", ".temp", ".filepart", ".!ut", ".aria2"}
)
"""Endings of files that browsers and other programs are still writing; they rename them when they are complete."""
FOREIGN = frozenset({"@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__MACOSX"})
"""Sub-folders that systems and network drives make for themselves."""
MOST_TIME = (1 << 63) - 1
"""Largest time of a file that a database stores, in ns (the year 2262); some file systems store later ones."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LEASES = all(hasattr(fcntl, name) for name in ("F_SETLEASE", "F_SETSIG"))
"""Whether this system tells that a file is open for writing: Linux does."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Size and time of the last change of a file, which change when its content does."""

    size_bytes: int
    mtime_ns: int

    @staticmethod
    def of(found: os.stat_result) -> "Stamp":
        return Stamp(found.st_size, max(-MOST_TIME, min(found.st_mtime_ns, MOST_TIME)))


def is_ignored(name: str) -> bool:
    """Whether a file of this name is hidden, or says that it is incomplete."""
    return name.startswith((".", "~$")) or PurePosixPath(name).suffix.casefold() in UNFINISHED


def look(root: Path) -> dict[str, Stamp]:
    """Return the files in a folder and its sub-folders, by their paths in it, up to MAX_FILES. A sub-folder that cannot
    be read counts as empty."""
    found: dict[str, Stamp] = {}
    descriptor = os.open(root, _FOLDER)
    try:
        _look(descriptor, "", found, MAX_DEPTH)
    finally:
        os.close(descriptor)
    return found


def identity(root: Path) -> tuple[int, int]:
    """Return the device and the number of the folder: others when a drive is mounted there. Checks that the folder can
    be opened."""
    descriptor = os.open(root, _FOLDER)
    try:
        told = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return told.st_dev, told.st_ino


def _look(folder: int, prefix: str, found: dict[str, Stamp], depth: int) -> None:
    below: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if len(found) >= MAX_FILES:
                return
            with contextlib.suppress(OSError):  # gone, or in a folder whose names can be read and nothing else
                if entry.is_dir(follow_symlinks=False):
                    if not entry.name.startswith(".") and entry.name not in FOREIGN:
                        below.append(entry.name)
                elif not is_ignored(entry.name):
                    told = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(told.st_mode):
                        found[prefix + entry.name] = Stamp.of(told)
    if not depth:
        return
    for name in below:
        with contextlib.suppress(OSError):  # such as one that is a link now
            inside = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            try:
                _look(inside, f"{prefix}{name}/", found, depth - 1)
            finally:
                os.close(inside)


@contextmanager
def opened_folder(
    root: Path,
    path: str,
    *,
    make: bool = False,
    make_root: bool = True,
    check: Callable[[int], None] = lambda folder: None,
) -> Iterator[int]:
    """Open the sub-folder of `root` that holds the file at this path. make: create what is missing, with `root` if
    `make_root`. check: called with the descriptor of `root` before anything is created in it; raises OSError."""
    if ".." in PurePosixPath(path).parts or path.startswith("/"):
        raise FileNotFoundError("the path leads out of the folder")
    if make and make_root:
        root.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:

        def kept(descriptor: int) -> int:
            stack.callback(os.close, descriptor)
            return descriptor

        folder = kept(os.open(root, _FOLDER))
        check(folder)
        for name in PurePosixPath(path).parts[:-1]:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=folder)
            folder = kept(os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder))
        yield folder


def open_file(root: Path, path: str) -> int:
    """Open the file at this path in a folder for reading; return its descriptor. Raises OSError, also if it is not a
    regular file now."""
    with opened_folder(root, path) as folder:
        # Without blocking: opening a pipe would wait for its writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(PurePosixPath(path).name, flags, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError("not a regular file")
    return descriptor


def stamp_of(root: Path, path: str) -> Stamp | None:
    """Return the stamp of the file that is at this path now, or None without one."""
    try:
        with opened_folder(root, path) as folder:
            return Stamp.of(os.stat(PurePosixPath(path).name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return None


def is_being_written(descriptor: int) -> bool:
    """Whether any process has the file open for writing, where the system tells: on Linux, for files of this user on a
    local disk. False where it does not."""
    if not _LEASES:
        return False
    try:
        # A writer that opens the file while the lease is held makes the kernel send this signal, which is ignored by
        # default; the usual one would end the process.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False

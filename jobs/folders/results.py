"""Results as files: complete or not at all, and never in the place of a file that this service has not written.

A file is written under a hidden name beside its place, and gets its name when it is complete. All functions block, and
raise OSError.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace

from jobs.folders.looking import Stamp

MOST_NAMES = 1_000
"""Numbers that are tried when files of the wanted name exist."""
MAX_NAME_BYTES = 255
"""Longest name of a file, in the usual file systems."""
NO_LINKS = frozenset({errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""Errors of file systems without hard links, such as FAT and some network drives."""
NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
"""Errors of file systems that cannot write a folder to the disk at once, such as some network drives."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written, as it was then."""

    name: str
    """Empty: it was only planned."""
    size_bytes: int
    mtime_ns: int
    planned: str = ""
    """The name of the file that was to be written next: if the service ends before it notes that it has, the file is
    there already."""


def plan(folder: int, stem: str, ending: str, before: Written | None) -> Written:
    """Return `before` with the name that `write` uses now; to be stored before that."""
    known = before or Written("", 0, 0)
    if known.planned:
        return known
    if _is_unchanged(folder, known):
        return replace(known, planned=known.name)
    return replace(known, planned=next((name for name in _names(stem, ending) if not _exists(folder, name)), ""))


def write(folder: int, stem: str, ending: str, data: bytes, before: Written | None) -> Written:
    """Write a file into a folder, given as its descriptor. Its name is `stem` and `ending`, or with a number between
    them if another file has that name.

    before: the file that this one replaces, unless it was changed. A file of its planned name and of the same content
    counts as this one.
    """
    if before is not None and before.planned and _has(folder, before.planned, data):
        return _written(folder, before.planned)
    hidden = f".{secrets.token_hex(8)}.part"
    _create(folder, hidden, data)
    try:
        if before is not None and _is_unchanged(folder, before):
            os.replace(hidden, before.name, src_dir_fd=folder, dst_dir_fd=folder)
            name = before.name
        else:
            name = _place(folder, hidden, stem, ending)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(hidden, dir_fd=folder)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    return _written(folder, name)


def remove(folder: int, before: Written) -> None:
    """Remove a file that was written earlier, unless it was changed since."""
    if _is_unchanged(folder, before):
        os.unlink(before.name, dir_fd=folder)


def mark(folder: int, name: str) -> None:
    """Create an empty file in the folder, given as its descriptor, unless it exists."""
    with contextlib.suppress(FileExistsError):
        _create(folder, name, b"")


def check_writable(folder: int) -> None:
    """Raises OSError if no file can be written into the folder, given as its descriptor."""
    hidden = f".{secrets.token_hex(8)}.part"
    _create(folder, hidden, b"")
    os.unlink(hidden, dir_fd=folder)


def _create(folder: int, name: str, data: bytes) -> None:
    # Readable like the files beside it: the folder belongs to its users, and its mode decides.
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(descriptor)


def _place(folder: int, hidden: str, stem: str, ending: str) -> str:
    """Give a complete file the first free name, and return the name."""
    for name in _names(stem, ending):
        if _take(folder, hidden, name):
            return name
    raise FileExistsError(errno.EEXIST, "too many files of this name exist")


def _names(stem: str, ending: str) -> Iterator[str]:
    for number in range(1, MOST_NAMES + 1):
        end = ending if number == 1 else f" ({number}){ending}"
        short = stem
        while len(os.fsencode(short + end)) > MAX_NAME_BYTES:
            short = short[:-1]
        yield short + end


def _take(folder: int, hidden: str, name: str) -> bool:
    """Give a file this name; return False if another file has it."""
    try:
        os.link(hidden, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        try:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder))
        except FileExistsError:
            return False
        os.replace(hidden, name, src_dir_fd=folder, dst_dir_fd=folder)
    return True


def _has(folder: int, name: str, data: bytes) -> bool:
    """Whether the file of this name has exactly this content."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False
    with open(descriptor, "rb") as file:
        told = os.fstat(descriptor)
        return stat.S_ISREG(told.st_mode) and told.st_size == len(data) and file.read(len(data)) == data


def _written(folder: int, name: str) -> Written:
    stamp = Stamp.of(os.stat(name, dir_fd=folder, follow_symlinks=False))
    return Written(name, stamp.size_bytes, stamp.mtime_ns)


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_unchanged(folder: int, before: Written) -> bool:
    if not before.name:
        return False
    try:
        found = os.stat(before.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and Stamp.of(found) == Stamp(before.size_bytes, before.mtime_ns)

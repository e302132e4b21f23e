"""Checks that the files of an SQLite database are still those that a connection has opened.

SQLite continues to use a file that was removed or replaced, and cached pages of a file that was overwritten. Its
commits are then lost. So the files are checked before and after each transaction, and each transaction drops the pages
cached by the previous one.
"""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

from sqlalchemy import Connection

MAGIC = b"SQLite format 3\0"
WAL_MAGIC = b"\x37\x7f\x06"
"""First bytes of a write-ahead log; the next byte is the byte order of its checksums."""
SUFFIXES = ("", "-wal", "-shm")
CHECKED_BYTES = 256 << 20
"""Maximum size for a full check at the start; for a larger database that would take seconds."""
NEEDED_BYTES = 64 << 10
"""Free space that SQLite needs on the disk to enlarge its index."""

Identity = tuple[tuple[int, int], ...]
"""Device and inode of the database, its write-ahead log and that log's index."""


class Damaged(sqlite3.DatabaseError):
    """The files are not those that were opened."""


class SqliteFile:
    """The files of one database. All methods block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Kept open: closing a file releases all locks of this process on it (POSIX), including SQLite's own.
        self._opened: dict[tuple[int, int], int] = {}
        self.created = False
        """Whether the database has its tables, so that an empty file is no longer a new database."""

    def identity(self) -> Identity:
        """Return the identity of the existing files. Raises OSError."""
        stats = [os.stat(f"{self.path}{suffix}") for suffix in SUFFIXES]
        return tuple((stat.st_dev, stat.st_ino) for stat in stats)

    def check_before_opening(self) -> None:
        """Check the first bytes of a database that was created earlier, before a connection opens it.

        SQLite takes an empty file for a new database, removes its write-ahead log, and waits `BUSY_MS` for the
        connections that have still opened the log. Raises Damaged.
        """
        if self.created:
            try:
                stat = os.stat(self.path)
                head = self._head((stat.st_dev, stat.st_ino))
            except OSError as error:
                raise Damaged(f"the file cannot be read: {error.strerror}") from None
            if head != MAGIC:
                raise Damaged("the file is damaged")

    def _head(self, file: tuple[int, int]) -> bytes:
        return os.pread(self._descriptor(file), len(MAGIC), 0)

    def _descriptor(self, file: tuple[int, int]) -> int:
        if file not in self._opened:
            self._opened[file] = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        return self._opened[file]

    def opened(self) -> Identity:
        """Return the identity for a connection that was just opened, for `check` to compare. Raises OSError."""
        found = self.identity()
        self._descriptor(found[0])
        return found

    def check(self, opened: Identity) -> None:
        """Raises Damaged when the files are not those that were opened, or begin with the wrong bytes."""
        try:
            found = self.identity()
            if found != opened:
                raise Damaged("the file was replaced while it was in use")
            head = self._head(found[0])
            with open(f"{self.path}-wal", "rb") as file:  # may be closed: SQLite does not lock this file
                log = file.read(len(WAL_MAGIC))
        except OSError as error:
            raise Damaged(f"the file cannot be read: {error.strerror}") from None
        if head != MAGIC or log not in (b"", WAL_MAGIC):
            raise Damaged("the file is damaged")

    def close(self) -> None:
        """Close the files, after all connections."""
        while self._opened:
            os.close(self._opened.popitem()[1])


def check_pages(connection: Connection, path: Path) -> None:
    """Check a database at the start. Raises Damaged if its pages are inconsistent."""
    if path.stat().st_size <= CHECKED_BYTES:
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if found != "ok":
            raise Damaged(f"it is damaged ({found.splitlines()[-1]})")


def is_full(error: BaseException, folder: Path | None) -> bool:
    """Whether SQLite failed for lack of space. For its index it only reports "disk I/O error"."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF == sqlite3.SQLITE_IOERR and folder is not None:
        with contextlib.suppress(OSError):
            return shutil.disk_usage(folder).free < NEEDED_BYTES
    return bool(code & 0xFF == sqlite3.SQLITE_FULL)

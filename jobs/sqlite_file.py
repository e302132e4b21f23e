"""The files of an SQLite database, and whether they still are what a connection has opened.

SQLite keeps on working with a file that was removed or replaced, and with pages that it remembers of one that was
overwritten. What it commits then is lost. So the files are looked at before and after each transaction, and a
transaction forgets the pages of the one before it.
"""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

from sqlalchemy import Connection

MAGIC = b"SQLite format 3\0"
WAL_MAGIC = b"\x37\x7f\x06"
"""How a write-ahead log begins; the byte that follows says which byte order its checksums have."""
SUFFIXES = ("", "-wal", "-shm")
CHECKED_BYTES = 256 << 20
"""A larger database is not checked as a whole at the start: that would take seconds."""
NEEDED_BYTES = 64 << 10
"""With less than this on its disk, SQLite cannot enlarge its index."""

Identity = tuple[tuple[int, int], ...]
"""Device and inode of the database, its write-ahead log and the index of that."""


class Damaged(sqlite3.DatabaseError):
    """The files are not what was opened."""


class SqliteFile:
    """The files of one database. All of it blocks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Kept open: to close a file ends all locks that this process has on it (POSIX), SQLite's own included.
        self._opened: dict[tuple[int, int], int] = {}

    def identity(self) -> Identity:
        """Of the files that are there now. Raises OSError."""
        stats = [os.stat(f"{self.path}{suffix}") for suffix in SUFFIXES]
        return tuple((stat.st_dev, stat.st_ino) for stat in stats)

    def opened(self) -> Identity:
        """The same, for a connection that has just been opened; `check` compares with it. Raises OSError."""
        found = self.identity()
        if found[0] not in self._opened:
            self._opened[found[0]] = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        return found

    def check(self, opened: Identity) -> None:
        """Raises Damaged when the files are not those that were opened, or do not begin as they must."""
        try:
            found = self.identity()
            if found != opened:
                raise Damaged("the file was replaced while it was in use")
            head = os.pread(self._opened[found[0]], len(MAGIC), 0)
            with open(f"{self.path}-wal", "rb") as file:  # SQLite has no locks on this one
                log = file.read(len(WAL_MAGIC))
        except OSError as error:
            raise Damaged(f"the file cannot be read: {error.strerror}") from None
        if head != MAGIC or log not in (b"", WAL_MAGIC):
            raise Damaged("the file is damaged")

    def close(self) -> None:
        """When no connection is left."""
        while self._opened:
            os.close(self._opened.popitem()[1])


def check_pages(connection: Connection, path: Path) -> None:
    """Once, at the start. Raises Damaged for a database whose pages do not fit together."""
    if path.stat().st_size <= CHECKED_BYTES:
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if found != "ok":
            raise Damaged(f"it is damaged ({found.splitlines()[-1]})")


def is_full(error: BaseException, folder: Path | None) -> bool:
    """Whether SQLite failed for lack of space. For its index it says no more than "disk I/O error"."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF == sqlite3.SQLITE_IOERR and folder is not None:
        with contextlib.suppress(OSError):
            return shutil.disk_usage(folder).free < NEEDED_BYTES
    return bool(code & 0xFF == sqlite3.SQLITE_FULL)

"""Storage of uploaded and downloaded files: written and hashed while they arrive, stored once per content.

A file is `incoming/PROCESS/RANDOM` until it is complete, and then `ab/abcdef…`, its SHA-256. Incomplete files are
removed when their process ends, or at the start of the next one.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from jobs.errors import Refused, TooLarge
from jobs.file_kinds import HEAD_BYTES
from pipeline.errors import ConfigError, StorageFailed
from pipeline.support.private_files import opener, private_folder
from pipeline.support.storage_errors import storage_error, storing

SETTING = "UPLOAD_DIR"
LOCK = ".lock"
YOUNG_S = 3600.0
"""Age in seconds below which a file is never removed as unused: its job may not be in the database yet."""
WRITE_BYTES = 1 << 20
"""Approximate size of one write to the disk."""
PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]")
"""First bytes of files that name other files, which decoders would open."""


def is_playlist(head: bytes) -> bool:
    """Whether a file that begins with these bytes names other files."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(PLAYLISTS)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A complete file."""

    sha256: str
    size_bytes: int


class Incoming:
    """A file that is being received. `commit` stores it; as a context manager, it is removed at the end unless
    committed."""

    def __init__(self, store: "FileStore", path: Path, file: IO[bytes], max_bytes: int) -> None:
        self._store = store
        self.path = path
        self._file = file
        self.max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._held = 0
        self.size_bytes = 0
        """Bytes received so far."""
        self.head = b""
        """The first bytes, enough to detect the kind of file."""

    async def write(self, data: bytes) -> None:
        """Add the next bytes. Raises TooLarge as soon as the limit is exceeded, StorageError."""
        if self._take(data):
            await asyncio.to_thread(self._flush)

    def write_now(self, data: bytes) -> None:
        """Add the next bytes. Blocks; for callers in a thread."""
        if self._take(data):
            self._flush()

    def _take(self, data: bytes) -> bool:
        self.size_bytes += len(data)
        if self.size_bytes > self.max_bytes:
            raise TooLarge(f"The file is larger than {self.max_bytes} bytes (MAX_FILE_SIZE).")
        if len(self.head) < HEAD_BYTES:
            self.head = (self.head + data)[:HEAD_BYTES]
        self._waiting.append(data)
        self._held += len(data)
        return self._held >= WRITE_BYTES

    def _flush(self) -> None:
        data = memoryview(b"".join(self._waiting))
        self._waiting, self._held = [], 0
        self._hash.update(data)
        with storing(SETTING):
            while data:  # an unbuffered file may accept only a part, and report a full disk at the next write
                data = data[self._file.write(data) :]

    async def restart(self) -> None:
        """Discard the bytes received so far and start again."""
        self._waiting, self._held, self.size_bytes, self.head = [], 0, 0, b""
        self._hash = hashlib.sha256()
        with storing(SETTING):
            await asyncio.to_thread(lambda: (self._file.seek(0), self._file.truncate()))

    async def complete(self) -> Path:
        """Write and check the complete file; return its path. Raises Refused for files that are never accepted."""
        await asyncio.to_thread(self._flush)
        await asyncio.to_thread(self._file.flush)
        self.check()
        return self.path

    def check(self) -> None:
        """Raises Refused: empty_message, bad_audio (a playlist)."""
        if not self.size_bytes:
            raise Refused("The file is empty.", code="empty_message")
        if is_playlist(self.head):
            raise Refused("Playlists are not audio.", code="bad_audio")

    async def commit(self) -> StoredFile:
        """Store the file, so that it survives a crash."""
        return await asyncio.to_thread(self._commit)

    def _commit(self) -> StoredFile:
        self._flush()
        self.check()
        stored = StoredFile(self._hash.hexdigest(), self.size_bytes)
        with storing(SETTING):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._store.adopt(self.path, stored.sha256)
        return stored

    def discard(self) -> None:
        """Remove the file unless it was committed. Blocks."""
        self._file.close()
        with contextlib.suppress(OSError):  # the folder may be gone or read-only
            self.path.unlink(missing_ok=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        # Not awaited, so that a cancellation cannot leave a file behind; it takes no time.
        self.discard()


class FileStore:
    """The files under UPLOAD_DIR."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        """Raises ConfigError when the folder cannot be written to."""
        self.root = root
        self.max_bytes = max_bytes
        # Each process has its own folder, so that it does not touch files that others are receiving.
        self._incoming = root / "incoming" / secrets.token_hex(8)
        try:
            private_folder(self._incoming)
            self._alive = open(self._incoming / LOCK, "xb", opener=opener)  # noqa: SIM115  # until `close`
            fcntl.flock(self._alive, fcntl.LOCK_EX)
        except OSError as error:
            raise ConfigError(f"Files cannot be stored in {root}: {error.strerror}. Set UPLOAD_DIR.") from None
        self.forget_incoming()

    def close(self) -> None:
        """Remove this process's incomplete files. Blocks."""
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._alive.close()

    def receive(self, max_bytes: int | None = None) -> Incoming:
        """Begin a new file; enter it with `async with`. Raises StorageError."""
        path = self._incoming / secrets.token_hex(16)
        # Unbuffered: `Incoming` joins chunks, and bytes in a buffer would be lost with this process.
        with storing(SETTING):
            file = open(path, "xb", buffering=0, opener=opener)  # noqa: SIM115  # `Incoming` closes it
        return Incoming(self, path, file, max_bytes or self.max_bytes)

    def path(self, sha256: str) -> Path:
        """Return the path of the file with this hash, which may not exist."""
        return self.root / sha256[:2] / sha256

    def adopt(self, path: Path, sha256: str) -> None:
        """Move a complete file to its final path. Blocks. If that file exists already, keep it and renew its age."""
        target = self.path(sha256)
        private_folder(target.parent)
        try:
            os.utime(target)
        except FileNotFoundError:
            path.replace(target)
            _sync_folder(target.parent)
        else:
            path.unlink()

    def open(self, sha256: str) -> IO[bytes]:
        """Open the file with this hash for reading. Blocks. Raises FileNotFoundError, StorageError."""
        try:
            return self.path(sha256).open("rb")
        except FileNotFoundError:
            if self._incoming.is_dir():
                raise
            raise StorageFailed(f"{SETTING} does not exist.", setting=SETTING) from None
        except OSError as error:
            raise storage_error(error, SETTING) from error

    def forget_incoming(self) -> None:
        """Remove incomplete files of processes that have ended, which no longer hold their lock. Blocks."""
        for folder in (self.root / "incoming").iterdir():
            try:
                with (folder / LOCK).open("rb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            except FileNotFoundError:
                # The folder was just created, or is being removed.
                with contextlib.suppress(OSError):
                    if time.time() - folder.stat().st_mtime > YOUNG_S:
                        shutil.rmtree(folder, ignore_errors=True)
            except OSError:
                continue  # its process is alive

    def unused(self, used: Iterable[str]) -> list[str]:
        """Remove files that are neither in use nor young; return their names. Blocks."""
        keep, removed = set(used), []
        for path in self.root.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                if path.name not in keep and time.time() - path.stat().st_mtime > YOUNG_S:
                    path.unlink()
                    removed.append(path.name)
        self.forget_incoming()
        return removed


def _sync_folder(folder: Path) -> None:
    """Sync a folder, so that the new name of a renamed file survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Uploaded and fetched files: written while they arrive, hashed on the way, kept once for each content.

A file is `incoming/PROCESS/RANDOM` until it is complete, and then `ab/abcdef…`, its SHA-256. What a process did not
receive completely goes with it, or when the next one starts.
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
from jobs.sniffing import HEAD_BYTES
from pipeline.errors import ConfigError, StorageFailed
from pipeline.private import opener, private_folder
from pipeline.storing import storage_error, storing

SETTING = "UPLOAD_DIR"
LOCK = ".lock"
YOUNG_S = 3600.0
"""A file this young is never removed as unused: the job that it is for may not be written yet."""
WRITE_BYTES = 1 << 20
"""Written to the disk in pieces of about so much."""
PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]")
"""How files begin that name other files. Decoders would open what they name."""


def is_playlist(head: bytes) -> bool:
    """Whether a file that begins like this names others."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(PLAYLISTS)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A complete file."""

    sha256: str
    size_bytes: int


class Incoming:
    """A file that arrives. Leave it with `commit`, or by its end as a context manager: then nothing is left of it."""

    def __init__(self, store: "FileStore", path: Path, file: IO[bytes], max_bytes: int) -> None:
        self._store = store
        self.path = path
        self._file = file
        self.max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._held = 0
        self.size_bytes = 0
        """Received so far."""
        self.head = b""
        """The first bytes, as many as tell what it is."""

    async def write(self, data: bytes) -> None:
        """The next bytes. Raises TooLarge as soon as they are more than allowed, StorageError."""
        if self._take(data):
            await asyncio.to_thread(self._flush)

    def write_now(self, data: bytes) -> None:
        """The same for who is in a thread already."""
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
            while data:  # a file without a buffer may take a part, and say so only then that the disk is full
                data = data[self._file.write(data) :]

    async def restart(self) -> None:
        """Begin again from the first byte."""
        self._waiting, self._held, self.size_bytes, self.head = [], 0, 0, b""
        self._hash = hashlib.sha256()
        with storing(SETTING):
            await asyncio.to_thread(lambda: (self._file.seek(0), self._file.truncate()))

    async def complete(self) -> Path:
        """Everything is here; the path, to look into it. Raises Refused for what is not taken in whatever it is for."""
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
        """Keep it; from here on it survives a crash."""
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
        """Blocking: nothing is left of it, unless it was committed."""
        self._file.close()
        with contextlib.suppress(OSError):  # the folder may be gone, or read-only by now
            self.path.unlink(missing_ok=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        # Not to be broken off by a cancellation: it takes no time, and a file would stay.
        self.discard()


class FileStore:
    """The files under UPLOAD_DIR."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        """Raises ConfigError when the folder cannot be written to."""
        self.root = root
        self.max_bytes = max_bytes
        # A folder of this process's own: what others receive at the same time is none of its business.
        self._incoming = root / "incoming" / secrets.token_hex(8)
        try:
            private_folder(self._incoming)
            self._alive = open(self._incoming / LOCK, "xb", opener=opener)  # noqa: SIM115  # until `close`
            fcntl.flock(self._alive, fcntl.LOCK_EX)
        except OSError as error:
            raise ConfigError(f"Files cannot be kept in {root}: {error.strerror}. Set UPLOAD_DIR.") from None
        self.forget_incoming()

    def close(self) -> None:
        """Blocking: nothing more will arrive."""
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._alive.close()

    def receive(self, max_bytes: int | None = None) -> Incoming:
        """A new file; enter it with `async with`. Raises StorageError."""
        path = self._incoming / secrets.token_hex(16)
        # Unbuffered: `Incoming` joins pieces, and bytes in a buffer of this process would be lost with it.
        with storing(SETTING):
            file = open(path, "xb", buffering=0, opener=opener)  # noqa: SIM115  # `Incoming` closes it
        return Incoming(self, path, file, max_bytes or self.max_bytes)

    def path(self, sha256: str) -> Path:
        """Where the file of this content is, or would be."""
        return self.root / sha256[:2] / sha256

    def adopt(self, path: Path, sha256: str) -> None:
        """Blocking: a complete file becomes the one of its content; one that is there already stays, and is young."""
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
        """Blocking: the file of this content, for reading. Raises FileNotFoundError, StorageError."""
        try:
            return self.path(sha256).open("rb")
        except FileNotFoundError:
            if self._incoming.is_dir():
                raise
            raise StorageFailed(f"{SETTING} is not there.", setting=SETTING) from None
        except OSError as error:
            raise storage_error(error, SETTING) from error

    def forget_incoming(self) -> None:
        """Blocking: remove what processes that are gone did not receive completely. A lock ends with its process."""
        for folder in (self.root / "incoming").iterdir():
            try:
                with (folder / LOCK).open("rb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            except FileNotFoundError:
                # Begun this very moment, or half removed.
                with contextlib.suppress(OSError):
                    if time.time() - folder.stat().st_mtime > YOUNG_S:
                        shutil.rmtree(folder, ignore_errors=True)
            except OSError:
                continue  # its process lives

    def unused(self, used: Iterable[str]) -> list[str]:
        """Blocking: remove files that are in nobody's use and not young; their names."""
        keep, removed = set(used), []
        for path in self.root.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                if path.name not in keep and time.time() - path.stat().st_mtime > YOUNG_S:
                    path.unlink()
                    removed.append(path.name)
        self.forget_incoming()
        return removed

    def remove(self, sha256: str) -> None:
        """Blocking: remove the file of this content."""
        self.path(sha256).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Of a file that was renamed, the new name survives a power cut only after this."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Uploads that become jobs: files are written to UPLOAD_DIR as they arrive, and kept only if all are accepted."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import Request

from jobs.archives import FILE_SIZES, MAX_ARCHIVE_FILES, MAX_RATIO, Limits, Unpacked, is_archive, unpack
from jobs.errors import Refused, TooLarge
from jobs.files import Incoming, StoredFile
from jobs.names import safe_name
from jobs.service import Jobs
from server.http.multipart import FormValue, fields_of, read_form

FORM_BYTES = 1 << 20
"""Limit of a form's bytes besides its files."""
TOO_MANY = f"More than {MAX_ARCHIVE_FILES} files; send several requests."
LISTS = ("keywords", "languages")
"""Fields with several values."""
FILE_FIELD = re.compile(r"files?(\[\d{0,6}\])?")


@dataclass(slots=True)
class Received:
    """A received form."""

    fields: dict[str, FormValue] = field(default_factory=dict)
    """Values by name; of a repeated name, the last one, except for LISTS."""
    files: list[tuple[str, Incoming]] = field(default_factory=list)
    """Name and content, in order; an archive is replaced by its members."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Archive members that are clearly not recordings: the name (archive/member), and the kind of file."""

    async def commit(self) -> list[tuple[str, StoredFile]]:
        """Keep all files. Raises Refused for a file that the service never accepts."""
        for _, incoming in self.files:
            await incoming.complete()
        return [(name, await incoming.commit()) for name, incoming in self.files]


@asynccontextmanager
async def received_files(request: Request, jobs: Jobs) -> AsyncIterator[Received]:
    """Receive the form of a request. Files that the block does not commit are deleted after it.

    Raises what `read_form` raises, and Refused (no_files, bad_archive, …), also TooLarge.
    """
    settings, received = jobs.settings, Received()
    async with AsyncExitStack() as stack:

        async def keep(name: str, filename: str) -> Incoming | None:
            if not FILE_FIELD.fullmatch(name):
                return None
            if len(received.files) >= MAX_ARCHIVE_FILES:
                raise TooLarge(TOO_MANY)
            incoming = await stack.enter_async_context(jobs.files.receive())
            received.files.append((safe_name(filename) or "audio", incoming))
            return incoming

        most, limits = FILE_SIZES * settings.max_file_size + FORM_BYTES, f"{FILE_SIZES} times MAX_FILE_SIZE"
        items = await read_form(request, most, keep, setting=limits, may_be_empty=True)
        several = fields_of(items)
        received.fields = {**dict(items), **{name: several[name] for name in LISTS if name in several}}
        await _unpack_archives(received, jobs, stack)
        if not received.files:
            raise Refused("Send a file in the field 'file' or 'files'.", code="no_files")
        yield received


async def _unpack_archives(received: Received, jobs: Jobs, stack: AsyncExitStack) -> None:
    files: list[tuple[str, Incoming]] = []
    limits = Limits(MAX_ARCHIVE_FILES, FILE_SIZES * jobs.settings.max_file_size, MAX_RATIO)
    for name, incoming in received.files:
        if not is_archive(incoming.head):
            files.append((name, incoming))
            continue
        path = await incoming.complete()
        unpacked = await _unpacked(path, limits, jobs)
        for member in unpacked.files:
            await stack.enter_async_context(member[1])
            files.append(member)
        received.skipped += [(f"{name}/{inside}", what) for inside, what in unpacked.skipped]
        incoming.discard()
        if len(files) > limits.files:
            raise TooLarge(TOO_MANY)
    received.files = files


async def _unpacked(path: Path, limits: Limits, jobs: Jobs) -> Unpacked:
    """Unpack an archive in a thread. On cancellation, wait for the thread and discard its files."""
    stop = threading.Event()
    async with jobs.unpacking:
        unpacking = asyncio.ensure_future(
            asyncio.to_thread(unpack, path, limits, jobs.files.receive, unwanted=stop.is_set)
        )
        try:
            return await asyncio.shield(unpacking)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([unpacking])
            if unpacking.exception() is None:
                unpacking.result().discard()
            raise

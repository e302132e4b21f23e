"""Uploads that become jobs: files are written to UPLOAD_DIR as they arrive, and kept only if all are accepted."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from jobs.archives import Limits, Unpacked, is_archive, unpack
from jobs.errors import Refused, TooLarge
from jobs.files import Incoming, StoredFile
from jobs.names import safe_name
from jobs.service import Jobs
from pipeline.errors import StorageError
from pipeline.support.untrusted import whole_number
from server.http.multipart import BROKEN_OFF, disposition
from server.http.uploads import ClientGone, drain

MAX_FIELDS, MAX_FIELD_BYTES = 64, 65_536
MAX_HEADER_BYTES = 16_384
FORM_BYTES = 1 << 20
"""Limit of a form's bytes besides its files."""
FILE_FIELD = re.compile(r"files?(\[\d{0,6}\])?")


@dataclass(slots=True)
class Received:
    """A received form."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[tuple[str, Incoming]] = field(default_factory=list)
    """Name and content, in order; an archive is replaced by its members."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Archive members that are clearly not recordings: the name (archive/member), and the kind of file."""

    async def commit(self) -> list[tuple[str, StoredFile]]:
        """Keep all files. Raises Refused for a file that the service never accepts."""
        for _, incoming in self.files:
            await incoming.complete()
        return [(name, await incoming.commit()) for name, incoming in self.files]


class _Reader:
    """Collect the callbacks of the synchronous parser as steps, which asynchronous code then runs."""

    def __init__(self, boundary: bytes) -> None:
        self.steps: list[tuple[str, bytes]] = []
        self.complete = False
        self._name, self._value, self._disposition = b"", b"", b""
        self.parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": lambda: self.steps.append(("begin", self._disposition)),
                "on_part_data": lambda data, start, end: self.steps.append(("data", data[start:end])),
                "on_part_end": lambda: self.steps.append(("end", b"")),
                "on_end": self._end,
            },
        )

    def _part_begin(self) -> None:
        self._name, self._value, self._disposition = b"", b"", b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._bound()

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._bound()

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name, self._value = b"", b""

    def _end(self) -> None:
        self.complete = True

    def _bound(self) -> None:
        if len(self._name) + len(self._value) > MAX_HEADER_BYTES:
            raise _bad_form("the header of a part is too long")


def _bad_form(why: str) -> Refused:
    return Refused(f"The form is invalid: {why}.", code="bad_form")


@asynccontextmanager
async def received_files(request: Request, jobs: Jobs) -> AsyncIterator[Received]:
    """Receive the form of a request. Files that the block does not commit are deleted after it.

    Raises Refused (bad_form, no_files, bad_archive, …), and TooLarge as soon as a limit is exceeded.
    """
    settings = jobs.settings
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise Refused("Send a form (multipart/form-data).", code="bad_form")
    most = max(settings.max_file_size, settings.max_archive_size) + FORM_BYTES
    claimed = whole_number(request.headers.get("content-length")) or 0
    async with AsyncExitStack() as stack:
        try:
            if claimed > most:
                raise TooLarge(f"The request is larger than {most} bytes (MAX_FILE_SIZE, MAX_ARCHIVE_SIZE).")
            received = await _receive(request, jobs, stack, options[b"boundary"], most)
        except ClientDisconnect:
            raise ClientGone("The client disconnected.") from None
        except (Refused, StorageError, FormParserError) as error:
            await drain(request)
            if isinstance(error, FormParserError):
                raise _bad_form("it is damaged") from None
            raise
        await _unpack_archives(received, jobs, stack)
        if not received.files:
            raise Refused("Send a file in the field 'file' or 'files'.", code="no_files")
        yield received


async def _receive(request: Request, jobs: Jobs, stack: AsyncExitStack, boundary: bytes, most: int) -> Received:
    received, reader = Received(), _Reader(boundary)
    name, text, incoming, total, parts = "", bytearray(), None, 0, 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > most:
            raise TooLarge(f"The request is larger than {most} bytes (MAX_FILE_SIZE, MAX_ARCHIVE_SIZE).")
        reader.parser.write(chunk)
        for step, data in reader.steps:
            if step == "begin":
                parts += 1
                if parts > MAX_FIELDS + jobs.settings.max_archive_files:
                    raise _bad_form("it has too many parts")
                name, filename = _disposition(data)
                text, incoming = bytearray(), None
                if filename is not None and FILE_FIELD.fullmatch(name):
                    if len(received.files) >= jobs.settings.max_archive_files:
                        raise TooLarge(f"More than {jobs.settings.max_archive_files} files (MAX_ARCHIVE_FILES).")
                    incoming = await stack.enter_async_context(jobs.files.receive())
                    received.files.append((filename or "audio", incoming))
            elif incoming is not None:
                await incoming.write(data)
            elif step == "data":
                text += data
                if len(text) > MAX_FIELD_BYTES:
                    raise TooLarge(f"The field {name[:40]!r} is longer than {MAX_FIELD_BYTES} bytes.")
            elif len(received.fields) < MAX_FIELDS:
                received.fields[name] = text.decode("utf-8", "replace")
            else:
                raise _bad_form("it has too many fields")
        reader.steps.clear()
    if total and not reader.complete:
        raise _bad_form(BROKEN_OFF)
    reader.parser.finalize()
    return received


def _disposition(header: bytes) -> tuple[str, str | None]:
    """Return the name and the file name of a part."""
    name, filename = disposition(header)
    if name is None:
        raise _bad_form("a part has no name")
    return name, None if filename is None else safe_name(filename)


async def _unpack_archives(received: Received, jobs: Jobs, stack: AsyncExitStack) -> None:
    files: list[tuple[str, Incoming]] = []
    limits = Limits(jobs.settings.max_archive_files, jobs.settings.max_archive_size, jobs.settings.max_archive_ratio)
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
            raise TooLarge(f"More than {limits.files} files (MAX_ARCHIVE_FILES).")
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

"""Forms with files: written to disk as they arrive, limited in size, and deleted after the request."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import IO, Any, TypeVar, cast

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from pipeline.errors import BadInput, Overloaded, ParleyError, StorageError
from pipeline.support.storage_errors import TEMPORARY, storing
from pipeline.support.untrusted import whole_number
from server.access import held_of
from server.access.limits import RETRY_S
from server.errors import BadField, bad_field
from server.http.multipart import FormParser
from server.state import state_of

MAX_FIELDS, MAX_FILES = 64, 4
MAX_FIELD_BYTES = 8 * 2**20
"""Largest field: it can be a recording in a data URL."""
MAX_DIGITS = 4
"""Maximum number of digits of an index in a field's name: `name[0]` is an item of a list."""
MAX_FIELDS_BYTES = 4 * MAX_FIELD_BYTES
"""Limit of all fields of a form together: unlike files, they are held in memory."""
DRAIN_S = 2.0
"""Seconds to read and discard a refused body: a client that is still sending does not read its response."""

ModelT = TypeVar("ModelT", bound=BaseModel)


class ClientGone(ParleyError):
    """The client is gone; drop the response."""

    code = "client_gone"


@dataclass(frozen=True, slots=True)
class Upload:
    """A received file. It has no name on disk, so it disappears when it is closed."""

    file: IO[bytes]
    filename: str
    size: int


@dataclass(frozen=True, slots=True)
class Form:
    """A received form."""

    fields: dict[str, Any] = field(default_factory=dict)
    """A list if the name ends with [] or [0] or is repeated, an object for name[key]."""
    files: dict[str, Upload] = field(default_factory=dict)

    def file(self, *names: str) -> Upload:
        """Return the file of the first of these names that was sent. Raises BadField."""
        for name in names:
            if name in self.files:
                if not self.files[name].size:
                    raise BadField(name, f"The file in {name!r} is empty.", code="empty_message")
                return self.files[name]
        raise BadField(names[0], f"Send a file in the field {names[0]!r} (multipart/form-data).")

    def parse(self, model: type[ModelT]) -> ModelT:
        """Parse the fields as a model. Raises BadField."""
        return parse(model, self.fields)


def parse(model: type[ModelT], fields: dict[str, Any]) -> ModelT:
    """Parse fields of a form or a query as a model. An empty value counts as missing. Raises BadField."""
    try:
        return model.model_validate({name: value for name, value in fields.items() if value != ""})
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        plain = [{**one, "loc": [part for part in one["loc"] if isinstance(part, str)]} for one in found]
        raise bad_field(plain, fields) from None


@asynccontextmanager
async def received(request: Request) -> AsyncIterator[Form]:
    """Receive the form of a request; its files exist until the block ends.

    Raises BadInput: bad_form, file_too_large (as soon as the limit is exceeded, even if Content-Length is wrong).
    """
    settings = state_of(request).assistant.settings
    limit = settings.max_file_size
    claimed = whole_number(request.headers.get("content-length")) or 0
    too_large = BadInput(
        f"The request is larger than {limit} bytes; see MAX_FILE_SIZE, or send it compressed (Opus, MP3).",
        code="file_too_large",
    )
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise BadInput("Send a form (multipart/form-data).", code="bad_form")
    if claimed > limit:
        await drain(request)
        raise too_large

    async def counted() -> AsyncGenerator[bytes, None]:
        total = 0
        async for chunk in request.stream():
            total += len(chunk)
            if total > limit:
                raise too_large
            yield chunk

    parser = _Parser(request, counted())
    try:
        with storing(TEMPORARY):
            data = await parser.parse()
    except MultiPartException as error:
        await drain(request)
        raise BadInput(f"The form is invalid: {error.message}", code="bad_form") from None
    except (BadInput, Overloaded, StorageError):
        await drain(request)
        raise
    except ClientDisconnect:
        raise ClientGone("The client disconnected.") from None
    try:
        yield _form(data.multi_items())
    finally:
        await data.close()


class _Parser(FormParser):
    """Count the bytes of a form that are held in memory: its fields, and the beginning of each file."""

    def __init__(self, request: Request, stream: AsyncGenerator[bytes, None]) -> None:
        super().__init__(
            request.headers, stream, max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES
        )
        self._held = held_of(request)
        self._fields_bytes = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self._fields_bytes += end - start
            if self._fields_bytes > MAX_FIELDS_BYTES:
                raise MultiPartException(f"its fields have more than {MAX_FIELDS_BYTES} bytes together.")
            if not self._held.take(end - start):
                raise Overloaded("Too many bytes are held; retry soon.", retry_after_s=RETRY_S)
        super().on_part_data(data, start, end)


async def drain(request: Request) -> None:
    """Read and discard the rest of the body, for DRAIN_S at most, so that the client reads its response."""
    with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(DRAIN_S):
            while (await request.receive()).get("more_body"):
                pass


def _form(items: list[tuple[str, Any]]) -> Form:
    form = Form()
    came: dict[str, list[tuple[int, Any]]] = {}
    """Name → values, each with its index in brackets, or its position."""
    lists = set[str]()
    for name, value in items:
        if isinstance(value, UploadFile):
            form.files[name] = Upload(cast("IO[bytes]", value.file), value.filename or "", value.size or 0)
            continue
        plain, bracket, inner = name[:-1].partition("[") if name.endswith("]") else (name, "", "")
        if inner and not _is_number(inner):
            nested = form.fields.setdefault(plain, {})
            nested[inner] = value
            continue
        if bracket:
            lists.add(plain)
        values = came.setdefault(plain, [])
        values.append((int(inner) if inner else len(values), value))
    for name, numbered in came.items():
        found = [value for _, value in sorted(numbered, key=lambda one: one[0])]
        form.fields[name] = found if name in lists or len(found) > 1 else found[0]
    return form


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS

"""Uploads kept for one request: written to temporary files as they arrive, and deleted after the request."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, TypeVar, cast

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError

from pipeline.support.storage_errors import TEMPORARY, storing
from server.access import budgets_of, caller_of
from server.errors import BadField, FieldError, bad_field, field_errors
from server.http.multipart import FormValue, bad_form, fields_of, read_form
from server.state import state_of

MAX_FILES = 4
IN_MEMORY = 2**20
"""Largest file that is kept in memory, in bytes; larger ones go to disk."""

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(slots=True)
class Upload:
    """A received file. It has no name on disk, so it disappears when it is closed."""

    file: IO[bytes]
    filename: str
    size: int = 0

    @classmethod
    def open(cls, filename: str = "") -> "Upload":
        """Return an empty upload."""
        return cls(cast("IO[bytes]", SpooledTemporaryFile(IN_MEMORY)), filename)

    async def write(self, data: bytes) -> None:
        """Add the next bytes. Raises StorageError."""
        self.size += len(data)
        with storing(TEMPORARY):
            if self.size <= IN_MEMORY:
                self.file.write(data)
            else:
                await asyncio.to_thread(self.file.write, data)

    async def rewind(self) -> None:
        """Go to the beginning, for reading. Raises StorageError."""
        with storing(TEMPORARY):
            await asyncio.to_thread(self.file.seek, 0)  # it can write the last bytes


@dataclass(frozen=True, slots=True)
class Form:
    """A received form."""

    fields: Mapping[str, FormValue]
    files: dict[str, Upload]

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


def parse(model: type[ModelT], fields: Mapping[str, object]) -> ModelT:
    """Parse fields of a form or a query as a model. An empty value counts as missing. Raises BadField."""
    try:
        return model.model_validate({name: value for name, value in fields.items() if value != ""})
    except ValidationError as error:
        plain: list[FieldError] = [
            {**one, "loc": tuple(part for part in one["loc"] if isinstance(part, str))} for one in field_errors(error)
        ]
        raise bad_field(plain, fields) from None


@asynccontextmanager
async def received(request: Request) -> AsyncIterator[Form]:
    """Receive the form of a request; its files exist until the block ends. Raises what `read_form` raises."""
    uploads: list[tuple[str, Upload]] = []

    async def keep(name: str, filename: str) -> Upload:
        if len(uploads) >= MAX_FILES:
            raise bad_form(f"it has more than {MAX_FILES} files")
        upload = Upload.open(filename)
        uploads.append((name, upload))
        return upload

    try:
        fields = fields_of(await read_form(request, state_of(request).assistant.settings.max_file_size, keep))
        for _, upload in uploads:
            await upload.rewind()
        yield Form(fields, dict(uploads))
    finally:
        await discard([upload for _, upload in uploads])


async def form_with_recording(request: Request) -> AsyncIterator[Form]:
    """Receive the form of a request, and hold a slot for its recording until the response is sent."""
    async with received(request) as form:
        with budgets_of(request).recordings.one(caller_of(request)):
            yield form


ReceivedForm = Annotated[Form, Depends(form_with_recording)]


async def discard(uploads: Sequence[Upload]) -> None:
    """Close the files, in a thread: freeing a large one takes time."""
    await asyncio.to_thread(_close, uploads)


def _close(uploads: Sequence[Upload]) -> None:
    for upload in uploads:
        with contextlib.suppress(OSError):  # flushing the buffer to a full disk fails, too
            upload.file.close()

"""Multipart forms: one streaming reader with one set of limits.

It returns the fields and writes each file to a sink of the caller: `server.http.uploads` keeps files for one request,
`server.jobs.uploads` creates jobs from them.
"""

import asyncio
import codecs
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol
from urllib.parse import unquote_to_bytes

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from pipeline.errors import BadInput, Overloaded, StorageError
from pipeline.support.untrusted import whole_number
from server.access import held_of
from server.access.limits import RETRY_S

MAX_FIELDS = 400
"""Maximum number of fields: keywords and languages come as one field each (`server.parameters`)."""
MAX_FIELD_BYTES = 2**20
"""Largest field."""
MAX_SOUND_BYTES = 8 * 2**20
"""Largest field with a recording in a data URL."""
SOUND_FIELDS = frozenset({"known_speaker_references"})
"""Fields with recordings in data URLs."""
MAX_FIELDS_BYTES = 4 * MAX_SOUND_BYTES
"""Limit of all fields of a form together: unlike files, they are held in memory."""
MAX_DIGITS = 4
"""Maximum number of digits of an index in a field's name: `name[0]` is an item of a list."""
DRAIN_S = 2.0
"""Seconds to read and discard a refused body: a client that is still sending does not read its response."""

_PARAMETER = re.compile(r';[ \t]*([^\s=;"]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;]*))')
_CHARSETS = {"utf-8": "utf-8", "iso-8859-1": "latin-1", "us-ascii": "ascii"}
_WINDOWS_PATH = re.compile(r"[A-Za-z]:\\|\\\\")
_UNSUITABLE = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"})
"""Codecs that are slow, or that return text that cannot be encoded."""


def disposition(header: bytes, charset: str = "utf-8") -> tuple[str | None, str | None]:
    """Return the name and the file name in a Content-Disposition; None for a missing one.

    charset: the form's; a header in another one is read as Latin-1.
    A file name can be extended (RFC 5987: `filename*=UTF-8''na%C3%AFve.wav`): RFC 7578 forbids it in forms, but clients
    send it. A plain file name takes precedence, unless it is empty.
    """
    given: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(_decoded(header, charset)):
        value = re.sub(r'\\(["\\])', r"\1", quoted) if quoted else plain.strip()
        given.setdefault(name.lower(), value)
    filename = given.get("filename")
    if filename and _WINDOWS_PATH.match(filename):  # some browsers sent the whole path
        filename = filename.rpartition("\\")[2]
    return given.get("name"), filename or _extended(given.get("filename*")) or filename


def _extended(value: str | None) -> str | None:
    """Decode CHARSET'LANGUAGE'PERCENT-ENCODED; return text in any other form unchanged."""
    if value is None:
        return None
    charset, _, rest = value.partition("'")
    _, there, encoded = rest.partition("'")
    if not there:
        return value
    return unquote_to_bytes(encoded).decode(_CHARSETS.get(charset.lower(), "utf-8"), "replace")


class Sink(Protocol):
    """Destination of a file's bytes."""

    async def write(self, data: bytes) -> None:
        """Add the next bytes."""


SinkFor = Callable[[str, str], Awaitable[Sink | None]]
"""Function that returns the sink of a part, from its name and file name; None to read the part as a field."""


def bad_form(why: str) -> BadInput:
    """Return the error of a form that cannot be read."""
    return BadInput(f"The form is invalid: {why}.", code="bad_form")


async def read_form(
    request: Request, most_bytes: int, sink_for: SinkFor, *, setting: str = "MAX_FILE_SIZE", may_be_empty: bool = False
) -> list[tuple[str, str]]:
    """Write the files of a form to their sinks as they arrive, and return the names and values of its fields, in order.

    most_bytes: limit of the whole body. setting: name of that limit, for the error. may_be_empty: accept a body without
    any bytes as a form without parts.
    Raises BadInput (bad_form; file_too_large as soon as the limit is exceeded, even if Content-Length is wrong),
    Overloaded, and the errors of the sinks.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise BadInput("Send a form (multipart/form-data).", code="bad_form")
    too_large = BadInput(
        f"The request is larger than {most_bytes} bytes; see {setting}, or send it compressed (Opus, MP3).",
        code="file_too_large",
    )
    try:
        if (whole_number(request.headers.get("content-length")) or 0) > most_bytes:
            raise too_large
        reader = _Reader(request, options[b"boundary"], _charset(options.get(b"charset", b"utf-8")), sink_for)
        total = 0
        async for chunk in request.stream():
            total += len(chunk)
            if total > most_bytes:
                raise too_large
            await reader.read(chunk)
    except FormParserError:
        await _drain(request)
        raise bad_form("it is damaged") from None
    except (BadInput, Overloaded, StorageError):
        await _drain(request)
        raise
    return [] if may_be_empty and not total else reader.items()


async def _drain(request: Request) -> None:
    """Read and discard the rest of the body, for DRAIN_S at most, so that the client reads its response."""
    with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(DRAIN_S):
            while (await request.receive()).get("more_body"):
                pass


class _Reader:
    """Read the parts of one form. The parser's callbacks are synchronous: they collect steps, which `read` then runs.

    A step is a Content-Disposition (a part begins), a list of pieces of its content, or None (the part ends).
    """

    def __init__(self, request: Request, boundary: bytes, charset: str, sink_for: SinkFor) -> None:
        self._charset = charset
        self._sink_for = sink_for
        self._held = held_of(request)
        self._fields_bytes = 0
        self._items: list[tuple[str, str]] = []
        self._name, self._value = "", bytearray()
        self._sink: Sink | None = None
        self._steps: list[bytes | list[bytes] | None] = []
        self._header, self._header_value, self._disposition = b"", b"", b""
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": lambda: self._steps.append(self._disposition),
                "on_part_data": self._on_part_data,
                "on_part_end": lambda: self._steps.append(None),
                "on_end": self._on_end,
            },
        )

    def items(self) -> list[tuple[str, str]]:
        """Return the names and values of all fields, in order. Raises BadInput if the form is incomplete."""
        if not self._complete:
            raise bad_form("it ended before its final boundary; send it again")
        return self._items

    async def read(self, chunk: bytes) -> None:
        """Read the next bytes of the body. Raises BadInput, Overloaded, FormParserError, and the sinks' errors."""
        self._parser.write(chunk)
        for step in self._steps:
            match step:
                case bytes():
                    await self._begin(step)
                case None:
                    if self._sink is None:
                        self._items.append((self._name, _decoded(self._value, self._charset)))
                case pieces:
                    data = b"".join(pieces)
                    if self._sink is not None:
                        await self._sink.write(data)
                    else:
                        self._hold(data)
        self._steps.clear()

    async def _begin(self, header: bytes) -> None:
        name, filename = disposition(header, self._charset)
        if name is None:
            raise bad_form("a part has no name")
        self._name, self._value = name, bytearray()
        self._sink = None if filename is None else await self._sink_for(name, filename)
        if self._sink is None and len(self._items) >= MAX_FIELDS:
            raise bad_form(f"it has more than {MAX_FIELDS} fields")

    def _hold(self, data: bytes) -> None:
        """Add bytes to the value of a field, which stays in memory."""
        self._fields_bytes += len(data)
        most = MAX_SOUND_BYTES if self._name.partition("[")[0] in SOUND_FIELDS else MAX_FIELD_BYTES
        if len(self._value) + len(data) > most:
            raise bad_form(f"the field {self._name[:40]!r} has more than {most} bytes")
        if self._fields_bytes > MAX_FIELDS_BYTES:
            raise bad_form(f"its fields have more than {MAX_FIELDS_BYTES} bytes together")
        if not self._held.take(len(data)):
            raise Overloaded("Too many bytes are held; retry soon.", retry_after_s=RETRY_S)
        self._value += data

    def _on_part_begin(self) -> None:
        self._header, self._header_value, self._disposition = b"", b"", b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header, self._header_value = b"", b""

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._steps or not isinstance(self._steps[-1], list):
            self._steps.append([])
        pieces = self._steps[-1]
        assert isinstance(pieces, list)  # noqa: S101  # just appended
        pieces.append(data[start:end])

    def _on_end(self) -> None:
        self._complete = True


def _charset(name: bytes) -> str:
    """Return the codec of a charset; Latin-1 for an unknown one."""
    try:
        found = codecs.lookup(name.decode("latin-1")).name
    except (LookupError, ValueError):
        return "latin-1"
    return "latin-1" if found in _UNSUITABLE else found


def _decoded(text: bytes | bytearray, charset: str) -> str:
    """Decode text in the form's charset, or as Latin-1 from old clients."""
    try:
        return text.decode(charset)
    except (UnicodeError, LookupError):
        return text.decode("latin-1")


FormValue = str | list[str] | dict[str, str]
"""Value of a form field; see `fields_of`."""


def fields_of(items: Iterable[tuple[str, str]]) -> dict[str, FormValue]:
    """Return the fields of a form by name. The value is a list if the name ends with [] or [0] or is repeated, and an
    object for name[key]."""
    objects: dict[str, dict[str, str]] = {}
    came: dict[str, list[tuple[int, str]]] = {}
    """Name → values, each with its index in brackets, or its position."""
    lists = set[str]()
    for name, value in items:
        plain, bracket, inner = name[:-1].partition("[") if name.endswith("]") else (name, "", "")
        if inner and not _is_number(inner):
            objects.setdefault(plain, {})[inner] = value
            continue
        if bracket:
            lists.add(plain)
        values = came.setdefault(plain, [])
        values.append((int(inner) if inner else len(values), value))
    fields: dict[str, FormValue] = {**objects}
    for name, numbered in came.items():
        found = [value for _, value in sorted(numbered, key=lambda one: one[0])]
        fields[name] = found if name in lists or len(found) > 1 else found[0]
    return fields


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS

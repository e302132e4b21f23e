"""Multipart forms: names of parts, and detection of incomplete forms. Shared by endpoints that keep uploads for one
request (`server.http.uploads`) and those that create jobs from them (`server.jobs.uploads`)."""

import re
from urllib.parse import unquote_to_bytes

from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

BROKEN_OFF = "it ended before its final boundary; send it again"

_PARAMETER = re.compile(r';[ \t]*([^\s=;"]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;]*))')
_CHARSETS = {"utf-8": "utf-8", "iso-8859-1": "latin-1", "us-ascii": "ascii"}
_WINDOWS_PATH = re.compile(r"[A-Za-z]:\\|\\\\")


def disposition(header: bytes) -> tuple[str | None, str | None]:
    """Return the name and the file name in a Content-Disposition; None for a missing one.

    A file name can be extended (RFC 5987: `filename*=UTF-8''na%C3%AFve.wav`): RFC 7578 forbids it in forms, but clients
    send it. A plain file name takes precedence, unless it is empty.
    """
    given: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(header.decode("utf-8", "replace")):
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


class FormParser(MultiPartParser):
    """Starlette's parser, extended to accept extended file names and to reject incomplete forms."""

    complete = False

    def on_headers_finished(self) -> None:
        header = self._current_part.content_disposition
        if header is not None and b"*" in header:
            name, filename = disposition(header)
            if name is not None and filename is not None:
                self._current_part.content_disposition = _plain(name, filename)
        super().on_headers_finished()

    def on_end(self) -> None:
        self.complete = True

    async def parse(self) -> FormData:
        """Parse the form. Raises MultiPartException, also for an incomplete form."""
        form = await super().parse()
        if not self.complete:
            await form.close()
            raise MultiPartException(BROKEN_OFF)
        return form


def _plain(name: str, filename: str) -> bytes:
    name, filename = (re.sub(r'(["\\])', r"\\\1", value) for value in (name, filename))
    return f'form-data; name="{name}"; filename="{filename}"'.encode()

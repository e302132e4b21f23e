"""Names of files. Untrusted names are displayed and put into headers, but never opened."""

import re
from pathlib import PurePosixPath
from urllib.parse import unquote, unquote_to_bytes, urlsplit

MAX_CHARS = 200
MAX_HEADER_CHARS = 1024
"""Maximum length of a Content-Disposition; a longer one is ignored."""
CHARSETS = ("utf-8", "iso-8859-1", "us-ascii")
"""Charsets of the extended form: those that RFC 8187 (3.2.1) requires, and ASCII."""
_PARAMETER = re.compile(r'[^;]*;\s*([^\s=;"]*)\s*(?:=\s*("(?:[^"\\]|\\.)*"?|[^;]*))?', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def safe_name(text: str) -> str:
    """Return the last part of a path, with either separator, without unprintable characters; "" if nothing is left."""
    last = text.replace("\\", "/").rpartition("/")[2]
    name = "".join(character for character in last if character.isprintable())[:MAX_CHARS].strip()
    return "" if name in (".", "..") else name


def name_in_url(url: str) -> str:
    """Return a name for a file from this URL."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return "download"
    return safe_name(PurePosixPath(unquote(path)).name) or "download"


def name_in_disposition(header: str) -> str | None:
    """Return the safe form of the name in a Content-Disposition (RFC 6266), or None if it has none."""
    if len(header) > MAX_HEADER_CHARS:
        return None
    plain: str | None = None
    at = len(header.partition(";")[0])
    while (found := _PARAMETER.match(header, at)) is not None:
        at = found.end()
        name, value = found[1].lower(), found[2]
        if value is None or not name.startswith("filename"):
            continue
        if name == "filename*" and (extended := _extended(value)) is not None:
            return safe_name(extended) or None  # this form has priority at any position (RFC 6266, 4.3)
        if name == "filename" and plain is None:
            plain = _unquoted(value)
    return None if plain is None else safe_name(plain) or None


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value.strip()
    inside = value[1:-1] if len(value) > 1 and value.endswith('"') else value[1:]
    return _ESCAPED.sub(r"\1", inside)


def _extended(value: str) -> str | None:
    """Decode a value like `UTF-8''Ol%C3%A1` (RFC 8187); return None if it is not of this form."""
    charset, quote, rest = _unquoted(value).partition("'")
    _, second, encoded = rest.partition("'")
    if not quote or not second or charset.lower() not in CHARSETS:
        return None
    try:
        return unquote_to_bytes(encoded).decode(charset)
    except UnicodeDecodeError:
        return None

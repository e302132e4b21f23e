"""What to call a file: names that strangers give are shown and put into headers, and never opened."""

from email.message import Message
from email.utils import collapse_rfc2231_value
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

MAX_CHARS = 200


def safe_name(text: str) -> str:
    """The last part of a path in either spelling, without what cannot be printed; "" when nothing is left."""
    last = text.replace("\\", "/").rpartition("/")[2]
    name = "".join(character for character in last if character.isprintable())[:MAX_CHARS].strip()
    return "" if name in (".", "..") else name


def name_in_url(url: str) -> str:
    """What to call a file from this address."""
    return safe_name(PurePosixPath(unquote(urlsplit(url).path)).name) or "download"


def name_in_disposition(header: str) -> str | None:
    """The name that a Content-Disposition gives (RFC 6266), made safe; None: it gives none."""
    message = Message()
    message["content-disposition"] = header.replace("\r", " ").replace("\n", " ")
    try:
        told = message.get_params([], "content-disposition")
        found = [value for name, value in told[1:] if name.lower() == "filename"]
        # In its extended form (`filename*=UTF-8''…`, RFC 5987) it is a tuple, and that one counts.
        found.sort(key=lambda value: not isinstance(value, tuple))
        return (safe_name(collapse_rfc2231_value(found[0])) or None) if found else None
    except (LookupError, ValueError, TypeError):
        return None  # a charset that is none, or a form that is none

"""Wire format of Wyoming events, with limits: the library's reader accepts any length.

An event is a line of JSON, then `data_length` bytes of JSON, then `payload_length` bytes.
"""

import asyncio
import json

from wyoming.event import Event
from wyoming.version import __version__

from pipeline.errors import BadInput, Overloaded, ParleyError
from pipeline.support.encodable import encodable, encodable_object
from pipeline.support.json_types import JsonObject
from server.access.limits import PACE_BYTES_PER_S, Share

MAX_DATA_BYTES = 256 * 1024
"""Largest JSON data of an event."""
PIECE_BYTES = 2**16
PARTS = ("audio-chunk", "synthesize-chunk", "ping")
"""Types of events of which one request has many, or that cost as little."""
PART_BYTES = PACE_BYTES_PER_S >> 10
"""Bytes as which an event counts at least in its caller's pace (`Share.paced`): handling it takes as long as reading so
many. So 1,000 of them a second remain, after a burst; or 125 for each conversation, if it has more than eight. Home
Assistant sends 100 chunks of 10 ms a second for each satellite. Events other than PARTS are requests (`requested`)."""
MAX_DEPTH = 32
"""Maximum nesting of objects and lists; real events are not as deep."""


class Broken(Exception):
    """The connection cannot continue, because the start of the next event is unknown."""

    def __init__(self, error: ParleyError) -> None:
        """error: to report to the client."""
        super().__init__(error.message)
        self.error = error


class BadEvent(BadInput):
    """An event that is not valid, after which the next one can be read."""

    def __init__(self, message: str, kind: str = "") -> None:
        """kind: type of the event, if it has one: its client may wait for an end."""
        super().__init__(message, code="bad_parameter")
        self.kind = kind


async def read_event(reader: asyncio.StreamReader, *, max_payload: int, held: Share) -> Event | None:
    """Read the next event; None at the end of the connection. Wait if its caller sends too much. held: counts its bytes
    while they arrive, and sets the pace.

    Raises BadEvent for an invalid event, after which the next one can be read; Broken for bytes that are not an
    event, for an event that is too large, and when the budget is exhausted.
    """
    try:
        line = await reader.readline()
        if not line.endswith(b"\n"):
            return None
        head = _head(line)
        data_bytes = _length(head, "data_length", MAX_DATA_BYTES)
        payload_bytes = _length(head, "payload_length", max_payload)
        body = await _body(reader, data_bytes + payload_bytes, held)
    except asyncio.IncompleteReadError:
        return None
    except Overloaded as error:
        raise Broken(error) from None
    except ValueError:  # from readline, for a line that is too long
        raise _not_wyoming("The header of an event is longer than 65536 bytes.") from None
    kind = head.get("type")
    await held.paced(max(len(line) + len(body), PART_BYTES))
    if kind not in PARTS:
        await held.requested()
    if not isinstance(kind, str):
        raise BadEvent("The field 'type' of an event must be a string.")
    try:
        return _event(kind, head, line, body[:data_bytes], body[data_bytes:])
    except BadInput as error:
        raise BadEvent(error.message, encodable(kind)) from None


def _event(kind: str, head: dict[str, object], line: bytes, more: bytes, payload: bytes) -> Event:
    """Return the event of a header, its line, the data after it, and the payload. Raises BadInput."""
    data: JsonObject = {}
    for part in (head.get("data"), _data(more) if more else None):
        if part is not None and not isinstance(part, dict):
            raise _bad(f"The data of the event {kind[:40]!r} must be an object.")
        data |= part or {}
    if _too_deep(line) or _too_deep(more):
        _check_depth(data)
    if b"\\u" in line or b"\\u" in more:
        kind, data = encodable(kind), encodable_object(data)
    return Event(kind, data, payload or None)


def encoded(event: Event) -> bytes:
    """Encode an event for sending."""
    data = json.dumps(encodable_object(event.data), ensure_ascii=False).encode() if event.data else b""
    payload = event.payload or b""
    head: dict[str, object] = {"type": event.type, "version": __version__}
    if data:
        head["data_length"] = len(data)
    if payload:
        head["payload_length"] = len(payload)
    return b"".join((json.dumps(head).encode(), b"\n", data, payload))


async def _body(reader: asyncio.StreamReader, size: int, held: Share) -> bytes:
    """Read `size` bytes, counted in the budget until the last one arrives. Raises IncompleteReadError, Overloaded."""
    data = bytearray()
    try:
        while len(data) < size:
            piece = await reader.read(min(size - len(data), PIECE_BYTES))
            if not piece:
                raise asyncio.IncompleteReadError(bytes(data), size)
            if not held.take(len(piece)):
                raise Overloaded("Too many bytes are held; retry soon.")
            data += piece
        return bytes(data)
    finally:
        held.give_back(len(data))


def _head(line: bytes) -> dict[str, object]:
    try:
        found = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _not_wyoming("This is not a Wyoming event.")
    return found


def _data(text: bytes) -> object:
    """Parse an event's data. Raises BadInput, not Broken: the length is known, so the next event can be found."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _bad("The data of an event is not valid JSON.") from None


def _length(head: dict[str, object], name: str, most: int) -> int:
    length = head.get(name)
    if length is None:
        return 0
    if isinstance(length, bool) or not isinstance(length, int) or length < 0:
        raise _not_wyoming(f"{name} must be a whole number of at least 0.")
    if length > most:
        told = f"{name} is {length if length < 10**15 else 'too large'}; the limit is {most} bytes."
        raise Broken(BadInput(told, code="message_too_large"))
    return length


def _too_deep(text: bytes) -> bool:
    """Whether the text can be nested too deeply; for most events this quick check is enough."""
    return text.count(b"{") + text.count(b"[") > MAX_DEPTH


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    raise _bad(f"The data of an event is nested more than {MAX_DEPTH} levels deep.")


def _bad(message: str) -> BadInput:
    return BadInput(message, code="bad_parameter")


def _not_wyoming(message: str) -> Broken:
    return Broken(BadInput(message, code="unsupported_message"))


def _no_constant(name: str) -> None:
    raise ValueError(name)

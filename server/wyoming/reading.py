"""Events of the Wyoming protocol as they come in, bounded: the library's reader takes whatever length it is told."""

import asyncio
import json
from typing import Any

from wyoming.event import Event

from pipeline.encodable import encodable_json
from pipeline.errors import BadInput

MAX_DATA_BYTES = 1 << 20
"""Of one event's JSON."""


class Broken(Exception):
    """What came is no Wyoming; the connection cannot go on, for nobody knows where the next event begins."""


async def read_event(reader: asyncio.StreamReader, *, max_payload: int) -> Event | None:
    """The next event; None at the end of the connection.

    An event is a line of JSON, then `data_length` bytes of JSON, then `payload_length` bytes.
    Raises Broken for what is none, BadInput (message_too_large) for one that is too large.
    """
    try:
        line = await reader.readline()
        if not line:
            return None
        head = _object(line)
        data = head.get("data") or {}
        if length := _length(head, "data_length", MAX_DATA_BYTES):
            data = {**data, **_object(await reader.readexactly(length))}
        payload = None
        if length := _length(head, "payload_length", max_payload):
            payload = await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return None
    except ValueError:  # readline's for a line that is too long, too
        raise Broken from None
    kind = head.get("type")
    if not isinstance(kind, str) or not isinstance(data, dict):
        raise Broken
    return Event(kind, data, payload)


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = encodable_json(json.loads(text))
    except RecursionError:
        raise Broken from None
    if not isinstance(found, dict):
        raise Broken
    return found


def _length(head: dict[str, Any], name: str, most: int) -> int:
    length = head.get(name) or 0
    if isinstance(length, bool) or not isinstance(length, int) or length < 0:
        raise Broken
    if length > most:
        raise BadInput(f"{name} is {length}; at most {most} bytes are taken.", code="message_too_large")
    return length

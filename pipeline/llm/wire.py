"""Requests to a language model's server, and the JSON values that it streams back."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager

import httpx

from pipeline.llm.reading import error_in
from pipeline.support.json_types import Json

MAX_LINE_BYTES = 4_000_000
"""Limit for one line of a stream; a server that sends longer ones does not speak the protocol."""
MAX_ERROR_BYTES = 64_000


class Refused(Exception):
    """The server responded with an error: before the reply, with a `status`, or in the middle of it (None)."""

    def __init__(self, status: int | None, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class NotTheProtocol(Exception):
    """The response cannot be read at all."""


@asynccontextmanager
async def posted(client: httpx.AsyncClient, path: str, body: Mapping[str, Json]) -> AsyncIterator[httpx.Response]:
    """Yield the response to a request, with its body unread. Leaving the block before the body's end closes the
    connection.

    Raises Refused for an error response, httpx.HTTPError when there is no response.
    """
    async with client.stream("POST", path, json=body) as response:
        if response.status_code >= 400:
            raise Refused(response.status_code, await _reason(response))
        if response.status_code >= 300:
            raise NotTheProtocol
        yield response


async def _reason(response: httpx.Response) -> str:
    """Return the server's own message, from any of the forms that error bodies have."""
    raw = bytearray()
    async for piece in response.aiter_bytes():
        raw += piece[: MAX_ERROR_BYTES - len(raw)]
        if len(raw) >= MAX_ERROR_BYTES:
            break
    text = raw.decode(errors="replace")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return text or response.reason_phrase
    if isinstance(told, dict):
        return error_in(told) or str(told.get("message") or text)
    return text


async def values(response: httpx.Response) -> AsyncGenerator[Mapping[str, object] | None, None]:
    """Yield the JSON objects of a response: one per line, one per server-sent event, or a single one over all lines.

    Comments, keep-alives and the like are skipped; `None` stands for the `[DONE]` that ends a stream of events.
    Raises NotTheProtocol for anything else, Refused for an object or event that is an error.
    """
    event = ""
    held = bytearray()
    """The lines of an object that spans several."""
    in_event = read = False
    async with aclosing(_lines(response)) as lines:
        async for line in lines:
            name, colon, rest = line.decode(errors="replace").strip().partition(":")
            if in_event or not held:
                if not name and not colon:  # the end of an event
                    if held:
                        yield _object(held)
                    held.clear()
                    event, in_event = "", False
                    continue
                if name in ("", "id", "retry", "event"):
                    event = rest.strip() if name == "event" else event
                    continue
            text = rest.strip() if name == "data" else name + colon + rest
            if text == "[DONE]":
                yield None
                return
            value = _parsed(text) if not held else _UNREADABLE
            if value is _UNREADABLE:
                if event == "error":
                    raise Refused(None, text)
                if name != "data" and (read or (not held and text[:1] not in "{[")):
                    raise NotTheProtocol
                in_event = name == "data"
                held += text.encode() + b"\n"
                if len(held) > MAX_LINE_BYTES:
                    raise NotTheProtocol
                continue
            read = True
            if reason := error_in(value) or (str(value) if event == "error" else ""):
                raise Refused(None, reason)
            if isinstance(value, dict):
                yield value
    if held:
        yield _object(held)


def _object(text: bytearray) -> dict[str, object]:
    value = _parsed(text.decode(errors="replace"))
    if reason := error_in(value):
        raise Refused(None, reason)
    if not isinstance(value, dict):
        raise NotTheProtocol
    return value


_UNREADABLE = object()


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _UNREADABLE


async def _lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Yield the lines of the body, without their line breaks."""
    rest = bytearray()
    async for piece in response.aiter_bytes():
        *ended, last = piece.split(b"\n")
        for line in ended:
            yield bytes(rest + line).removesuffix(b"\r")
            rest.clear()
        rest += last
        if len(rest) > MAX_LINE_BYTES:
            raise NotTheProtocol
    if rest:
        yield bytes(rest).removesuffix(b"\r")

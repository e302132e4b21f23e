"""A WebSocket message into a client event: JSON, then the `openai` package's own type for it."""

import re
import secrets
from collections.abc import Mapping
from typing import Any, get_args

from openai.types.realtime import RealtimeClientEvent
from pydantic import BaseModel, ValidationError

from pipeline.json_text import BadJson, parsed
from server.realtime.errors import RealtimeError

EVENTS: Mapping[str, type[BaseModel]] = {
    get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(get_args(RealtimeClientEvent)[0])
}
"""`type` on the wire → the class of the event: all client events of the installed `openai` package."""

_CODES = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}
MAX_EVENT_ID_CHARS = 512
MAX_EVENT_CHARS = 1 << 20
"""Of an event without its sound. An item's text may have 100,000 characters, which JSON may write as ten times as many.
"""
MAX_SOUNDS = 256
"""Fields with sound that are taken out of one event before it is parsed."""
LONG_SOUND_CHARS = 4096
_SOUND = re.compile(r'"audio"\s*:\s*"')


def parse(text: str) -> tuple[BaseModel, dict[str, Any]]:
    """The event, and the object as it was sent. Raises RealtimeError."""
    sounds: dict[str, str] = {}
    if len(text) > LONG_SOUND_CHARS:
        text, sounds = _without_sound(text)

    def put_back(found: dict[str, Any]) -> dict[str, Any]:
        if (name := found.get("audio")) and isinstance(name, str) and name in sounds:
            found["audio"] = sounds[name]
        return found

    try:
        message = parsed(text, most_chars=MAX_EVENT_CHARS, hook=put_back if sounds else None)
    except BadJson as error:
        raise RealtimeError(f"The message {error}.", code="unknown_or_invalid_event") from None
    if not isinstance(message, dict):
        raise RealtimeError("An event is a JSON object.", code="unknown_or_invalid_event")
    event_id = message.get("event_id")
    if not isinstance(event_id, str) or len(event_id) > MAX_EVENT_ID_CHARS:
        event_id = None
    kind = message.get("type")
    model = EVENTS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise RealtimeError(
            f"Invalid value: {str(kind)[:60]!r}. Supported values are: {', '.join(sorted(EVENTS))}.",
            code="unknown_or_invalid_event",
            param="type",
            event_id=event_id,
        )
    return validated(model, _prepared(message), event_id), message


def _without_sound(text: str) -> tuple[str, dict[str, str]]:
    """The text with a name in the place of each long value of an "audio", and these values by their names: sound is
    the one thing in an event that may be large, and needs no parsing."""
    prefix = secrets.token_hex(16)
    pieces, sounds, at = list[str](), dict[str, str](), 0
    for _ in range(MAX_SOUNDS):
        found = _SOUND.search(text, at)
        if found is None or (end := text.find('"', found.end())) < 0:
            break
        if end - found.end() <= LONG_SOUND_CHARS:
            pieces.append(text[at:end])
        else:
            name = f"{prefix} {len(sounds)}"
            sounds[name] = text[found.end() : end].replace("\\/", "/")
            pieces += (text[at : found.end()], name)
        at = end
    return "".join([*pieces, text[at:]]), sounds


def validated(model: type[BaseModel], message: Mapping[str, Any], event_id: str | None = None) -> BaseModel:
    """The object as that type. Raises RealtimeError that names the first field that is wrong."""
    try:
        return model.model_validate(message)
    except ValidationError as error:
        raise _told(error, message, event_id) from None
    except RecursionError:
        raise RealtimeError("The event is nested too deeply.", code="unknown_or_invalid_event") from None


def _prepared(message: dict[str, Any]) -> dict[str, Any]:
    """Without references to items in a response's input: they are none to its type, and are looked up later."""
    response = message.get("response")
    if message.get("type") != "response.create" or not isinstance(response, dict):
        return message
    given = response.get("input")
    if not isinstance(given, list):
        return message
    items = [item for item in given if not (isinstance(item, dict) and item.get("type") == "item_reference")]
    return {**message, "response": {**response, "input": items}}


def _told(error: ValidationError, message: Mapping[str, Any], event_id: str | None) -> RealtimeError:
    """The most telling of the errors: of a union, that of the member which was meant."""
    errors = error.errors(include_url=False, include_input=False)
    # A member whose `type` (or `role`) is another one was not meant: what else is wrong with it does not matter.
    others = {
        name: {found["loc"][:-1] for found in errors if found["loc"][-1:] == (name,)} for name in ("type", "role")
    }

    def telling(found: Any) -> tuple[bool, bool, bool, bool]:
        loc = found["loc"]
        above = [loc[:count] for count in range(len(loc) + 1)]
        meant = {name: others[name].isdisjoint(above) for name in others}
        return meant["type"], meant["role"], loc[-1:] == ("type",), loc[-1:] == ("role",)

    first = max(errors, key=telling)
    path = _path(first["loc"], message, missing=first["type"] == "missing")
    param = ".".join(str(part) for part in path)
    code = _CODES.get(first["type"], "invalid_type" if first["type"].endswith("_type") else "invalid_value")
    if code == "missing_required_parameter":
        told = f"Missing required parameter: '{param}'."
    else:
        told = f"Invalid value for '{param}': {first['msg']}."
    return RealtimeError(told, code=code, param=param, event_id=event_id)


def _path(loc: tuple[int | str, ...], message: Any, *, missing: bool) -> list[int | str]:
    """The location without the names of union members, which are no fields of the client's. missing: its last part is a
    field that should be there.
    """
    path: list[int | str] = []
    part: Any
    for index, part in enumerate(loc):
        if (isinstance(message, dict) and part in message) or (
            isinstance(message, list) and isinstance(part, int) and part < len(message)
        ):
            message = message[part]
        elif not missing or index < len(loc) - 1:
            continue
        path.append(part)
    return path

"""Parsing of a WebSocket message into a client event: JSON, then the `openai` package's own type."""

import asyncio
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import get_args

from openai.types.realtime import RealtimeClientEvent
from pydantic import BaseModel, ValidationError

from pipeline.support.json_text import BadJson, parsed
from pipeline.support.json_types import Json, JsonObject
from server.realtime.errors import RealtimeError
from server.realtime.problems import first_problem, written

Events = Mapping[str, type[BaseModel]]
"""`type` on the wire → the class of the event."""


def events_of(union: object) -> Events:
    """Return the members of one of the `openai` package's unions of events."""
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(get_args(union)[0])}


EVENTS = events_of(RealtimeClientEvent)
"""All client events of the installed `openai` package."""

BETA_FIELDS = frozenset({
    "modalities", "voice", "input_audio_format", "output_audio_format", "input_audio_transcription", "turn_detection",
    "temperature", "max_response_output_tokens",
})  # fmt: skip
"""Fields of a session or a response in the Realtime beta."""
MAX_EVENT_ID_CHARS = 512
MAX_EVENT_CHARS = 1 << 20
"""Maximum length of an event without its sound. An item's text may have 100,000 characters, and its JSON ten times as
many."""
MAX_SOUNDS = 256
"""Maximum number of sound fields that are taken out of one event before it is parsed."""
LONG_SOUND_CHARS = 4096
LARGE_CHARS = 2**18
"""Longer messages are parsed in a thread."""
_SOUND = re.compile(r'"audio"\s*:\s*"')


async def read(text: str, events: Events = EVENTS) -> tuple[BaseModel, JsonObject]:
    """Do the same as `parse`, without blocking the event loop for long."""
    return await asyncio.to_thread(parse, text, events) if len(text) > LARGE_CHARS else parse(text, events)


def parse(text: str, events: Events = EVENTS) -> tuple[BaseModel, JsonObject]:
    """Return the event, and the object as it was sent. Raises RealtimeError."""
    sounds: dict[str, str] = {}
    if len(text) > LONG_SOUND_CHARS:
        text, sounds = _without_sound(text)

    def put_back(found: JsonObject) -> JsonObject:
        if (name := found.get("audio")) and isinstance(name, str) and name in sounds:
            found["audio"] = sounds[name]
        return found

    try:
        message = parsed(text, most_chars=MAX_EVENT_CHARS, hook=put_back if sounds else None)
    except BadJson as error:
        raise RealtimeError(f"The message {error}.", code="unknown_or_invalid_event") from None
    if not isinstance(message, dict):
        raise RealtimeError("An event must be a JSON object.", code="unknown_or_invalid_event")
    event_id = message.get("event_id")
    if not isinstance(event_id, str) or len(event_id) > MAX_EVENT_ID_CHARS:
        event_id = None
    kind = message.get("type")
    model = events.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise RealtimeError(
            f"Invalid value: {str(kind)[:60]!r}. Supported values are: {', '.join(sorted(events))}.",
            code="unknown_or_invalid_event",
            param="type",
            event_id=event_id,
        )
    event = validated(model, *_prepared(message), event_id)
    for name in sorted(event.model_extra or ()):
        raise _unknown(name[:64], event_id)
    return event, message


def _without_sound(text: str) -> tuple[str, dict[str, str]]:
    """Replace each long value of an "audio" field by a name. Return the text, and the values by these names. Only sound
    can be large in an event, and it needs no parsing."""
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
            sound = text[found.end() : end]
            sounds[name] = sound.replace("\\/", "/") if "\\" in sound else sound
            pieces += (text[at : found.end()], name)
        at = end
    return "".join([*pieces, text[at:]]), sounds


def validated(
    model: type[BaseModel], message: Mapping[str, Json], inputs: Sequence[int] = (), event_id: str | None = None
) -> BaseModel:
    """Return the object as a `model`. inputs: original indices of the response's input items that were kept. Raises
    RealtimeError, which names the first invalid field."""
    try:
        return model.model_validate(message)
    except ValidationError as error:
        problem = first_problem(error, message)
        path = list(problem.path)
        if path[:2] == ["response", "input"] and len(path) > 2 and isinstance(path[2], int):
            path[2] = inputs[path[2]]
        param = written(path)
        told = f"Invalid value for '{param}': {problem.message}."
        if problem.code == "missing_required_parameter":
            told = f"Missing required parameter: '{param}'."
        raise RealtimeError(told, code=problem.code, param=param, event_id=event_id) from None
    except RecursionError:
        raise RealtimeError("The event is nested too deeply.", code="unknown_or_invalid_event") from None


def check_known(value: object, path: str, *, passed_over: frozenset[str] = frozenset()) -> None:
    """Raises RealtimeError (unknown_parameter) for the first field that the protocol does not define. path: path of the
    value in its event. passed_over: fields of the value to ignore."""
    if isinstance(value, list):
        for index, one in enumerate(value):
            check_known(one, f"{path}[{index}]")
    if not isinstance(value, BaseModel):
        return
    for name in sorted(set(value.model_extra or ()) - passed_over):
        raise _unknown(f"{path}.{name[:64]}")
    for name in value.model_fields_set:
        check_known(getattr(value, name, None), f"{path}.{name}")


def _unknown(param: str, event_id: str | None = None) -> RealtimeError:
    beta = " It belongs to the Realtime beta; this is the GA API." if param.split(".")[-1] in BETA_FIELDS else ""
    told = f"Unknown parameter: '{param}'.{beta}"
    return RealtimeError(told, code="unknown_parameter", param=param, event_id=event_id)


def sent_input(message: JsonObject) -> Sequence[Json]:
    """Return the items of a response's input as they were sent, with references to items."""
    response = message.get("response")
    given = response.get("input") if isinstance(response, dict) else None
    return given if isinstance(given, list) else ()


def _prepared(message: JsonObject) -> tuple[JsonObject, list[int]]:
    """Remove references to items from a response's input: its type does not allow them, and they are looked up later.
    Return the message, and the original indices of the other items."""
    response = message.get("response")
    if message.get("type") != "response.create" or not isinstance(response, dict):
        return message, []
    given = sent_input(message)
    if not given:
        return message, []
    kept = [
        index
        for index, item in enumerate(given)
        if not (isinstance(item, dict) and item.get("type") == "item_reference")
    ]
    return {**message, "response": {**response, "input": [given[index] for index in kept]}}, kept

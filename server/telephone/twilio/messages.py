"""Messages from Twilio Media Streams: JSON texts, each with its `event`."""

import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import BadInput
from pipeline.support.json_text import BadJson, parsed
from pipeline.support.json_types import JsonObject

MAX_MESSAGE_CHARS = 1 << 16
"""Longest message: 20 ms of sound have some 500 characters."""
FORMAT = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
"""The only format of Media Streams."""


@dataclass(frozen=True, slots=True)
class Start:
    """The beginning of a stream."""

    stream: str
    call: str
    parameters: Mapping[str, str]
    """Those of the TwiML."""


def message_of(text: str | None) -> JsonObject:
    """Return a message as an object. Raises BadInput (unsupported_message)."""
    if text is None:
        raise _bad("Messages must be texts.")
    try:
        message = parsed(text, most_chars=MAX_MESSAGE_CHARS)
    except BadJson as error:
        raise _bad(f"The message {error}.") from None
    if not isinstance(message, dict) or not isinstance(message.get("event"), str):
        raise _bad("A message must be an object with an event.")
    return message


def start_of(message: JsonObject) -> Start:
    """Read the message `start`. Raises BadInput."""
    start = _part(message, "start")
    if (format := start.get("mediaFormat")) != FORMAT:
        raise _bad(f"The sound must have the format {FORMAT}, not {str(format)[:100]}.")
    given = start.get("customParameters")
    parameters = given if isinstance(given, dict) else {}
    return Start(
        _text(start, "streamSid"), _text(start, "callSid"), {name: str(value) for name, value in parameters.items()}
    )


def sound_of(message: JsonObject) -> bytes:
    """Return the µ-law bytes of the message `media`. Raises BadInput."""
    try:
        return binascii.a2b_base64(_text(_part(message, "media"), "payload"), strict_mode=True)
    except (binascii.Error, ValueError):
        raise _bad("The payload of a media message is not base64.") from None


def key_of(message: JsonObject) -> str:
    """Return the key of the message `dtmf`. Raises BadInput."""
    return _text(_part(message, "dtmf"), "digit")


def mark_of(message: JsonObject) -> str:
    """Return the name in the message `mark`. Raises BadInput."""
    return _text(_part(message, "mark"), "name")


def _part(message: JsonObject, name: str) -> JsonObject:
    part = message.get(name)
    if not isinstance(part, dict):
        raise _bad(f"The message {name} must contain the object {name}.")
    return part


def _text(part: JsonObject, name: str) -> str:
    text = part.get(name)
    if not isinstance(text, str):
        raise _bad(f"The field {name} of a message must be a string.")
    return text


def _bad(message: str) -> BadInput:
    return BadInput(message, code="unsupported_message")

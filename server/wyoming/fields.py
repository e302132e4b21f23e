"""Types of the fields of events. The library accepts any type, and fails where the field is used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wyoming.event import Event

from pipeline.errors import BadInput


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an event's data."""

    fits: Callable[[object], bool]
    kind: str
    """Description of the type for the error message."""
    required: bool = False


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_voice(value: object) -> bool:
    return isinstance(value, dict) and all(
        value.get(name) is None or isinstance(value[name], str) for name in ("name", "language", "speaker")
    )


TEXT, NEEDED_TEXT = Field(_is_text, "a string"), Field(_is_text, "a string", required=True)
TEXTS = Field(_are_texts, "a list of strings")
OBJECT = Field(_is_object, "an object")
VOICE = Field(_is_voice, "an object with strings")
WHOLE, NEEDED_WHOLE = Field(_is_whole, "a whole number"), Field(_is_whole, "a whole number", required=True)
NUMBER = Field(_is_number, "a number")
SPOKEN = {"voice": VOICE, "text_format": TEXT, "context": OBJECT}

FIELDS: Mapping[str, Mapping[str, Field]] = {
    "transcribe": {
        "name": TEXT,
        "language": TEXT,
        "context": OBJECT,
        "vad_sensitivity": TEXT,
        "transcript_names": TEXTS,
        "transcript_terms": TEXTS,
    },
    "detect": {"names": TEXTS, "context": OBJECT},
    "select-program": {"name": NEEDED_TEXT},
    "audio-start": {"rate": WHOLE, "width": WHOLE, "channels": WHOLE, "timestamp": NUMBER},
    "audio-chunk": {"rate": NEEDED_WHOLE, "width": NEEDED_WHOLE, "channels": NEEDED_WHOLE, "timestamp": NUMBER},
    "audio-stop": {"timestamp": NUMBER},
    "synthesize": {"text": NEEDED_TEXT, **SPOKEN},
    "synthesize-start": SPOKEN,
    "synthesize-chunk": {"text": NEEDED_TEXT},
    "transcript": {"text": NEEDED_TEXT, "language": TEXT, "context": OBJECT},
    "recognize": {"text": NEEDED_TEXT, "context": OBJECT},
    "ping": {"text": TEXT},
}
"""Event → the fields of it that this service reads."""


def checked(event: Event) -> Event:
    """Check the types of an event's fields and return the event without null fields. Raises BadInput (bad_parameter),
    which names the field."""
    fields = FIELDS.get(event.type, {})
    data = {name: value for name, value in event.data.items() if value is not None}
    for name, field in fields.items():
        if (name in data or field.required) and not field.fits(data.get(name)):
            raise BadInput(f"The field {name!r} of {event.type!r} must be {field.kind}.", code="bad_parameter")
    voice = data.get("voice")
    if "voice" in fields and voice is not None:
        data["voice"] = {name: value for name, value in voice.items() if value is not None}
    return Event(event.type, data, event.payload)

"""What several doors take in the same way: bodies, query parameters."""

import json
from typing import Annotated, Any

from fastapi import Depends, Query
from pydantic import BaseModel, model_validator

from pipeline.errors import BadInput
from pipeline.stt.languages import code_of
from pipeline.subtitles import Layout

MAX_SYSTEM_CHARS = 8_000
"""Longest `?system=`."""

MAX_TRACK = 99
TRACK = "Which audio track of a video, from 0; by default the one that a player would take."


class NullIsAbsent(BaseModel):
    """A JSON body in which null means what leaving the field out does: clients send what they have no value for."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, body: Any) -> Any:
        return {name: value for name, value in body.items() if value is not None} if isinstance(body, dict) else body


def subtitle_layout(
    line_width: Annotated[int, Query(ge=0, le=500, description="Columns of a subtitle's line; 0: unbroken.")] = 0,
    max_lines: Annotated[int, Query(ge=1, le=10, description="Lines of a subtitle.")] = 2,
    max_chars_per_s: Annotated[
        float,
        Query(ge=0, le=100, description="Reading speed: subtitles stay until they can be read, while nothing follows."),
    ] = 0.0,
    max_cue_s: Annotated[
        float, Query(ge=0, le=600, description="A longer subtitle is cut between words; 0: none.")
    ] = 0.0,
    highlight_words: Annotated[bool, Query(description="Each word is marked while it is spoken.")] = False,
) -> Layout:
    """For `Depends`: how srt, vtt and lrc look."""
    return Layout(line_width, max_lines, max_chars_per_s, max_cue_s, highlight_words)


SubtitleLayout = Annotated[Layout, Depends(subtitle_layout)]


def language_code(value: str | None) -> str | None:
    """The ISO 639-1 code in "pt", "pt-BR", "PT_br" or "Portuguese"; None for nothing or "auto". Raises BadInput."""
    if not value or value.lower() == "auto":
        return None
    if (known := code_of(value)) is not None:
        return known
    code = value.replace("_", "-").split("-")[0].lower()
    if not (code.isascii() and code.isalpha() and 2 <= len(code) <= 3):
        raise BadInput(f"{value[:20]!r} is no language code; send one like en or pt.", code="unsupported_language")
    return code


def system_prompt(value: str | None) -> str | None:
    """`?system=`, if it is not too long. Raises BadInput."""
    if value is not None and len(value) > MAX_SYSTEM_CHARS:
        raise BadInput(f"system is longer than {MAX_SYSTEM_CHARS} characters.", code="bad_parameter")
    return value


def from_json(value: Any) -> Any:
    """For validators: an object that came as JSON in a field of a form."""
    if isinstance(value, str) and value[:1] in "{[":
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value

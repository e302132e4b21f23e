"""Request parameters shared by several endpoints: bodies, query parameters."""

import json
from typing import Annotated

from fastapi import Depends, Query
from pydantic import BaseModel, model_validator

from pipeline.errors import BadInput
from pipeline.languages import language_code as language_code
from pipeline.support.encodable import encodable_json
from pipeline.support.json_types import Json
from pipeline.transcripts.subtitles import Layout

MAX_SYSTEM_CHARS = 8_000
"""Longest `?system=`."""

MAX_TRACK = 99
TRACK = "Audio track of a video, from 0; by default the one that a player would choose."


class NullIsAbsent(BaseModel):
    """A JSON body in which a null field counts as missing: clients send null for fields without a value."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, body: Json) -> object:
        body = encodable_json(body)
        return {name: value for name, value in body.items() if value is not None} if isinstance(body, dict) else body


def subtitle_layout(
    line_width: Annotated[
        int, Query(ge=0, le=500, description="Width of a subtitle line in columns; 0: no limit.")
    ] = 0,
    max_lines: Annotated[int, Query(ge=1, le=10, description="Maximum lines of a subtitle.")] = 2,
    max_chars_per_s: Annotated[
        float,
        Query(
            ge=0,
            le=100,
            description="Reading speed: subtitles stay until they can be read, or the next starts; 0: off.",
        ),
    ] = 0.0,
    max_cue_s: Annotated[
        float, Query(ge=0, le=600, description="Longest subtitle in seconds, split between words; 0: no limit.")
    ] = 0.0,
    highlight_words: Annotated[bool, Query(description="Highlight each word while it is spoken.")] = False,
) -> Layout:
    """Return the layout of srt, vtt and lrc, for `Depends`."""
    return Layout(line_width, max_lines, max_chars_per_s, max_cue_s, highlight_words)


SubtitleLayout = Annotated[Layout, Depends(subtitle_layout)]


def system_prompt(value: str | None) -> str | None:
    """Return `?system=`. Raises BadInput if it is too long."""
    if value is not None and len(value) > MAX_SYSTEM_CHARS:
        raise BadInput(f"system is longer than {MAX_SYSTEM_CHARS} characters.", code="bad_parameter")
    return value


def from_json(value: object) -> object:
    """Parse an object or list sent as JSON in a form field, for validators."""
    if isinstance(value, str) and value[:1] in "{[":
        try:
            return encodable_json(json.loads(value))
        except (ValueError, RecursionError):
            return value
    return value

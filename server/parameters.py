"""Request parameters shared by several endpoints: bodies, query parameters."""

from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import Depends, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, FailFast, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from pipeline.errors import BadInput
from pipeline.languages import language_code as language_code
from pipeline.personas import prompt_of
from pipeline.support.encodable import encodable_json
from pipeline.support.json_text import MAX_LIST, BadJson, NotJson, parsed, separators
from pipeline.support.json_types import Json
from pipeline.transcripts.subtitles import Layout

MAX_KEYWORDS = 200
MAX_KEYWORD_CHARS = 100
MAX_LANGUAGES = 100
MAX_LIST_CHARS = 2**18
"""Limit of a list in a form: 200 keywords of 100 characters, each written as two escapes (\\ud83d\\ude00), and more."""
MAX_LIST_MARKS = 2**15
"""Limit of brackets, commas and colons in all texts of a list: they decide how long parsing takes."""
MAX_TRACK = 99
OPENING = ("{", "[")
"""The first characters of JSON in a field."""
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
    return None if value is None else prompt_of(value)


def list_of(most_chars: int = MAX_LIST_CHARS) -> Callable[[object], object]:
    """Return a validator that converts a field of a form to a list: a single value is a list of one, and text can be a
    JSON list. most_chars: limit of all its texts together, checked before they are parsed."""

    def convert(value: object) -> object:
        values = value if isinstance(value, list) else [value]
        texts = [one for one in values if isinstance(one, str)]
        if sum(map(len, texts)) > most_chars:
            raise _too_long(f"is longer than {most_chars} characters")
        lists = [text for text in texts if text[:1] in OPENING]
        if sum(map(separators, lists)) > MAX_LIST_MARKS:
            raise _too_long(f"contains more than {MAX_LIST_MARKS} brackets, commas and colons")
        found: list[object] = []
        for one in values:
            inside = _list_in(one, most_chars) if isinstance(one, str) else one
            found += inside if isinstance(inside, list) else [one]
            if len(found) > MAX_LIST:
                raise _too_long(f"contains more than {MAX_LIST} values")
        return found

    return convert


def _list_in(text: str, most_chars: int) -> object:
    """Return the list or object in a text, or the text itself if it is not JSON."""
    if text[:1] not in OPENING:
        return text
    try:
        return parsed(text, most_chars=most_chars)
    except NotJson:
        return text
    except BadJson as error:
        raise _too_long(str(error)) from None


def _too_long(why: str) -> PydanticCustomError:
    return PydanticCustomError("too_long", "The value {why}", {"why": why})


as_list = list_of()
"""Convert a field of a form to a list, for validators."""


def _tidy(keywords: list[str]) -> list[str]:
    """Return keywords without extra spaces and null characters, empty ones and repetitions."""
    tidy = (" ".join(word.replace("\0", " ").split()) for word in keywords)
    return list(dict.fromkeys(word for word in tidy if word))


def _separate(languages: list[str]) -> list[str]:
    """Return languages one by one; those of a plain field can be separated by commas."""
    return [one.strip() for language in languages for one in language.split(",") if one.strip()]


Keywords = Annotated[
    list[Annotated[str, StringConstraints(max_length=MAX_KEYWORD_CHARS)]],
    Field(
        max_length=MAX_KEYWORDS,
        description="Names and words that may be spoken, the most important first. Whisper uses those that fit into "
        "its context (about 60).",
    ),
    FailFast(),
    BeforeValidator(as_list),
    AfterValidator(_tidy),
]
"""A list of keywords, in a form or a JSON body."""
Languages = Annotated[
    list[Annotated[str, StringConstraints(max_length=600)]],
    Field(max_length=MAX_LANGUAGES, description="Possible languages (ISO 639-1); others are not detected."),
    FailFast(),
    BeforeValidator(as_list),
    AfterValidator(_separate),
]
"""A list of possible languages, in a form or a JSON body."""


def spoken_languages(language: str | None, languages: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """Return the language of the speech, if there is only one, and else the codes of those that it can have.

    Raises BadInput: for an unknown language, or for a language that is not one of the possible ones.
    """
    code = language_code(language)
    try:
        found = (language_code(one) for one in languages)
        possible = tuple(dict.fromkeys(one for one in found if one is not None))
    except BadInput as error:
        raise BadInput(error.message, code=error.code, param="languages") from None
    if code is not None and possible and code not in possible:
        raise BadInput(f"language is {code}, which is not one of languages.", code="bad_parameter", param="languages")
    if code is None and len(possible) == 1:
        code = possible[0]
    return code, () if code is not None else possible


def from_json(value: object) -> object:
    """Parse an object or list sent as JSON in a form field, for validators. Text that is not JSON, or more than a field
    can need, stays text."""
    if not isinstance(value, str) or value[:1] not in OPENING or len(value) > MAX_LIST_CHARS:
        return value
    if separators(value) <= MAX_LIST_MARKS:
        try:
            return parsed(value, most_chars=MAX_LIST_CHARS)
        except BadJson:
            return value
    return value

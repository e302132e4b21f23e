"""JSON from outside, with limits on its size before parsing and on its content before use."""

import json
from collections.abc import Callable

from pipeline.support.encodable import encodable_json
from pipeline.support.json_types import Json, JsonObject

MAX_DEPTH = 64
MAX_VALUES = 10_000
"""Limit of objects, lists and their values, all together. A value takes up to 100 bytes, and checking its type takes
longer than parsing it."""
MAX_LIST = 1024
"""Limit of values in one list."""
MAX_NUMBER = 2**64


class BadJson(ValueError):
    """The text is not JSON or exceeds a limit. The message describes the problem as the end of a sentence."""


class NotJson(BadJson):
    """The text is not JSON."""


class BadNumber(BadJson):
    """The JSON contains a number that is invalid or too large."""


def parsed(text: str, *, most_chars: int, hook: Callable[[JsonObject], JsonObject] | None = None) -> Json:
    """Parse a JSON text. hook: see `json.loads` (object_hook). Raises BadJson."""
    if len(text) > most_chars:
        raise BadJson(f"is longer than {most_chars} characters")
    try:
        value: Json = json.loads(text, parse_constant=_no_constant, object_hook=hook)
    except BadNumber:
        raise
    except (ValueError, RecursionError):
        raise NotJson("is not valid JSON") from None
    _check(value)
    return encodable_json(value) if "\\u" in text else value


def separators(text: str | bytes) -> int:
    """Return the number of characters that begin or separate values: they decide how long parsing takes."""
    if isinstance(text, bytes):
        return sum(map(text.count, b"[{,:"))
    return sum(map(text.count, "[{,:"))


def _check(value: object) -> None:
    """Check the depth, number and size of the values. Raises BadJson."""
    level, seen = [value], 0
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for one in level:
            if isinstance(one, dict):
                below.extend(one.values())
            elif isinstance(one, list):
                if len(one) > MAX_LIST:
                    raise BadJson(f"contains a list of more than {MAX_LIST} values")
                below.extend(one)
            elif isinstance(one, int | float) and not -MAX_NUMBER <= one <= MAX_NUMBER:
                raise BadNumber("contains a number that is too large")
            if seen + len(below) > MAX_VALUES:
                raise BadJson(f"contains more than {MAX_VALUES} values")
        if not below:
            return
        level, seen = below, seen + len(below)
    raise BadJson(f"is nested deeper than {MAX_DEPTH} levels")


def _no_constant(name: str) -> float:
    raise BadNumber(f"contains {name} instead of a number")

"""JSON from outside: bounded in its size before it is parsed, and in what is in it before anybody works with it."""

import json
from collections.abc import Callable
from typing import Any

from pipeline.encodable import encodable_json

MAX_DEPTH = 64
MAX_VALUES = 10_000
"""Objects, lists and what is in them, all together. A value costs up to 100 bytes, and a check of its type more time
than its parsing."""
MAX_LIST = 1024
"""Values in one list."""
MAX_NUMBER = 2**64


class BadJson(ValueError):
    """It is not JSON, or more than is taken. Its text says what is wrong, as the end of a sentence."""


class BadNumber(BadJson):
    """It has a number in it that is none, or too large."""


def parsed(text: str, *, most_chars: int, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """The value of a JSON text. hook: see `json.loads` (object_hook). Raises BadJson."""
    if len(text) > most_chars:
        raise BadJson(f"is longer than {most_chars} characters")
    try:
        value = json.loads(text, parse_constant=_no_constant, object_hook=hook)
    except BadNumber:
        raise
    except (ValueError, RecursionError):
        raise BadJson("is not JSON that can be understood") from None
    _check(value)
    return encodable_json(value) if "\\u" in text else value


def _check(value: Any) -> None:
    """Depth, number and size of the values. Raises BadJson."""
    level, seen = [value], 0
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below.extend(one.values())
            elif isinstance(one, list):
                if len(one) > MAX_LIST:
                    raise BadJson(f"has a list of more than {MAX_LIST} values in it")
                below.extend(one)
            elif isinstance(one, int | float) and not -MAX_NUMBER <= one <= MAX_NUMBER:
                raise BadNumber("has a number in it that is too large")
            if seen + len(below) > MAX_VALUES:
                raise BadJson(f"has more than {MAX_VALUES} values in it")
        if not below:
            return
        level, seen = below, seen + len(below)
    raise BadJson(f"is nested deeper than {MAX_DEPTH} levels")


def _no_constant(name: str) -> float:
    raise BadNumber(f"has {name} in the place of a number")

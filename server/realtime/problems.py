"""Conversion of pydantic's errors about a client event into one error about one field, in the client's terms.

Most objects of the protocol are unions. pydantic reports errors for every member and puts the member's name into the
path ("item.RealtimeConversationItemUserMessage.content", "voice.str"). This module chooses the intended member by its
`type` and `role`, and reports paths without members' names.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import ErrorDetails

TAGS = ("type", "role")
"""Fields that identify the intended member of a union, the more specific one first."""
_CODES = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}

Path = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """An invalid field."""

    path: Path
    """Path in the event as it was sent."""
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class _Found:
    """One of pydantic's errors."""

    steps: tuple[tuple[int | str, bool], ...]
    """The error's location: each part, and whether it is in the event (not the name of a member)."""
    error: ErrorDetails

    @property
    def path(self) -> Path:
        return tuple(part for part, real in self.steps if real)


def first_problem(error: ValidationError, message: object) -> Problem:
    """Return the problem of this message that is most worth reporting."""
    found = _chosen([_Found(_steps(one, message), one) for one in error.errors(include_url=False)], 0)
    kind = found[0].error["type"]
    code = _CODES.get(kind, "invalid_type" if kind.endswith("_type") else "invalid_value")
    return Problem(found[0].path, code, _message(found))


def written(path: Sequence[int | str]) -> str:
    """Return a path as the protocol writes it: item.content[0].type."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _chosen(found: list[_Found], depth: int) -> list[_Found]:
    """Return the errors about one field, from errors whose locations agree up to `depth`. There are several if no
    member of a union matches."""
    here = [one for one in found if len(one.steps) == depth]
    if here:
        return here[:1]
    fields = [one for one in found if one.steps[depth][1]]
    if fields:
        first = fields[0].steps[depth][0]
        return _chosen([one for one in fields if one.steps[depth][0] == first], depth + 1)
    members: dict[int | str, list[_Found]] = {}
    for one in found:
        members.setdefault(one.steps[depth][0], []).append(one)
    for tag in TAGS:
        wrong = {
            name: [one for one in errors if one.steps[depth + 1 :] == ((tag, True),)]
            for name, errors in members.items()
        }
        if all(wrong.values()):
            return [one for errors in wrong.values() for one in errors]
        members = {name: errors for name, errors in members.items() if not wrong[name]}
    # The member with the deepest error, then the one with the fewest errors.
    best = max(members.values(), key=lambda errors: (max(len(one.steps) for one in errors), -len(errors)))
    return _chosen(best, depth + 1)


def _steps(error: ErrorDetails, message: object) -> tuple[tuple[int | str, bool], ...]:
    """Return each part of an error's location with whether it is in the message: the parts in the message lead to the
    error's input."""
    missing = error["type"] == "missing"
    location: Path = error["loc"]
    last = len(location) - missing

    def follow(depth: int, value: object) -> tuple[bool, ...] | None:
        if depth == last:
            return () if value is error["input"] else None
        for inside in _at(value, location[depth]):
            if (rest := follow(depth + 1, inside)) is not None:
                return (True, *rest)
        return None if (rest := follow(depth + 1, value)) is None else (False, *rest)

    real = follow(0, message) or tuple(False for _ in range(last))
    return tuple(zip(location, (*real, True) if missing else real, strict=True))


def _at(value: object, part: int | str) -> Sequence[object]:
    """Return what an object or a list has at `part`: one value, or none."""
    if isinstance(value, dict):
        return [value[part]] if part in value else []
    return value[part : part + 1] if isinstance(value, list) and isinstance(part, int) else []


def _message(found: Sequence[_Found]) -> str:
    """Return the error text; for an invalid `type`, with all supported values."""
    expected = [one.error["ctx"]["expected"] for one in found if one.error["type"] == "literal_error"]
    if len(expected) > 1:
        return f"Supported values are: {', '.join(dict.fromkeys(expected))}"
    first = found[0].error
    return "Input should be an object" if first["type"] == "model_type" else first["msg"]

"""What is wrong with a client event, from what pydantic has found: one field, as the client knows it.

Most objects of the protocol are unions. pydantic reports what is wrong with every member, and puts the member's name
into the path ("item.RealtimeConversationItemUserMessage.content", "voice.str"): here the member that was meant is
chosen, by its `type` and `role`, and no name of a member is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

TAGS = ("type", "role")
"""Fields that say which member of a union is meant, the more telling one first."""
_CODES = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}

Path = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """A field that is wrong."""

    path: Path
    """In the event as it was sent."""
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class _Found:
    """One of pydantic's errors."""

    steps: tuple[tuple[int | str, bool], ...]
    """Its location: each part, and whether it is in the event, and not the name of a member."""
    error: Any

    @property
    def path(self) -> Path:
        return tuple(part for part, real in self.steps if real)


def first_problem(error: ValidationError, message: Any) -> Problem:
    """The problem that is most worth reporting of those with this message."""
    errors: Sequence[Any] = error.errors(include_url=False)
    found = _chosen([_Found(_steps(one, message), one) for one in errors], 0)
    kind = found[0].error["type"]
    code = _CODES.get(kind, "invalid_type" if kind.endswith("_type") else "invalid_value")
    return Problem(found[0].path, code, _message(found))


def written(path: Sequence[int | str]) -> str:
    """A path as the protocol writes it: item.content[0].type."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _chosen(found: list[_Found], depth: int) -> list[_Found]:
    """Of errors that agree so far: those about one field. They are several where no member of a union was meant."""
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
    # The member that went furthest, then the one with the least that is wrong.
    best = max(members.values(), key=lambda errors: (max(len(one.steps) for one in errors), -len(errors)))
    return _chosen(best, depth + 1)


def _steps(error: Any, message: Any) -> tuple[tuple[int | str, bool], ...]:
    """Which parts of an error's location are in the message: those that lead to what the error calls its input."""
    missing = error["type"] == "missing"
    location: Path = error["loc"]
    last = len(location) - missing

    def follow(depth: int, value: Any) -> tuple[bool, ...] | None:
        if depth == last:
            return () if value is error["input"] else None
        part = location[depth]
        if _has(value, part) and (rest := follow(depth + 1, value[part])) is not None:
            return (True, *rest)
        return None if (rest := follow(depth + 1, value)) is None else (False, *rest)

    real = follow(0, message) or tuple(False for _ in range(last))
    return tuple(zip(location, (*real, True) if missing else real, strict=True))


def _has(value: Any, part: int | str) -> bool:
    if isinstance(value, dict):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and part < len(value)


def _message(found: Sequence[_Found]) -> str:
    """Of a wrong `type`, all that it may be."""
    expected = [one.error["ctx"]["expected"] for one in found if one.error["type"] == "literal_error"]
    if len(expected) > 1:
        return f"Supported values are: {', '.join(dict.fromkeys(expected))}"
    told: str = found[0].error["msg"]
    return "Input should be an object" if found[0].error["type"] == "model_type" else told

"""Lenient readers for the fields of a language model server's response; unreadable values become empty."""

import json
import math
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.llm import ToolCall, Usage
from pipeline.llm.written import Brackets, arguments_text, known_name
from pipeline.support.encodable import encodable
from pipeline.support.json_types import JsonObject

MAX_COUNT = 10**9
MAX_CALLS = 64
"""Limit for the function calls in one reply; further ones are dropped."""
MAX_ARGUMENT_CHARS = 200_000
"""Limit for the arguments of one call; the rest is dropped, and the call fails."""


def mapping(value: object) -> Mapping[str, object]:
    """Return an object, or an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> Sequence[object]:
    """Return a list; a single object becomes a list of one, anything else an empty list."""
    return value if isinstance(value, list) else [value] if isinstance(value, dict) else ()


def written(value: object, *, depth: int = 3) -> str:
    """Return the text of a message: a string, or a list of parts, without those that are thinking."""
    match value:
        case str():
            return value
        case list() if depth:
            return "".join(written(part, depth=depth - 1) for part in value)
        case dict() if depth and value.get("type") in (None, "text", "output_text", "refusal"):
            inner = value.get("text")
            inner = value.get("content") if inner is None else inner
            inner = value.get("refusal") if inner is None else inner
            return written(inner.get("value") if isinstance(inner, dict) else inner, depth=depth - 1)
        case int() | float() if not isinstance(value, bool):
            return str(value)
        case _:
            return ""


def count(value: object) -> int:
    """Return a number of tokens; 0 when the value is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return 0
    return min(MAX_COUNT, max(0, int(number))) if math.isfinite(number) else 0


def usage(inputs: object, outputs: object) -> Usage:
    """Return both counts."""
    return Usage(count(inputs), count(outputs))


def error_in(value: object) -> str:
    """Return the error message of a response, in any of the forms that servers use; empty if there is none."""
    told = mapping(value)
    error = told.get("error") or (told if told.get("object") == "error" or told.get("type") == "error" else None)
    if error is None and "choices" not in told and "message" not in told and "delta" not in told:
        error = told.get("detail")
    if not error:
        return ""
    for _ in range(3):
        if not isinstance(error, dict):
            break
        inner = error.get("message") or error.get("error") or error.get("detail")
        if not inner:
            break
        error = inner
    if error is True:
        error = told.get("message") or "an error"
    return encodable(str(error))


def read_arguments(text: str) -> JsonObject:
    """Parse the arguments of a call; return an empty object if the model did not write an object."""
    try:
        arguments = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return arguments if isinstance(arguments, dict) else {}


@dataclass(slots=True)
class _Call:
    """One call, as far as it has arrived."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    chars: int = 0
    brackets: Brackets = field(default_factory=Brackets)
    complete: bool = False
    """The arguments are a complete object."""

    def add(self, text: str) -> None:
        text = text[: MAX_ARGUMENT_CHARS - self.chars]
        self.chars += len(text)
        self.arguments.append(text)
        for char in text:
            self.complete = self.brackets.feed(char) or self.complete


class Calls:
    """Collects calls that arrive in chunks or whole. Servers differ in the fields that they repeat in each chunk, and
    in whether they number the calls, so a chunk begins another call when it cannot continue the previous one."""

    def __init__(self, tools: Collection[str]) -> None:
        """tools: names of the functions offered to the model."""
        self._tools = frozenset(tools)
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}
        """The latest call with each number."""

    def take(self, piece: object) -> None:
        """Take a chunk: `{"index", "id", "function": {"name", "arguments"}}`. Each field can be missing or null."""
        told = mapping(piece)
        function = mapping(told.get("function")) or told
        index = told.get("index")
        if not isinstance(index, int):
            index = mapping(told.get("function")).get("index")
        name = known_name(written(function.get("name")), self._tools)
        given = function.get("arguments", function.get("parameters"))
        arguments = "" if given in (None, "") else arguments_text(given)
        id = written(told.get("id"))
        call = self._at.get(index) if isinstance(index, int) else (self._calls[-1] if self._calls else None)
        if call is None or self._begins_another(call, id, name, arguments, whole=isinstance(given, dict)):
            if len(self._calls) >= MAX_CALLS:
                return
            call = _Call()
            self._calls.append(call)
        if isinstance(index, int):
            self._at[index] = call
        call.id = call.id or id
        if name and name != call.name:
            call.name += name
        call.add(arguments)

    def _begins_another(self, call: _Call, id: str, name: str, arguments: str, *, whole: bool) -> bool:
        if not name or not call.name:
            return False
        another_id = bool(id and call.id and id != call.id)
        if name != call.name:
            # A name split over chunks, unless both parts are names of functions.
            joined = call.name + name in self._tools and not call.chars
            return not joined and (call.complete or not call.chars or another_id or name in self._tools)
        if call.complete:
            return another_id or arguments.lstrip().startswith("{")
        return whole or (another_id and not call.chars and not arguments)

    def whole(self) -> list[ToolCall]:
        """Return all calls with a name, in order."""
        return [
            ToolCall(encodable(call.id), encodable(call.name), encodable("".join(call.arguments)) or "{}")
            for call in self._calls
            if call.name
        ]


def with_ids(calls: Sequence[ToolCall], taken: set[str]) -> tuple[ToolCall, ...]:
    """Give each call an id that no earlier call has. `taken` holds the ids in use, and gets the new ones.

    Some servers restart their numbering in each reply, which would confuse the results of different turns.
    """
    named = []
    for call in calls:
        id = call.id if call.id and call.id not in taken else _new_id()
        taken.add(id)
        named.append(ToolCall(id, call.name, call.arguments))
    return tuple(named)


def _new_id() -> str:
    """Return nine letters and digits: Mistral's templates refuse any other form."""
    return secrets.token_hex(5)[:9]

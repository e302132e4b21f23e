"""Fields of a language model server's answer, in whatever form they come: what can be read of them, else nothing."""

import json
import math
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.encodable import encodable
from pipeline.llm import ToolCall, Usage
from pipeline.llm.written import Brackets, arguments_text, known_name

MAX_COUNT = 10**9
MAX_CALLS = 64
"""One reply calls no more functions; what is beyond is left out."""
MAX_ARGUMENT_CHARS = 200_000
"""The arguments of one call are no longer; the rest is left out, and the call fails."""


def mapping(value: Any) -> Mapping[str, Any]:
    """An object; an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> Sequence[Any]:
    """A list; a single object counts as a list of one, anything else as an empty one."""
    return value if isinstance(value, list) else [value] if isinstance(value, dict) else ()


def written(value: Any, *, depth: int = 3) -> str:
    """The text of a message: a string, or a list of parts of which those that are thinking are left out."""
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


def count(value: Any) -> int:
    """A number of tokens; 0 when it is none."""
    try:
        number = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return 0
    return min(MAX_COUNT, max(0, int(number))) if math.isfinite(number) else 0


def usage(inputs: Any, outputs: Any) -> Usage:
    """Both counts."""
    return Usage(count(inputs), count(outputs))


def error_in(value: Any) -> str:
    """What went wrong, if an answer says so in one of the forms that servers have; empty if it says nothing of it."""
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


def read_arguments(text: str) -> dict[str, Any]:
    """The arguments of a call as an object; an empty one where what a model wrote is none."""
    try:
        arguments = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return arguments if isinstance(arguments, dict) else {}


@dataclass(slots=True)
class _Call:
    """One call, as much of it as has come."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    chars: int = 0
    brackets: Brackets = field(default_factory=Brackets)
    complete: bool = False
    """The arguments are a whole object."""

    def add(self, text: str) -> None:
        text = text[: MAX_ARGUMENT_CHARS - self.chars]
        self.chars += len(text)
        self.arguments.append(text)
        for char in text:
            self.complete = self.brackets.feed(char) or self.complete


class Calls:
    """Calls that come in pieces, or whole. Servers differ in what of a call they repeat in each piece, and in whether
    they number the calls; so a piece begins another call when it could not go on with the one before."""

    def __init__(self, tools: Collection[str]) -> None:
        """tools: the names of the functions that were offered."""
        self._tools = frozenset(tools)
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}
        """The latest call of each number."""

    def take(self, piece: Any) -> None:
        """The next piece: `{"index", "id", "function": {"name", "arguments"}}`, where all may be absent or null."""
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
            # A name that comes in pieces, unless both are names.
            joined = call.name + name in self._tools and not call.chars
            return not joined and (call.complete or not call.chars or another_id or name in self._tools)
        if call.complete:
            return another_id or arguments.lstrip().startswith("{")
        return whole or (another_id and not call.chars and not arguments)

    def whole(self) -> list[ToolCall]:
        """All of them, in order, those without a name left out."""
        return [
            ToolCall(encodable(call.id), encodable(call.name), encodable("".join(call.arguments)) or "{}")
            for call in self._calls
            if call.name
        ]


def with_ids(calls: Sequence[ToolCall], taken: set[str]) -> tuple[ToolCall, ...]:
    """The calls, each with an id that no call has had before; `taken` holds those, and is added to.

    Some servers number the calls of each reply anew: the results of two turns would be mistaken for each other.
    """
    named = []
    for call in calls:
        id = call.id if call.id and call.id not in taken else _new_id()
        taken.add(id)
        named.append(ToolCall(id, call.name, call.arguments))
    return tuple(named)


def _new_id() -> str:
    """Nine letters and digits: Mistral's templates refuse any other form."""
    return secrets.token_hex(5)[:9]

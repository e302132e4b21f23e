"""Find function calls in a streamed reply: JSON by itself or in a code block, wherever the text is cut."""

import re
from enum import Enum, auto

from pipeline.llm.written import KEYS, Brackets, Call, calls_in_values

MAX_CALL_CHARS = 32_000
"""Limit for text that is held back as a possible call; anything longer is text."""

_INFO = re.compile(r"`{3,}[ \t]*[\w-]{0,20}[ \t]*")
_SPACED = re.compile(r"\s*\[?\s*\{?\s*")


class _At(Enum):
    TEXT = auto()
    SPAN = auto()
    """In a code span, which ends with its line at the latest."""
    BLOCK = auto()
    """In a code block that is not a call."""
    HELD = auto()
    """In a possible call."""
    CALLED = auto()
    """After a call; separators before the next call are left out."""


class WrittenCalls:
    """Finds the calls in a streamed reply, wherever it is cut. Without functions all text passes unchanged."""

    def __init__(self, tools: frozenset[str]) -> None:
        self._tools = tools
        self._heads = tuple(f"{tool}(" for tool in tools)
        self._keys = tuple(f'{key}"' for key in (*KEYS, *tools))
        self._at = _At.TEXT
        self._held = ""
        self._begun = 0
        """Position in the held text where the value begins; brackets are counted from there."""
        self._certain = False
        """The held text certainly begins like a call."""
        self._in_block = False
        self._ticks = ""
        self._brackets = Brackets()
        self._out: list[str] = []
        self._calls: list[Call] = []

    def feed(self, text: str) -> tuple[str, list[Call]]:
        """Take text; return what is certain to be text, and the complete calls."""
        if not self._tools:
            return text, []
        for char in text:
            self._take(char)
        return self._taken()

    def finish(self) -> tuple[str, list[Call]]:
        """End the reply; return what was held back: text, or a call that lacks only its last brackets."""
        if self._at is _At.HELD and self._certain and self._call(self._held[self._begun - 1 :]):
            self._at = _At.CALLED
        self._let_go()
        self._out.append(self._ticks if self._at is not _At.CALLED else "")
        self._ticks = ""
        return self._taken()

    def _taken(self) -> tuple[str, list[Call]]:
        out, calls = "".join(self._out), self._calls
        self._out, self._calls = [], []
        return out, calls

    def _take(self, char: str) -> None:
        if self._at is _At.HELD:
            self._hold(char)
            return
        if char == "`":
            self._ticks += char
            return
        if self._ticks and self._begins_block():
            self._hold(char)
            return
        match self._at:
            case _At.SPAN if char == "\n":
                self._at = _At.TEXT
            case _At.CALLED if char.isspace() or char in ";,":
                return
            case _At.CALLED if char not in "[{":
                self._at = _At.BLOCK if self._in_block else _At.TEXT
            case _:
                pass
        if char in "[{" and self._at in (_At.TEXT, _At.CALLED):
            self._begin("")
            self._hold(char)
        else:
            self._out.append(char)

    def _begins_block(self) -> bool:
        """End a run of backticks; return whether it opens a code block that can contain a call."""
        ticks, self._ticks = self._ticks, ""
        block = len(ticks) >= 3
        match self._at:
            case _At.TEXT if block:
                self._in_block = True
                self._begin(ticks)
                return True
            case _At.TEXT:
                self._at = _At.SPAN
            case _At.CALLED if self._in_block and block:
                self._in_block = False
                return False
            case _At.CALLED if block:
                self._in_block = True
                self._begin(ticks)
                return True
            case _At.BLOCK if block:
                self._at, self._in_block = _At.TEXT, False
            case _At.SPAN | _At.CALLED:
                self._at = _At.TEXT
            case _:
                pass
        self._out.append(ticks)
        return False

    def _begin(self, held: str) -> None:
        self._at, self._held, self._begun, self._certain = _At.HELD, held, 0, False
        self._brackets = Brackets()

    def _hold(self, char: str) -> None:
        self._held += char
        if not self._begun:
            if char in "[{":
                self._begun = len(self._held)
            elif not self._opens_block():
                self._let_go()
                return
            else:
                return
        ended = self._brackets.feed(char)
        if ended:
            if self._call(self._held[self._begun - 1 :]):
                self._held, self._at = "", _At.CALLED
            else:
                self._let_go()
        elif len(self._held) > MAX_CALL_CHARS or not (self._certain or self._may_be_call()):
            self._let_go()

    def _opens_block(self) -> bool:
        """Whether a code block has begun and is still empty."""
        info, _, inside = self._held.partition("\n")
        return bool(_INFO.fullmatch(info)) and not inside.strip() and "`" not in inside and len(inside) < 80

    def _may_be_call(self) -> bool:
        value = self._held[self._begun - 1 :]
        spaced = _SPACED.match(value)
        rest = value[spaced.end() :] if spaced else value
        if not rest:
            return len(value) < 80
        if rest[0] in "\"'" and "{" in value[: len(value) - len(rest)]:
            rest = rest.replace("'", '"')
            self._certain = any(rest[1:].startswith(key) for key in self._keys)
            return self._certain or any(key.startswith(rest[1:]) for key in self._keys)
        if value[0] == "[" and "{" not in value[: len(value) - len(rest)]:
            self._certain = any(rest.startswith(head) for head in self._heads)
            return self._certain or any(head.startswith(rest) for head in self._heads)
        return False

    def _call(self, value: str) -> bool:
        calls = calls_in_values(value, self._tools)
        self._calls += calls
        return bool(calls)

    def _let_go(self) -> None:
        """Release the held text: it is not a call."""
        if self._at is _At.HELD:
            self._at = _At.BLOCK if self._in_block else _At.TEXT
            self._out.append(self._held)
            self._held = ""

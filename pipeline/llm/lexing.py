"""Splitting of a streamed reply into characters and markers, wherever the stream is cut."""

from collections import deque
from collections.abc import Iterator

from pipeline.llm.markers import STARTS, Marker, marker_of, may_become_marker

FENCE = 3
"""Number of backticks from which they open or close a code block; fewer open a code span, which ends with its line."""


class Lexer:
    """Yields each character as it is, or the complete marker that it belongs to.

    A character is held back only while it can be part of a marker, so that plain text passes at once.
    """

    def __init__(self) -> None:
        self._held = ""
        self._run = 0
        """Number of backticks just before the current position."""
        self._code = 0
        """Number of backticks that opened the current code; 0 outside code."""
        self._before = ""

    def feed(self, text: str) -> Iterator[str | Marker]:
        """Yield the characters and markers that are certain. The caller must read all of them."""
        coming = deque(text)
        while coming:
            char = coming.popleft()
            if not self._held and not self._starts(char):
                self._pass(char)
                yield char
                continue
            self._held += char
            if (found := marker_of(self._held)) is not None:
                self._held = ""
                self._pass(" ")
                yield found
            elif not may_become_marker(self._held):
                first, rest = self._held[0], self._held[1:]
                self._held = ""
                coming.extendleft(reversed(rest))
                self._pass(first)
                yield first

    def finish(self) -> str:
        """Return the text that was held back and is not a marker."""
        held, self._held = self._held, ""
        return held

    def leave_code(self) -> None:
        """Forget open code: the text so far was not the reply, so its backticks do not open code in the reply."""
        self._run = self._code = 0

    def _starts(self, char: str) -> bool:
        return char in STARTS and not self.in_code

    @property
    def in_code(self) -> bool:
        """Whether the next character, if not a backtick, is in code, where markers are plain text."""
        if not self._run:
            return bool(self._code)
        return not self._code or not self._closes()

    def _closes(self) -> bool:
        return self._run == self._code or min(self._run, self._code) >= FENCE

    def _pass(self, char: str) -> None:
        if char == "`":
            if not self._run and not self._code and self._before.isalnum():
                self._before = char  # an apostrophe, as in "it`s"
                return
            self._run += 1
        elif self._run:
            self._code, self._run = 0 if not self.in_code else (self._code or self._run), 0
        if char == "\n" and self._code < FENCE:
            self._code = 0
        self._before = char

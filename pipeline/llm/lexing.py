"""A reply that comes in pieces → plain characters and markers, wherever it was cut."""

from collections import deque
from collections.abc import Iterator

from pipeline.llm.markers import STARTS, Marker, marker_of, may_become_marker

FENCE = 3
"""So many backticks begin a block of code, which only as many end; fewer begin a span, which ends with its line."""


class Lexer:
    """Gives back each character as it stands, or the marker that it belongs to once that is whole.

    A character is held back only while it may be part of a marker, so that plain text passes at once.
    """

    def __init__(self) -> None:
        self._held = ""
        self._run = 0
        """Backticks that stand right before here."""
        self._code = 0
        """How many backticks have begun the code that this is in; 0: it is none."""
        self._before = ""

    def feed(self, text: str) -> Iterator[str | Marker]:
        """The characters and markers that are certain now. To be read to its end."""
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
        """What was held back and is text after all."""
        held, self._held = self._held, ""
        return held

    def leave_code(self) -> None:
        """What came up to here was not the reply: backticks in it begin no code of the reply's."""
        self._run = self._code = 0

    def _starts(self, char: str) -> bool:
        return char in STARTS and not self.in_code

    @property
    def in_code(self) -> bool:
        """Whether the next character, not a backtick, stands in code: a marker there is what the text is about."""
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

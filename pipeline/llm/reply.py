"""Extracts the text for the user, and the calls written as text, from the text that a language model's server sends.

Halves of surrogate pairs are joined, thinking and other channels are dropped, special tokens end the reply, and calls
written as text are found (`pipeline.llm.written`). The result does not depend on how the text was cut into deltas.
Plain text passes at once, and each character costs a bounded amount of work.
"""

import re
from collections.abc import Collection
from enum import Enum, auto

from pipeline.llm import ToolCall
from pipeline.llm.lexing import Lexer
from pipeline.llm.markers import Kind, Marker
from pipeline.llm.written import Call, calls_in
from pipeline.llm.written_stream import WrittenCalls
from pipeline.support.encodable import Halves

MAX_HEADER_CHARS = 200
"""Limit for a message's header (its role, its channel); anything longer is text."""

_RECIPIENT = re.compile(r"\bto=(?:functions\.)?([\w.-]{1,80})")
_FIRST_CHANNEL, _LAST_CHANNEL = "analysis", "assistantfinal"
"""`analysisThe user wants … assistantfinalThe answer`: harmony without its special tokens."""
_ENDS_CALL = (Kind.END, Kind.ROLE, Kind.HEADER, Kind.CHANNEL, Kind.MESSAGE_END)
"""Markers that end a call without an end marker."""
_ROLES = ("assistant", "model", "ai", "bot", "chatbot", "user", "system", "tool")


class _In(Enum):
    """Kind of the text at the current position."""

    REPLY = auto()
    THOUGHT = auto()
    HEADER = auto()
    ROLE = auto()
    HIDDEN = auto()
    """A harmony message that is not for the user."""
    BARE_CHANNEL = auto()
    """harmony's first channel, where the server has removed the special tokens."""
    CALL = auto()
    CALL_MESSAGE = auto()
    """A harmony message that calls a function."""


class ReplyText:
    """One reply. `feed` it the server's text, `finish` it at the end, and stop reading when it is `over`."""

    def __init__(self, tools: Collection[str] = (), *, thinks_first: bool = False) -> None:
        """tools: names of the functions offered to the model. thinks_first: the text begins with a thought without an
        opening marker, and is held until the thought has ended."""
        self.over = False
        """The reply has ended; later text is ignored."""
        self.calls: list[ToolCall] = []
        """Calls found in the text so far."""
        self.closed_unopened: bool | None = None
        """Whether a thought ended that was never opened; None: unknown, because the reply was empty."""
        self._halves = Halves()
        self._lexer = Lexer()
        self._tools = frozenset(tools)
        self._written = WrittenCalls(self._tools)
        self._in = _In.REPLY
        self._kept: list[str] | None = [] if thinks_first else None
        """The text so far, while it can still be a thought."""
        self._reader = Lexer()
        """Reads the kept text as if it were a reply, to know whether it is in code."""
        self._call: list[str] = []
        self._closes_with = ""
        self._header = ""
        self._harmony = self._answering = False
        self._blank = True
        """The output is empty, or ends in a space after which something was left out."""
        self._beginning: str | None = ""
        """The start of the reply, while it can be the name of a channel; None: it is not."""
        self._parts = False
        """Something between two words was left out."""
        self._last = ""
        """The last character of the output."""
        self._out: list[str] = []

    def feed(self, text: str) -> str:
        """Take text; return what is certain to be for the user."""
        self._read(self._halves.feed(text))
        return self._taken()

    def finish(self) -> str:
        """End the reply; return the text for the user that was held back."""
        self._read(self._halves.finish())
        self._close()
        return self._taken()

    def _taken(self) -> str:
        out, self._out = "".join(self._out), []
        return out

    def _read(self, text: str) -> None:
        for piece in self._lexer.feed(text):
            if self.over:
                return
            self._take(piece)

    def _close(self) -> None:
        """Process the end of the text."""
        for char in self._lexer.finish():
            if not self.over:
                self._take(char)
        self._end()

    def _take(self, piece: str | Marker) -> None:
        if self._kept is not None:
            self._keep(piece)
        elif isinstance(piece, str):
            self._text(piece)
        else:
            self._mark(piece)
        if self._in is not _In.REPLY or self._kept is not None:
            self._lexer.leave_code()

    # --- a thought without an opening marker ---

    def _keep(self, piece: str | Marker) -> None:
        assert self._kept is not None  # noqa: S101  # only called while `_kept` is set
        text = piece if isinstance(piece, str) else piece.text
        match None if isinstance(piece, str) else piece.kind:
            case Kind.THINK_CLOSE:
                self._kept, self.closed_unopened = None, True
            case Kind.END:
                self._end()
            case Kind.THINK_OPEN | Kind.CHANNEL | Kind.HEADER if isinstance(piece, Marker) and not self._reader.in_code:
                # The thought opens here, so the text before it was not a thought.
                kept, self._kept = "".join(self._kept), None
                self._read_again(kept)
                self._mark(piece)
            case _:
                self._kept.append(text)
                for _ in self._reader.feed(text):
                    pass

    def _read_again(self, kept: str) -> None:
        lexer, self._lexer = self._lexer, Lexer()
        self._read(kept)
        for char in self._lexer.finish():
            self._take(char)
        self._lexer = lexer
        self._lexer.leave_code()

    def _end(self) -> None:
        if self._kept is not None:
            # The supposed thought never ended, so it was the reply.
            kept, self._kept = "".join(self._kept), None
            self._read_again(kept)
        if self._in in (_In.CALL, _In.CALL_MESSAGE):
            self._close_call("")
        self._begun()
        self._written_out(*self._written.finish())
        if self.closed_unopened is None and self._last:
            self.closed_unopened = False
        self.over = True

    # --- text ---

    def _text(self, char: str) -> None:
        match self._in:
            case _In.REPLY if self._beginning is not None:
                self._begin(char)
            case _In.REPLY:
                self._say(char)
            case _In.BARE_CHANNEL:
                self._header = (self._header + char)[-len(_LAST_CHANNEL) :]
                if self._header == _LAST_CHANNEL:
                    self._in = _In.REPLY
            case _In.CALL | _In.CALL_MESSAGE:
                self._call.append(char)
            case _In.ROLE:
                self._role(char)
            case _In.HEADER:
                self._header = (self._header + char)[-MAX_HEADER_CHARS - 1 :]
            case _:
                pass

    def _begin(self, char: str) -> None:
        """Hold the first letters of the reply while they can be the name of a channel."""
        begun, self._beginning = (self._beginning or "") + char, None
        if _FIRST_CHANNEL.startswith(begun):
            self._beginning = begun
        elif begun[:-1] == _FIRST_CHANNEL and char.isupper():
            self._in, self._header = _In.BARE_CHANNEL, ""
        else:
            self._say(begun)

    def _begun(self) -> None:
        """Release the held start of the reply: it is not a channel's name."""
        begun, self._beginning = self._beginning, None
        if begun:
            self._say(begun)

    def _role(self, char: str) -> None:
        """Skip the name of a role, which ends with its line. Anything else is the reply."""
        self._header += char
        if char == "\n":
            self._in = _In.REPLY
        elif not any(role.startswith(self._header.strip().lower()) for role in _ROLES):
            self._in = _In.REPLY
            self._say(self._header)

    def _say(self, text: str) -> None:
        self._written_out(*self._written.feed(text))

    def _written_out(self, text: str, calls: list[Call]) -> None:
        for name, arguments in calls:
            self.calls.append(ToolCall("", name, arguments))
        if calls:
            self._parted()
        if self._blank:
            text = text.lstrip()
        if text:
            if self._parts and self._last and not (self._last.isspace() or text[0].isspace()):
                text = " " + text
            self._blank, self._parts, self._last = False, False, text[-1]
            self._out.append(text)

    def _left_out(self) -> None:
        """Mark that something is left out here, to avoid a double space."""
        self._blank = self._blank or not self._last or self._last.isspace()

    def _parted(self) -> None:
        """Mark that the part left out here separates two words."""
        self._left_out()
        self._parts = True

    # --- markers ---

    def _mark(self, marker: Marker) -> None:
        if self._in is _In.CALL and marker.kind is Kind.CALL_CLOSE and marker.closes_with == self._closes_with:
            self._close_call(marker.text)
            return
        if self._in in (_In.CALL, _In.CALL_MESSAGE) and marker.kind not in _ENDS_CALL:
            self._call.append(marker.text)
            return
        if self._in is _In.THOUGHT and marker.kind not in (Kind.THINK_CLOSE, Kind.CHANNEL, Kind.HEADER, Kind.END):
            return
        self._begun()
        match marker.kind:
            case Kind.THINK_OPEN if self._in is _In.REPLY:
                self._parted()
                self._in = _In.THOUGHT
            case Kind.THINK_CLOSE:
                self._think_close()
            case Kind.END:
                self._end()
            case Kind.ROLE | Kind.HEADER | Kind.CHANNEL | Kind.MESSAGE | Kind.MESSAGE_END:
                self._frame(marker)
            case Kind.CALL_OPEN if self._tools and self._in is _In.REPLY:
                self._flush_written()
                self._call, self._closes_with, self._in = [marker.text], marker.closes_with, _In.CALL
            case Kind.CALL_OPEN | Kind.CALL_CLOSE if not self._tools and self._in is _In.REPLY:
                self._say(marker.text)
            case _:
                self._left_out()

    def _think_close(self) -> None:
        if self._in is _In.THOUGHT:
            self._in = _In.REPLY
        elif self._in is _In.REPLY:
            # All text so far was a thought. Text already returned cannot be taken back, but the next reply is held.
            self.closed_unopened = True
            self._written = WrittenCalls(self._tools)
            self.calls.clear()
        self._left_out()

    def _frame(self, marker: Marker) -> None:
        """Handle the markers around whole messages."""
        match marker.kind:
            case Kind.ROLE:
                # At the start it introduces the reply. Later it introduces another message that the model made up.
                if self._last or self._in is not _In.REPLY or self.calls:
                    self._end()
                else:
                    self._in, self._header = _In.ROLE, ""
            case Kind.HEADER | Kind.CHANNEL if self._answering:
                self._end()
            case Kind.HEADER | Kind.CHANNEL:
                self._header = "" if self._in is not _In.HEADER else self._header + " "
                self._harmony, self._in = True, _In.HEADER
            case Kind.MESSAGE if self._harmony and self._in is _In.HEADER:
                self._begin_message()
            case Kind.MESSAGE if self._in is _In.ROLE:
                self._in = _In.REPLY
            case Kind.MESSAGE_END if not self._harmony or self._answering:
                self._end()
            case Kind.MESSAGE_END:
                if self._in is _In.CALL_MESSAGE:
                    self._close_call("")
                self._in = _In.HIDDEN
            case _:
                pass

    def _begin_message(self) -> None:
        if recipient := _RECIPIENT.search(self._header):
            self._call, self._in = [recipient[1]], _In.CALL_MESSAGE
        elif "analysis" in self._header or "commentary" in self._header:
            self._in = _In.HIDDEN
        else:
            self._answering, self._in = True, _In.REPLY

    # --- calls ---

    def _close_call(self, closing: str) -> None:
        in_message, self._in = self._in is _In.CALL_MESSAGE, _In.REPLY
        written, self._call = self._call, []
        if in_message:
            name, arguments = written[0], "".join(written[1:]).strip()
            calls = [(name, arguments or "{}")] if name in self._tools else []
        else:
            calls = calls_in("".join(written[1:]), self._tools, opening=written[0])
        self._written_out("", calls)
        if not calls and not in_message:
            self._written_out("".join(written) + closing, [])

    def _flush_written(self) -> None:
        """Release text that was held as a possible call."""
        self._written_out(*self._written.finish())

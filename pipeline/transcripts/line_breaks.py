"""Line breaking for any script, and the time of each part of a line.

Breaks follow the classes of UAX #14. Its whole algorithm, as in uniseg, takes quadratic time for combining marks, and
breaks words that one speaks as one ("twenty-one").
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import wcwidth
from uniseg.linebreak import LB, line_break

from pipeline.stt import Segment, Word

_CLOSING = frozenset([LB.CL, LB.CP, LB.EX, LB.IN, LB.IS, LB.NS, LB.PO])
"""Marks that close the text before them."""
_NEVER_FIRST = _CLOSING | {LB.BA, LB.CJ, LB.CM, LB.GL, LB.HY, LB.QU, LB.SY, LB.WJ, LB.ZW, LB.ZWJ}
"""Classes not allowed at the start of a line (kinsoku shori)."""
_OPENING = frozenset([LB.OP])
_NEVER_LAST = _OPENING | {LB.GL, LB.PR, LB.QU, LB.WJ}
"""Classes not allowed at the end of a line."""
_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff]")
_CONTROL = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xFEFF], " ")


@dataclass(frozen=True, slots=True)
class Piece:
    """An unbreakable part of a line: a word, or a character of a script without spaces."""

    text: str
    space: str
    """Separator before the part when it does not start a line: a space or nothing."""
    start_s: float
    end_s: float
    goes_on: bool = False
    """Whether it is not a word by itself: the rest of the word before it, or a mark."""


def width(text: str) -> int:
    """Return the number of columns: wide characters take two, combining marks none."""
    if text.isascii() and text.isprintable():
        return len(text)
    # By cluster: for a whole text with many flags, wcwidth takes quadratic time.
    return sum(wcwidth.width(cluster, control_codes="ignore") for cluster in wcwidth.iter_graphemes(text))


def clean(text: str) -> str:
    """Return the text as one line: control characters and line breaks would end a cue."""
    return " ".join(text.translate(_CONTROL).split())


def pieces(segment: Segment) -> list[Piece]:
    """Return the parts of a segment's text with their times: those of its words, else by their share of the characters.

    Times never fall, and lie inside the segment, whatever the times of its words are.
    """
    text = clean(segment.text)
    atoms = _with_marks(text, [atom for run in re.finditer(r"\S+", text) for atom in _atoms(text, *run.span())])
    if not atoms:
        return []
    words = _found(text, segment)
    times = _times(text, segment, words)
    ends = {word.end: word.end_s for word in words}
    within = {at for word in words for at in range(word.start + 1, word.end)}
    return [
        Piece(
            text[start:end],
            " " if text[start - 1 : start].isspace() else "",
            times[start],
            min(max(times[start], ends.get(end, times[end])), times[end]),
            goes_on=start in within or not any(map(str.isalnum, text[start:end])),
        )
        for start, end in atoms
    ]


def _with_marks(text: str, atoms: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Attach marks between spaces ("Ça va ?", "« Oui") to the text that they close or open."""
    found: list[tuple[int, int]] = []
    opens = False
    """Whether the last part consists of opening marks only."""
    for start, end in atoms:
        atom = text[start:end]
        if found and (opens or _CLOSING.issuperset(map(_kind, atom))):
            opens = False  # also after another opening mark: "[ [ [ [" must not become one part
            found[-1] = (found[-1][0], end)
        else:
            opens = _OPENING.issuperset(map(_kind, atom))
            found.append((start, end))
    return found


def _atoms(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Split a run without spaces into its unbreakable parts."""
    if text[start:end].isascii():
        return [(start, end)]
    found: list[tuple[int, int]] = []
    before = ""
    for cluster in wcwidth.iter_graphemes(text[start:end]):
        after = start + len(cluster)
        if before and not _may_break(before, cluster):
            found[-1] = (found[-1][0], after)
        else:
            found.append((start, after))
        before, start = cluster, after
    return found


def _may_break(before: str, after: str) -> bool:
    """Whether a break is allowed between two grapheme clusters without a space: only in scripts without spaces, and not
    beside some marks."""
    if not (spaceless(before) or spaceless(after)) or before in "#＃" or after == "～":
        return False
    return _kind(before[0]) not in _NEVER_LAST and _kind(after[0]) not in _NEVER_FIRST


@lru_cache(4096)
def _kind(char: str) -> LB:
    """Return the class of UAX #14, but that of other brackets for a quotation mark that can only open or close."""
    found = line_break(char)
    return {"Pi": LB.OP, "Pf": LB.CL}.get(unicodedata.category(char), found) if found is LB.QU else found


def spaceless(text: str) -> bool:
    """Whether the script of a character or grapheme cluster has no spaces between words: wide characters, except the
    letters of Korean."""
    return wcwidth.wcwidth(text[0]) == 2 and _HANGUL.match(text) is None


@dataclass(frozen=True, slots=True)
class _Found:
    """A word's position in the text, with its times in seconds."""

    start: int
    end: int
    start_s: float
    end_s: float


def found_in(text: str, words: Iterable[Word]) -> Iterator[tuple[Word, int, int]]:
    """Yield each word and its characters [start, end) in a clean text, searched one after the other; (word, -1, -1) if
    it is not found."""
    at = 0
    for word in words:
        spoken = clean(word.text)
        start = text.find(spoken, at) if spoken else -1
        if start >= 0:
            at = start + len(spoken)
        yield word, start, at if start >= 0 else -1


def _found(text: str, segment: Segment) -> list[_Found]:
    """Return the segment's words that are found in its text, in order."""
    return [
        _Found(start, end, word.start_s, word.end_s) for word, start, end in found_in(text, segment.words) if start >= 0
    ]


def _times(text: str, segment: Segment, words: Sequence[_Found]) -> list[float]:
    """Return the seconds at each position of the text, and at its end; never falling, and inside the segment.

    Known at the edges of the words found in the text, and interpolated in between with equal time for each character.
    """
    known: dict[int, float] = {0: segment.start_s, len(text): segment.end_s}
    for word in words:
        known[word.start] = word.start_s
        known[word.end] = word.end_s
    positions = sorted(known)
    times: list[float] = []
    latest, end_s = segment.start_s, max(segment.start_s, segment.end_s)
    for left, right in pairwise(positions):
        first = min(max(latest, known[left]), end_s)
        last = min(max(first, known[right]), end_s)
        times += [first + (last - first) * step / (right - left) for step in range(right - left)]
        latest = last
    return [*times, latest]


def line_of(parts: Sequence[Piece]) -> str:
    """Join the parts on one line."""
    return "".join((part.space if number else "") + part.text for number, part in enumerate(parts))


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns that a part takes on a line."""

    first: int
    """Number at the start of a line."""
    later: int
    """Number after another part, with the space between them."""


def columns_of(parts: Iterable[Piece]) -> list[Columns]:
    """Return the columns of each part. The space counts with the part: it can form one character with a mark."""
    return [Columns(width(part.text), width(part.space + part.text)) for part in parts]


class Filling:
    """Lines that are filled with one part after the other. A single part wider than a line gets a line, because it
    cannot be broken."""

    def __init__(self, line_width: float, max_lines: int, lead: int = 0) -> None:
        """lead: columns already used on the first line."""
        self.lines = 1
        self._width = line_width
        self._used = lead
        self._empty = True
        # If a second line is allowed, the lead can have the first line for itself.
        self._takes_any = not lead or max_lines == 1

    def add(self, part: Columns) -> bool:
        """Add a part, and return whether it begins a new line."""
        used = self._used + (part.first if self._empty else part.later)
        new = used > self._width and not (self._empty and self._takes_any)
        self._used = part.first if new else used
        self._empty = False
        self.lines += new
        return new


def lines(parts: Sequence[Piece], line_width: int, max_lines: int, lead: int = 0) -> list[list[Piece]]:
    """Break the parts into as few lines as they need, of about the same width.

    lead: columns of the text before them on the first line. That line is empty if no part fits beside it.
    """
    columns = columns_of(parts)

    def broken(columns_a_line: int) -> list[list[Piece]]:
        filling = Filling(columns_a_line, max_lines, lead)
        found: list[list[Piece]] = [[]]
        for part, size in zip(parts, columns, strict=True):
            if filling.add(size):
                found.append([])
            found[-1].append(part)
        return found

    widest = broken(line_width)

    def enough(columns_a_line: int) -> bool:
        """Whether lines of this width are as few; if so, wider ones are, too."""
        even = broken(columns_a_line)
        return len(even) <= len(widest) and bool(even[0]) == bool(widest[0])

    whole = lead + width(line_of(parts))
    widths = range(max(1, -(-whole // len(widest))), line_width)
    at = bisect_left(widths, True, key=enough)
    if at < len(widths):
        even = broken(widths[at])
        if _no_wider(even, line_width, lead):
            return even
    return widest


def _no_wider(rows: Sequence[Sequence[Piece]], line_width: int, lead: int) -> bool:
    return all(width(line_of(row)) + (0 if number else lead) <= line_width for number, row in enumerate(rows) if row)


def by_characters(segment: Segment) -> list[Word]:
    """Return words for a segment that has none, as if all characters took the same time."""
    return [Word(piece.text, piece.start_s, piece.end_s, 0.0) for piece in pieces(segment)]

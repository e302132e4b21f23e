"""Where a line of text may be broken, in any script, and what time each part of it has."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipeline.stt import Segment

_NEVER_FIRST = frozenset(
    "、。，．！？；：・…‥ー々〻ゝゞヽヾぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ」』）】〉》〕｝］’”％"
)
"""Not at the beginning of a line (kinsoku shori)."""
_NEVER_LAST = frozenset("「『（【〈《〔｛［‘“￥＄")
"""Not at the end of one."""
_CONTROL = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xFEFF], " ")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a line that is not broken: a word, or a character of a script without spaces."""

    text: str
    space: str
    """What stands before it when it does not begin a line: a space or nothing."""
    start_s: float
    end_s: float


def width(text: str) -> int:
    """Columns: wide characters take two, marks that stand on others none."""
    return sum(_width(char) for char in text)


def _width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def clean(text: str) -> str:
    """One line: control characters and line breaks would end a cue."""
    return " ".join(text.translate(_CONTROL).split())


def pieces(segment: Segment) -> list[Piece]:
    """The parts of a segment's text with their times: those of its words, else by their share of the characters."""
    text = clean(segment.text)
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    atoms = [atom for start, end in spans for atom in _atoms(text, start, end)]
    if not atoms:
        return []
    times = _times(text, segment)
    return [
        Piece(text[start:end], " " if text[start - 1 : start].isspace() else "", times[start], times[end])
        for start, end in atoms
    ]


def _atoms(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """A run without spaces in its unbreakable parts."""
    found: list[tuple[int, int]] = []
    for at in range(start, end):
        before = text[at - 1] if at > start else ""
        if found and not _may_break(before, text[at]):
            found[-1] = (found[-1][0], at + 1)
        else:
            found.append((at, at + 1))
    return found


def _may_break(before: str, after: str) -> bool:
    """Between two characters without a space: only in scripts that have none, and not beside some marks."""
    if not before or _width(after) == 0 or after in _NEVER_FIRST or before in _NEVER_LAST:
        return False
    return before != "\u200d" and (spaceless(before) or spaceless(after))


def spaceless(char: str) -> bool:
    """Whether its script has no spaces between words: wide characters, without the syllables of Korean."""
    return _width(char) == 2 and not "\uac00" <= char <= "\ud7a3"


def _times(text: str, segment: Segment) -> list[float]:
    """Seconds at each position of the text, and at its end; never falling.

    Known at the edges of the words that can be found in it, and in between as if each character took as long.
    """
    known: dict[int, float] = {0: segment.start_s, len(text): segment.end_s}
    at = 0
    for word in segment.words:
        spoken = clean(word.text)
        found = text.find(spoken, at) if spoken else -1
        if found >= 0:
            known[found] = word.start_s if found else min(segment.start_s, word.start_s)
            at = found + len(spoken)
            if at < len(text):
                known[at] = word.end_s
    positions = sorted(known)
    times: list[float] = []
    latest = known[0]
    for left, right in pairwise(positions):
        first, last = max(latest, known[left]), max(latest, known[left], known[right])
        times += [first + (last - first) * step / (right - left) for step in range(right - left)]
        latest = last
    return [*times, latest]


def line_of(parts: Sequence[Piece]) -> str:
    """The parts on one line."""
    return "".join((part.space if number else "") + part.text for number, part in enumerate(parts))


def fits(parts: Sequence[Piece], line_width: int, max_lines: int) -> bool:
    """Whether they need no more lines. A single part wider than a line fits: there is nothing to be done about it."""
    return len(_greedy(parts, line_width)) <= max_lines


def lines(parts: Sequence[Piece], line_width: int, max_lines: int) -> list[list[Piece]]:
    """The parts in as few lines as they need, of about the same width."""
    needed = max(1, len(_greedy(parts, line_width)))
    narrowest = -(-width(line_of(parts)) // needed)
    for columns in range(max(1, narrowest), line_width):
        even = _greedy(parts, columns)
        if len(even) <= needed and all(width(line_of(line)) <= line_width for line in even):
            return even
    return _greedy(parts, line_width)


def _greedy(parts: Sequence[Piece], line_width: int) -> list[list[Piece]]:
    found: list[list[Piece]] = []
    used = 0
    for part in parts:
        more = width(part.space + part.text)
        if found and used + more <= line_width:
            found[-1].append(part)
            used += more
        else:
            found.append([part])
            used = width(part.text)
    return found

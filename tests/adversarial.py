"""Texts of any length that make a careless parser slow, and a measure of how a function's time grows."""

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import cycle, islice

SHORT, LONG = 2_500, 10_000
MOST_GROWTH = 8.0
"""Largest allowed ratio of times. Four times the text takes 4 times as long if the time is linear, 16 if quadratic."""
FLOOR_S = 0.00125
"""A long text that takes less than this is fast enough. Shorter times do not show how the time grows."""
TRIES = 15


def repeated(unit: str) -> Callable[[int], str]:
    return lambda count: (unit * (count // len(unit) + 1))[:count]


def words(*some: str) -> Callable[[int], str]:
    def text(count: int) -> str:
        return " ".join(islice(cycle(some), count // (sum(map(len, some)) // len(some) + 1) + 1))[:count]

    return text


def between(opening: str, unit: str, closing: str) -> Callable[[int], str]:
    return lambda count: opening + repeated(unit)(count - len(opening) - len(closing)) + closing


PATTERNS: dict[str, Callable[[int], str]] = {
    "one letter": repeated("a"),
    "letters and ing": between("", "a", "ing to"),
    "letters and to": between("", "a", " to"),
    "ing to": between("", "ing", "s to"),
    "ing": repeated("ing"),
    "words in ing": words("going", "being"),
    "the same word": words("yeah"),
    "words that open phrases": words("i", "of", "that's"),
    "words": words("some", "words", "are", "long"),
    "hanging words": words("and", "the", "of"),
    "an underscore": repeated("_"),
    "spaces": between("a", " ", "b"),
    "spaces and dots": repeated(" ."),
    "lines": repeated("\n"),
    "lines and a": repeated("a\n"),
    "digits": repeated("1"),
    "grouped digits": repeated("1,"),
    "digits and dots": repeated("1."),
    "digits and spaces": repeated("1 "),
    "digits and colons": repeated("1:"),
    "digits and dashes": repeated("1-"),
    "grouped by three": repeated("123,"),
    "number words": words("twenty", "one"),
    "plus": repeated("1+"),
    "full stops": repeated("."),
    "commas": repeated(","),
    "semicolons": between('a; b="', ";", '"'),
    "semicolons and backslashes": between('a; b="', '\\";', '"'),
    "backslashes": repeated("\\"),
    "quotes": repeated('"'),
    "stops and quotes": repeated('."'),
    "apostrophes": repeated("a'"),
    "parentheses": repeated("("),
    "brackets": repeated("["),
    "nested brackets": lambda count: "[" * (count // 2) + "]" * (count // 2),
    "links": repeated("[a]("),
    "less than": repeated("<"),
    "tags": repeated("<a "),
    "tags that end": repeated("<b></b>"),
    "comments": repeated("<!--"),
    "entities": repeated("&#1;"),
    "ampersands": repeated("&"),
    "asterisks": repeated("*"),
    "asterisks and letters": repeated("*a"),
    "underscores and letters": repeated("_a"),
    "backticks": repeated("`"),
    "backticks and letters": repeated("`a"),
    "fences": repeated("```\n"),
    "headings": repeated("# "),
    "list items": repeated("- a\n"),
    "pipes": repeated("|a"),
    "dashes": repeated("-"),
    "dashes and spaces": repeated(" - "),
    "parentheses and spaces": repeated("( "),
    "long dashes": repeated("—"),
    "parameters": repeated("; a=b"),
    "extended parameters": repeated("; a*0*=b"),
    "URLs": repeated("http://a.b/"),
    "a URL": between("http://", "a.", "/"),
    "many schemes": repeated("http://"),
    "at signs": repeated("a@"),
    "an address": between("", "a", "@"),
    "addresses": repeated("a@b.c "),
    "percent signs": repeated("%"),
    "percent escapes": repeated("%41"),
    "slashes": repeated("/"),
    "path parts": repeated("../"),
    "initials": repeated("a."),
    "abbreviations": words("dr.", "e.g."),
    "secrets": words("bearer"),
    "keys": repeated("&key"),
    "hex": repeated("0x1"),
    "combining marks": between("a", "\u0301", ""),
    "marked letters": repeated("a\u0301"),
    "joiners": repeated("\u200d"),
    "emoji": repeated("👍🏽"),
    "flags": repeated("🇧🇷"),
    "Chinese": repeated("字"),
    "Chinese and stops": repeated("字。"),
    "Chinese and a": repeated("字a"),
    "Hangul": repeated("한국 "),
    "Arabic": repeated("مرحبا "),
    "control characters": repeated("\x00"),
    "right to left": repeated("\u202e"),
    "surrogates": repeated("\ud83d"),
}
FEW = ("words in ing", "spaces and dots", "list items", "Chinese and a", "parentheses and spaces", "abbreviations")
"""Patterns for functions that take long for any text. A slow function is slow with one of these."""


def slow_patterns(
    function: Callable[[str], object], names: Iterable[str] = PATTERNS, *, parts: int = 1
) -> Iterator[str]:
    """Yield the patterns for which a function's time grows faster than linearly, with their times.

    parts: divide the lengths of the texts by this, for functions that take long for any text.
    """
    for name in names:
        if times := slow(function, *_texts(name, parts)):
            yield f"{name}: {times}"


@cache
def _texts(name: str, parts: int) -> tuple[str, str]:
    return PATTERNS[name](SHORT // parts), PATTERNS[name](LONG // parts)


def slow(function: Callable[[str], object], short: str, long: str) -> str:
    """Return the times for a short text and one of four times the length if they grow faster than linearly, else "".

    Measures CPU time of this thread, so that a busy machine does not matter. Slow cases are measured again, and the
    best times count.
    """
    first = _seconds(function, short)
    if first < FLOOR_S / MOST_GROWTH:  # fast enough for the long text even at quadratic growth
        return ""
    bests = [first, _seconds(function, long)]
    for _ in range(TRIES):
        if bests[1] < MOST_GROWTH * bests[0]:
            return ""
        bests = [min(bests[0], _seconds(function, short)), min(bests[1], _seconds(function, long))]
    return f"{bests[0] * 1000:.1f} ms, {bests[1] * 1000:.1f} ms"


def _seconds(function: Callable[[str], object], text: str) -> float:
    gc.disable()  # the time of a collection depends on all objects of the process
    try:
        began = time.thread_time()
        function(text)
        return time.thread_time() - began
    finally:
        gc.enable()

"""Abbreviations, names with a sign in them (C#, C++, .NET, #tag), and single signs → words."""

import re
from functools import cache

from pipeline.speech.normalise.languages import LANGUAGES
from pipeline.speech.normalise.numbers import any_of
from pipeline.speech.normalise.words import Words

_DOTTED_LETTERS = re.compile(r"\b(?:[A-Z]\.){2,}")


def abbreviations(text: str, words: Words) -> str:
    """Expand abbreviations; one at the end of the text leaves its period there."""
    for pattern, spoken in _abbreviations(words.code):
        text = pattern.sub(spoken, text)
    return _DOTTED_LETTERS.sub(lambda match: " ".join(match.group().replace(".", "")), text)


@cache
def _abbreviations(code: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple(
        (re.compile(rf"(?<![\w/@])(?:{pattern})(?![^\W\d])"), spoken)
        for pattern, spoken in LANGUAGES[code].abbreviations
    )


def names(text: str, words: Words) -> str:
    """Replace names that contain a sign by words."""
    for pattern, spoken in _names(words.code):
        text = pattern.sub(spoken, text)
    return text


@cache
def _names(code: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    words = LANGUAGES[code]
    signs = words.signs
    return tuple(
        (re.compile(pattern), spoken)
        for pattern, spoken in (
            (r"(?<![\w#])([A-Gcf])[#♯](?!\w)", rf"\1 {signs.sharp}"),
            (r"(?<=\w)\+\+(?!\+)", f" {signs.plus} {signs.plus}"),
            (r"(?<![\w&#])#(?=[^\W\d_])", f"{signs.hashtag} "),
            (r"(?<![\w.])\.(?=[A-Za-z]{2})", f"{words.dot} "),
        )
    )


def marks(text: str, words: Words) -> str:
    """Replace signs that have a name by words."""
    return _marks(words.code).sub(lambda match: f" {_spoken(match.group(), words)} ", text)


def _spoken(mark: str, words: Words) -> str:
    return words.signs.slash if mark == "/" else words.marks[mark]


@cache
def _marks(code: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=[^\W\d_])/(?=[^\W\d_])|{any_of({*LANGUAGES[code].marks})}")

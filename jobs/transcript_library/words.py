"""Words of a text as search compares them: without case and accents, and one by one the characters of scripts without
spaces. The same rules make the index, read a query and mark what was found, in both databases.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

MAX_TERMS = 20
"""Terms of a query that count; further ones are ignored."""
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese."""
_UNIT = re.compile(f"[{_SPACELESS}]|[^\\W_{_SPACELESS}][^\\W_{_SPACELESS}\u0300-\u036f]*")
_ACCENTS = re.compile("[\u0300-\u036f]+")
_TERM = re.compile(r'"([^"]*)"|([^\s"]+)')


@dataclass(frozen=True, slots=True)
class Unit:
    """A word of a text, or a character of a script without spaces, and its place."""

    start: int
    end: int
    token: str
    """Letters and digits in the form that is compared."""


@dataclass(frozen=True, slots=True)
class Term:
    """Consecutive words of a query."""

    tokens: tuple[str, ...]
    begins: bool
    """Whether the last one can be the beginning of a longer word."""


def units(text: str) -> list[Unit]:
    """Return the words of a text in order."""
    found = (Unit(match.start(), match.end(), _folded(match[0])) for match in _UNIT.finditer(text))
    return [unit for unit in found if unit.token]


def tokens(text: str) -> str:
    """Return the words of a text for the index, separated by spaces."""
    return " ".join(unit.token for unit in units(text))


def terms(query: str) -> list[Term]:
    """Return the terms of a query: words, and "several words" in quotation marks, which must follow each other.

    A word can be the beginning of a longer one. A single letter cannot, because too many words begin with it; after
    other words it is the beginning of a word that is still being typed, and left out.
    """
    found = []
    for match in _TERM.finditer(query):
        inside = tuple(unit.token for unit in units(match[0]))
        if inside:
            found.append(Term(inside, begins=match[1] is None and len(inside[-1]) > 1))
    typing = not query.endswith((" ", '"'))
    if typing and len(found) > 1 and len(found[-1].tokens) == 1 and _is_letter(found[-1].tokens[0]):
        found.pop()
    return found[:MAX_TERMS]


def _is_letter(token: str) -> bool:
    return len(token) == 1 and not re.match(f"[{_SPACELESS}]", token)


def places(text: str, wanted: Sequence[Term]) -> list[tuple[int, int]]:
    """Return the places (start, end) of the terms in a text, in order and apart from each other."""
    there = units(text)
    by_first: dict[str, list[Term]] = {}
    beginnings: set[str] = set()
    for term in wanted:
        if term.begins and len(term.tokens) == 1:
            beginnings.add(term.tokens[0])
        else:
            by_first.setdefault(term.tokens[0], []).append(term)
    lengths = {len(one) for one in beginnings}
    found: set[int] = set()
    for index, unit in enumerate(there):
        if any(unit.token[:length] in beginnings for length in lengths):
            found.add(index)
        for term in by_first.get(unit.token, ()):
            if _fits(there, index, term):
                found.update(range(index, index + len(term.tokens)))
    return [(there[index].start, there[index].end) for index in sorted(found)]


def _fits(there: Sequence[Unit], index: int, term: Term) -> bool:
    """Whether the term's words are here; the first one is."""
    if index + len(term.tokens) > len(there):
        return False
    last = len(term.tokens) - 1
    for offset, token in enumerate(term.tokens[1:], 1):
        unit = there[index + offset].token
        if unit != token and not (term.begins and offset == last and unit.startswith(token)):
            return False
    return True


def _folded(word: str) -> str:
    if word.isascii():
        return word.lower()
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", word.casefold()))
    return "".join(character for character in unicodedata.normalize("NFKC", plain) if character.isalnum())

"""Split a reply, while it is written, into clauses to be spoken.

The first clause is released as early as it can be spoken, because the listener waits for it; later ones are whole
sentences, because they sound better and are ready long before their turn. A boundary is released only when no further
text could make it disappear ("3." may become "3.14"), so the clauses do not depend on how the text was cut into deltas.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

FIRST_MIN_WORDS = 3
"""Minimum of words in the first clause, when punctuation ends it."""
FIRST_MAX_WORDS = 10
"""Maximum of words in the first clause without any punctuation: about three seconds of speech."""
FIRST_GOOD_WORDS = 5
"""Minimum of words in the first clause when it ends between two words."""
SHORT_WIDTH = 20
"""A later sentence narrower than this (in characters; CJK count twice) is spoken together with the next, because voices
sound worst on very short texts."""
MAX_CHARS = 220
"""Maximum of characters in a clause; voices have limits (XTTS: 203 to 253 characters in most alphabetic languages)."""


@dataclass(frozen=True, slots=True)
class Clause:
    """A part of a reply that is spoken in one go: `reply[start:end] == text`, without space at either end."""

    text: str
    start: int
    """Offset of the first character in the whole reply."""
    end: int
    """Offset behind the last character."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


class _Strength(IntEnum):
    NONE = 0
    CLAUSE = 1
    SENTENCE = 2


_CLOSERS = r"[\"'”’»)\]*_`]*"
_CANDIDATE = re.compile(
    rf"""
    (?P<line>\n)
  | (?P<typed_line>\\n)
  | (?P<stop>[.!?…؟।]+){_CLOSERS}(?=\s|\Z)
  | (?P<wide_stop>[。！？｡]+)[」』”’）】"']*
  | (?P<comma>[,;:،؛]){_CLOSERS}(?=\s|\Z)
  | (?P<wide_comma>[、，；：]+)
  | (?P<dash>(?<=[^\s\d])[ \t][–—-]{{1,3}}[ \t]|(?<=[^\s\d])—)
    """,
    re.VERBOSE,
)
# Text that must not be split: code spans, Markdown links, URLs; an unfinished one extends to the end of the text.
_PROTECTED = re.compile(r"`[^`\n]*`?|\[[^\[\]\n]*(?:\](?:\([^()\s]*\)?)?)?|https?://\S*|\b[A-Za-z]:\\\S*")
# An escaped line break, as in a JSON string; not the start of a LaTeX command.
_TYPED_LINE = re.compile(r"\\n(?!(?:abla|eq?|u|ot|eg)\b)")
_TYPED_LINE_SURE = 6
"""Characters from the backslash on that are needed to decide."""
_LIST_NUMBER = re.compile(r"(?:\A|\n)[ \t]*\d{1,3}\Z")
_ITEM = re.compile(r"(?<![^\s(])\d{1,3}(?=\.(?:\s|\Z))")
"""The number of an item in a list, also within a line: "1. Tea 2. Coffee"."""
_INITIALS = re.compile(r"(?:\w\.)+\w?|[^\W\d_]")
_WIDE = re.compile(r"[぀-ヿ㐀-鿿豈-﫿]")
_WORD = re.compile(r"[^\W_]+(?:['’.,:/-][^\W_]+)*")
_TOKEN = re.compile(r"\S+")

# Abbreviations in lower case without their last period, by language; "" holds those of all other languages.
_TITLES: Mapping[str, frozenset[str]] = {
    "en": _set("dr mr mrs ms mx prof st jr gen col capt lt sgt rev hon gov sen rep pres e.g i.e cf vs approx"),
    "pt": _set("dr dra sr sra srta srs sras prof profa eng d dom exmo exma ilmo p.ex ex cf vs aprox av r"),
    "es": _set("dr dra sr sra srta sres prof profa d dña ud uds vd vds p.ej ej cf vs aprox av avda"),
    "": _set("m hr fr herr mme mlle st ca bzw z.b d.h usw dott sig ing"),
}
"""Never the end of a sentence: something must follow."""
_BEFORE_NUMBER: Mapping[str, frozenset[str]] = {
    "en": _set("no nos p pp art fig vol ch sec eq jan feb mar apr aug sep sept oct nov dec tel ext figs ver v"),
    "pt": _set("n nº núm p pp pág págs art fig vol cap tel fev abr ago set out nov dez jan mar"),
    "es": _set("n nº n.º núm p pp pág págs art fig vol cap tel ene feb abr ago sept oct nov dic"),
    "": _set("nr abb kap art fig vol p pp s nr"),
}
"""Not the end of a sentence when a number follows."""
_MAY_END: Mapping[str, frozenset[str]] = {
    "en": _set("etc inc ltd co corp a.m p.m al est bros dept univ sr"),
    "pt": _set("etc ltda cia a.m p.m s.a d.c a.c"),
    "es": _set("etc cía a.m p.m s.a d.c a.c"),
    "": _set("etc usw ecc"),
}
"""The end of a sentence unless a lower-case letter or a digit follows."""

# A clause that has to end between two words should not end after one of these …
_HANGING = _set(
    "a an the of to in on at by for with from and or but that which my your his her its our their is are "
    "was were very o os as um uma de do da dos das em no na nos nas e ou que para com por se meu minha é "
    "são muito el la los las una del al en y con su sus mi mis tu es son muy lo un"
)
# … and ends well before one of those.
_CONNECTORS = _set(
    "and or but because that which who when while where if so then than with for from into e ou mas "
    "porque que quem quando enquanto onde se então com para pela pelo y o pero cuando mientras donde si "
    "entonces con por"
)


class ClauseSplitter:
    """Split text without waiting: feed text, get the clauses that are certain.

    No clause is longer than `max_chars`; the first one, if punctuation ends it, has at least `first_min_words`.
    """

    def __init__(
        self, *, language: str | None = None, max_chars: int = MAX_CHARS, first_min_words: int = FIRST_MIN_WORDS
    ) -> None:
        if max_chars < 8:
            raise ValueError("max_chars must be at least 8")
        self._titles = _of(_TITLES, language)
        self._before_number = _of(_BEFORE_NUMBER, language)
        self._may_end = _of(_MAY_END, language)
        self._max_chars = max_chars
        self._first_min_words = first_min_words
        self._first = True
        self._buffer = ""
        self._start = 0
        self._item = 0
        """The last number in the clauses so far that may be a list item's."""

    def feed(self, text: str) -> list[Clause]:
        """Add the next chunk of the reply; return the clauses that no further text can change."""
        self._buffer += text
        return self._release(final=False)

    def finish(self) -> list[Clause]:
        """Complete the reply; return the remaining clauses."""
        return self._release(final=True)

    def _release(self, *, final: bool) -> list[Clause]:
        released: list[Clause] = []
        done = 0
        while True:
            while done < len(self._buffer) and self._buffer[done].isspace():
                done += 1
            # Decisions look no further ahead, however much text is fed at once, so that a clause depends on the text
            # alone.
            view = self._buffer[done : done + self._max_chars + 1]
            end = self._cut(view, final=final and done + len(view) == len(self._buffer))
            if end is None:
                break
            text = view[:end].rstrip()
            released.append(Clause(text, self._start + done, self._start + done + len(text)))
            self._item = _last_item(text, self._item)
            done += end
            self._first = False
        self._buffer = self._buffer[done:]
        self._start += done
        return released

    def _cut(self, view: str, *, final: bool) -> int | None:
        """Return the end of the first clause of `view`, or None when it is not certain yet."""
        if not view:
            return None
        full = len(view) > self._max_chars
        protected = [match.span() for match in _PROTECTED.finditer(view)]
        passed: list[tuple[int, _Strength]] = []
        for match in _CANDIDATE.finditer(view):
            end = match.start() if match["line"] else match.end()
            if end > self._max_chars:
                break
            if match["line"] is None and _inside(match.start(), protected):
                continue
            strength = self._strength(match, view, final=final)
            if strength is None and not full:
                return self._between_words(view[:end], protected)
            if strength:
                if self._good(view[:end], strength):
                    return self._between_words(view[:end], protected) or end
                passed.append((end, strength))
        if limit := self._between_words(view, protected):
            return limit
        if full:
            return self._forced(view, passed, protected)
        return len(view) if final else None

    def _good(self, text: str, strength: _Strength) -> bool:
        if self._first:
            return _words(text) >= self._first_min_words
        return strength is _Strength.SENTENCE and len(text) + len(_WIDE.findall(text)) >= SHORT_WIDTH

    def _strength(self, match: re.Match[str], view: str, *, final: bool) -> _Strength | None:
        """Return the strength of a boundary; None when it depends on text that is still to come."""
        if match["line"]:
            return _Strength.SENTENCE
        if match["typed_line"]:
            if len(view) < match.start() + _TYPED_LINE_SURE and not final:
                return None
            return _Strength.SENTENCE if _TYPED_LINE.match(view, match.start()) else _Strength.NONE
        if match.end() == len(view) and not final:
            return None
        if match["wide_stop"]:
            return _Strength.SENTENCE
        stop = match["stop"]
        if stop is None:
            return _Strength.CLAUSE
        behind = view[match.end() :]
        following = behind.lstrip()[:1]
        same_line = "\n" not in behind[: len(behind) - len(behind.lstrip())]
        unknown = not following and same_line and not final
        if stop == ".":
            before = view[: match.start()]
            if _LIST_NUMBER.search(before):
                return _Strength.NONE
            if same_line and self._counts_on(before):
                return None if unknown else _Strength.NONE if following.isalpha() else _Strength.SENTENCE
            word = before.split()[-1].lower().lstrip("([{\"'“‘«¿¡*_") if before.strip() else ""
            if not same_line:
                return _Strength.SENTENCE
            if word in self._may_end:
                goes_on = following.islower() or following.isdigit()
                return None if unknown else _Strength.NONE if goes_on else _Strength.SENTENCE
            if word in self._titles or _INITIALS.fullmatch(word):
                return _Strength.NONE
            if word in self._before_number:
                return None if unknown else _Strength.NONE if following.isdigit() else _Strength.SENTENCE
        elif stop.startswith(("..", "…")) and same_line:
            return None if unknown else _Strength.CLAUSE if following.islower() else _Strength.SENTENCE
        return _Strength.SENTENCE

    def _counts_on(self, before: str) -> bool:
        """Whether `before` ends with the number of an inline list's first or next item."""
        digits = before[len(before.rstrip("0123456789")) :]
        if not 1 <= len(digits) <= 3 or not digits.isascii() or before[: -len(digits)][-1:] not in ("", " ", "\t", "("):
            return False
        return int(digits) == 1 or _last_item(before[: -len(digits)], self._item) == int(digits) - 1

    def _between_words(self, text: str, protected: Sequence[tuple[int, int]]) -> int | None:
        """Return the end of a first clause that has become too long without punctuation."""
        if not self._first:
            return None
        tokens = [token for token in _TOKEN.finditer(text) if any(char.isalnum() for char in token.group())]
        if len(tokens) < FIRST_MAX_WORDS or tokens[FIRST_MAX_WORDS - 1].end() == len(text):
            return None
        ends = []
        for count in range(FIRST_MAX_WORDS, FIRST_GOOD_WORDS - 1, -1):
            token = tokens[count - 1]
            word = token.group().lower()
            if word in _HANGING or not word[-1].isalpha() or _inside(token.end(), protected):
                continue
            if count < FIRST_MAX_WORDS and tokens[count].group().lower() in _CONNECTORS:
                return token.end()
            ends.append(token.end())
        return ends[0] if ends else None

    def _forced(self, view: str, passed: Sequence[tuple[int, _Strength]], protected: Sequence[tuple[int, int]]) -> int:
        """Return the cut of a text that is too long: at a sentence, a clause, a word, or anywhere."""
        for wanted, earliest in ((_Strength.SENTENCE, 1), (_Strength.CLAUSE, self._max_chars // 4)):
            for end, strength in reversed(passed):
                if strength is wanted and end >= earliest:
                    return end
        spaces = [match.start() for match in re.finditer(r"\s", view)]
        whole = [space for space in spaces if not _inside(space, protected) and not _in_number(view, space)]
        for choice in (whole, spaces):
            if choice:
                return choice[-1]
        return self._max_chars


def _of(table: Mapping[str, frozenset[str]], language: str | None) -> frozenset[str]:
    """Return one language's abbreviations; those of all languages when it is unknown."""
    if language is None:
        return frozenset().union(*table.values())
    return table.get(language[:2].lower(), table[""] | table["en"])


def _last_item(text: str, otherwise: int) -> int:
    numbers = _ITEM.findall(text)
    return int(numbers[-1]) if numbers else otherwise


def _inside(position: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(start < position < end for start, end in spans)


def _in_number(text: str, space: int) -> bool:
    return space > 0 and text[space - 1].isdigit() and text[space + 1 : space + 2].isdigit()


def _words(text: str) -> float:
    """Count words; in a script without spaces two characters count as a word."""
    return len(_WORD.findall(_WIDE.sub(" ", text))) + len(_WIDE.findall(text)) / 2


async def clauses(
    deltas: AsyncIterator[str],
    *,
    language: str | None = None,
    max_chars: int = MAX_CHARS,
    first_min_words: int = FIRST_MIN_WORDS,
) -> AsyncGenerator[Clause, None]:
    """Yield the clauses of a reply, each as soon as it is certain. Closing this generator closes `deltas`."""
    splitter = ClauseSplitter(language=language, max_chars=max_chars, first_min_words=first_min_words)
    try:
        async for delta in deltas:
            for clause in splitter.feed(delta):
                yield clause
        for clause in splitter.finish():
            yield clause
    finally:
        # Some iterators have no aclose; a generator must be closed, or the source it reads from would stay open.
        if (close := getattr(deltas, "aclose", None)) is not None:
            await close()


def split(text: str, language: str | None = None, max_chars: int = MAX_CHARS) -> list[Clause]:
    """Return the clauses of a complete text."""
    splitter = ClauseSplitter(language=language, max_chars=max_chars)
    return [*splitter.feed(text), *splitter.finish()]

"""One notation for requests with two uses: matching a transcript, and making a JSGF grammar for a recogniser.

A pattern is written as the right side of a JSGF rule: `words`, `[optional]`, `(one | another)` and `<slot>`. The words
are written as in a transcript without accents and punctuation (see `normal`).
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

_PART = re.compile(r"<(\w+)>|([\[\]()|])|([^\s<>\[\]()|]+)")
# A number is separated from a unit that follows without a space ("5km").
_TOKEN = re.compile(r"[0-9]+(?:[.,][0-9]+)*(?=(?:[kcm]?m|k?g|l|lbs?|oz|ft)\b)|[^\W_]+(?:[.,:'’-][^\W_]+)*|[-+*/×÷=%°]")
_SIGNS = {"×": "*", "÷": "/"}


@dataclass(frozen=True, slots=True)
class Heard:
    """A transcript split into words: their normal forms, and their positions in `text`."""

    text: str
    words: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def line(self) -> str:
        """The words, each followed by a space, for matching against the patterns."""
        return "".join(f"{word} " for word in self.words)

    def written(self, start: int, end: int) -> str:
        """Return the part `line[start:end]` as it was written, with the punctuation inside it."""
        line = self.line
        first, count = line.count(" ", 0, start), line.count(" ", start, end)
        return self.text[self.spans[first][0] : self.spans[first + count - 1][1]] if count else ""


def without_accents(text: str) -> str:
    """Return the text in lower case and without accents, because recognisers differ in both."""
    return "".join(char for char in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(char))


def normal(text: str, contractions: Mapping[str, str]) -> Heard:
    """Split a transcript into words. `contractions` are expanded: "what's" → "what is"."""
    words: list[str] = []
    spans: list[tuple[int, int]] = []
    for match in _TOKEN.finditer(text):
        plain = without_accents(match.group()).replace("’", "'")
        plain = _SIGNS.get(plain) or (plain.replace("-", " ") if len(plain) > 1 else plain)
        full = contractions.get(plain, plain).split()
        words += full
        spans += [match.span()] * len(full)
    return Heard(text, tuple(words), tuple(spans))


def regex(pattern: str, slots: Mapping[str, str]) -> re.Pattern[str]:
    """Return a regular expression for a whole `Heard.line`. `slots` contains the expression of each slot (a space after
    each word); the slot's n-th use in the pattern is the group `slot_n`."""
    used: dict[str, int] = {}
    out = []
    for slot, sign, word in _PART.findall(pattern):
        if slot:
            used[slot] = used.get(slot, 0) + 1
            out.append(f"(?P<{slot}_{used[slot]}>{slots[slot]})")
        elif sign:
            out.append({"[": "(?:", "]": ")?", "(": "(?:", ")": ")", "|": "|"}[sign])
        else:
            out.append(re.escape(word) + " ")
    return re.compile("".join(out))


def jsgf(name: str, patterns: Mapping[str, str]) -> str:
    """Return a JSGF grammar. `patterns` maps rule names to right sides; the rule `utterance` is public."""
    rules = "\n".join(
        f"{'public ' if rule == 'utterance' else ''}<{rule}> = {right};" for rule, right in patterns.items()
    )
    return f"#JSGF V1.0;\ngrammar {name};\n{rules}\n"

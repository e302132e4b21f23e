"""What the voice reads of a text that was written for the eye.

Marks of layout go; numbers, units, signs and abbreviations become the words that the language says, where it has a
table (`languages/`). In other languages numbers and signs stay as they are, for the voice to read. Which kind of number
is handled where: `reading.py`.
"""

import html
import re
import unicodedata

from pipeline.spoken.addresses import addresses
from pipeline.spoken.languages import LANGUAGES
from pipeline.spoken.markdown import plain
from pipeline.spoken.marks import abbreviations, marks, names
from pipeline.spoken.numbers import join_groups
from pipeline.spoken.reading import numbers_in_words

_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad\ufe0e\ufe0f\u20e3"))
_TYPED = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "“": '"', "”": '"', "„": '"', "‐": "-", "‑": "-", "−": "-",
                         **{chr(0x2080 + digit): str(digit) for digit in range(10)}})  # fmt: skip
_PAUSES = frozenset("—–()[]{}")
_LEFT_TO_VOICE = "%‰°&@#+=<>/§№"
"""Signs with a meaning, which stay where no table has words for them."""
_MINUS = re.compile(r"(?<![\w).,%°])-(?=[0-9])|(?<=[0-9] )-(?= [0-9])")
_TIMES = re.compile(r"(?<=[0-9])(?: ?\* ?|(?<!\b0)x)(?=[0-9])")
_SPOKEN_MARKS = frozenset(".,;:!?'-¿¡…。！？、，；：؟،؛।·")


def for_voice(text: str, language: str | None) -> str:
    """One line to be spoken, or "" when nothing speakable is in `text`.

    `language` is an ISO 639-1 code (a region may follow); None leaves numbers as digits. Any Unicode is accepted.
    """
    words = LANGUAGES.get(re.split("[-_]", language or "")[0].lower())
    spoken = unicodedata.normalize("NFC", html.unescape(text)).translate(_TYPED).translate(_INVISIBLE)
    spoken = plain(spoken)
    if words is not None:
        spoken = names(addresses(abbreviations(spoken, words), words), words)
        spoken = marks(numbers_in_words(spoken, words), words)
    else:
        spoken = _MINUS.sub("\u2212", _TIMES.sub("\u00d7", join_groups(addresses(spoken, None))))
    return _tidy("".join(_speakable(char, _LEFT_TO_VOICE if words is None else "") for char in spoken))


def _speakable(char: str, kept: str) -> str:
    """The character, or what stands for it: emoji and control characters make voices stumble."""
    category = unicodedata.category(char)
    if category[0] in "LNM" or char in _SPOKEN_MARKS or char in kept:
        return char
    if category in ("Sm", "Sc") and char not in "+<=>|~":
        return char
    if char in _PAUSES:
        return ", "
    return "" if char in '"«»' else " "


_SPACES = re.compile(r"\s+")
_LOOSE_QUOTE = re.compile(r"(?<!\w)'+|'+(?!\w)")
_LOOSE_HYPHEN = re.compile(r"(?<!\w)-+|-+(?!\w)")
_STOPS = re.compile(r"[ .,;:!?…]+")


def _tidy(text: str) -> str:
    """Punctuation as a careful typist would leave it, nothing at all where there are no words."""
    text = _LOOSE_HYPHEN.sub(", ", _LOOSE_QUOTE.sub("", _SPACES.sub(" ", text)))
    text = _STOPS.sub(_one_stop, text).strip()
    if text.endswith((":", ";")):
        text = text[:-1] + ","
    return text if any(char.isalnum() for char in text) else ""


def _one_stop(match: re.Match[str]) -> str:
    """One stop where layout, quotes and emoji have left several: the strongest."""
    run = match.group()
    at_start, at_end = match.start() == 0, match.end() == len(match.string)
    if run.isspace():
        return " "
    if at_start:
        return ""
    if len(run) == 1 and not at_end:
        return run  # inside a word: "example.org", "10:30"
    strongest = next((stop for stop in "?!" if stop in run), None) or (
        "." if "." in run or "…" in run else run.strip()[0]
    )
    return strongest + ("" if at_end else " ")

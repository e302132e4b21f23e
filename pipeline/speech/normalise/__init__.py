"""Normalisation of written text for a voice.

Layout marks are removed. Numbers, units, signs and abbreviations become words in the languages that have a table
(`languages/`); in other languages numbers and signs stay for the voice to read. `reading.py` lists which module
handles which kind of number.
"""

import html
import re
import unicodedata

from pipeline.speech.normalise.addresses import addresses
from pipeline.speech.normalise.languages import LANGUAGES
from pipeline.speech.normalise.markdown import plain
from pipeline.speech.normalise.marks import abbreviations, marks, names
from pipeline.speech.normalise.numbers import join_groups
from pipeline.speech.normalise.reading import numbers_in_words

_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad\ufe0e\ufe0f\u20e3"))
_TYPED = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "“": '"', "”": '"', "„": '"', "‐": "-", "‑": "-", "−": "-",
                         **{chr(0x2080 + digit): str(digit) for digit in range(10)}})  # fmt: skip
_PAUSES = frozenset("—–()[]{}")
_LEFT_TO_VOICE = "%‰°&@#+=<>/§№"
"""Signs with a meaning, kept where no table has words for them."""
_MINUS = re.compile(r"(?<![\w).,%°])-(?=[0-9])|(?<=[0-9] )-(?= [0-9])")
_TIMES = re.compile(r"(?<=[0-9])(?: ?\* ?|(?<!\b0)x)(?=[0-9])")
_SPOKEN_MARKS = frozenset(".,;:!?'-¿¡…。！？、，；：؟،؛।·")


def for_voice(text: str, language: str | None) -> str:
    """Return one line to speak, or "" if `text` has nothing speakable.

    `language` is an ISO 639-1 code (a region can follow); None leaves numbers as digits. object Unicode is accepted.
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
    """Return the character or its replacement: emoji and control characters make voices stumble."""
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
    """Clean up the punctuation; return "" if there are no words."""
    text = _LOOSE_HYPHEN.sub(", ", _LOOSE_QUOTE.sub("", _SPACES.sub(" ", text)))
    text = _STOPS.sub(_one_stop, text).strip()
    if text.endswith((":", ";")):
        text = text[:-1] + ","
    return text if any(char.isalnum() for char in text) else ""


def _one_stop(match: re.Match[str]) -> str:
    """Return the strongest stop where layout, quotes and emoji have left several."""
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

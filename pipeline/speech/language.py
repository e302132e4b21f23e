"""Detect the language in which to pronounce a text, where the caller does not specify it.

The alphabet of the text decides, and letters that only one of its languages uses. Among the other languages of the
alphabet that the voice speaks, the detector (`pipeline.speech.detector`) decides. A text of which it is not sure,
because it is short or mixed, stays in the language of the conversation.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence, Set
from functools import lru_cache

from pipeline.speech import detector

MAX_LETTERS = 2_000
"""Limit of letters to look at."""
LATIN_NAMES = 4
"""Weight of Latin letters where another alphabet is usual: this many count as one, because product names occur in every
text."""

_ONE_LANGUAGE = {
    "GREEK": "el", "BENGALI": "bn", "GURMUKHI": "pa", "GUJARATI": "gu", "ORIYA": "or", "TAMIL": "ta", "TELUGU": "te",
    "KANNADA": "kn", "MALAYALAM": "ml", "SINHALA": "si", "THAI": "th", "LAO": "lo", "TIBETAN": "bo", "MYANMAR": "my",
    "GEORGIAN": "ka", "ARMENIAN": "hy", "KHMER": "km", "MONGOLIAN": "mn", "CHEROKEE": "chr", "HANGUL": "ko",
    "HIRAGANA": "ja", "KATAKANA": "ja", "HALFWIDTH": "ja",
}  # fmt: skip
"""Alphabet (the first word of its letters' Unicode names) → the only language that is written in it."""
_SHARED = {
    "CYRILLIC": ("ru", "uk", "be", "bg", "mk", "sr", "kk", "ky", "tt", "ba", "cv", "mn", "tg"),
    "ARABIC": ("ar", "fa", "ur", "ps", "sd", "ug", "ku", "ckb"),
    "DEVANAGARI": ("hi", "mr", "ne", "sa", "kok", "bho"),
    "HEBREW": ("he", "yi", "iw"),
    "ETHIOPIC": ("am", "ti"),
    "CJK": ("zh", "ja", "yue", "cmn", "hak"),
}
"""Alphabet → its languages, the most common first."""
_OWN_LETTERS = (
    ("ў", "be"), ("іїєґ", "uk"), ("ђћ", "sr"), ("ѓќѕ", "mk"), ("әғқңөұүһ", "kk"), ("ыэё", "ru"),
    ("ٹڈڑےںھ", "ur"), ("ټډړښ", "ps"), ("پچژگکی", "fa"),
)  # fmt: skip
"""Letters that distinguish languages of one alphabet, the most reliable first."""
_DETECTED = {
    "LATIN": (
        "en", "es", "pt", "fr", "de", "it", "nl", "pl", "tr", "id", "vi", "ro", "cs", "hu", "sv", "da", "no", "fi",
        "hr", "sk", "ca",
    ),
    "CYRILLIC": ("ru", "uk", "bg", "sr", "be", "mk", "kk"),
}  # fmt: skip
"""Alphabet → the languages that the detector tells apart, besides the conversation's. Widely spoken ones, because each
further one makes short texts less certain."""
SURE, TIMES = 0.6, 10
"""A text is in another language than its conversation if that one has at least this probability, and is at least this
many times as likely as the conversation's."""
_WITH_LETTERS_OF_RUSSIAN = frozenset({"be", "kk", "ky", "tt", "ba", "cv", "mn", "tg"})
_NOT_LATIN = frozenset(_ONE_LANGUAGE.values()) | {language for shared in _SHARED.values() for language in shared}


async def spoken_language(
    text: str, *, usual: str, speaks: Callable[[str], bool], before: str | None = None, fixed: bool = False
) -> str:
    """Return the same as `text_language`, with the detector loaded in a thread if the voice has a choice."""
    if not fixed and any(speaks(code) for codes in _DETECTED.values() for code in codes if code != _plain(usual)):
        await detector.loaded()
    return text_language(text, usual=usual, speaks=speaks, before=before, fixed=fixed)


def text_language(
    text: str, *, usual: str, speaks: Callable[[str], bool], before: str | None = None, fixed: bool = False
) -> str:
    """Return the language of `text`: a code that the voice speaks, or `usual`. Loads the detector, if it is not loaded.

    usual: the default code of the conversation, SPEECH_LANGUAGE or the voice ("pt-br"). For a text in several
    alphabets, the one with most letters decides; this is called for each clause, so the language can change within a
    reply. before: the language of the previous clause, in which an uncertain one and one without a letter ("1, 2.")
    stay. fixed: whether each text in the alphabet of `usual` is in `usual`.
    """
    if not any(char.isalpha() for char in text):
        return before or usual
    found = _language(text, usual, before or usual, speaks, fixed=fixed)
    return found if found != usual and speaks(found) else usual


def _language(text: str, usual: str, before: str, speaks: Callable[[str], bool], *, fixed: bool) -> str:
    alphabet = _main_alphabet(text.lower(), latin_is_usual=_written_in(usual, "LATIN"))
    if alphabet in _ONE_LANGUAGE:
        language = _ONE_LANGUAGE[alphabet]
        return usual if _plain(usual) == language else language
    if alphabet != "LATIN" and alphabet not in _SHARED:
        return usual
    default = _SHARED.get(alphabet, ("en",))[0]
    current = [code for code in dict.fromkeys((before, usual)) if _written_in(code, alphabet)] or [default]
    own = _by_its_letters(text.lower(), alphabet)
    if own is not None and not (own == "ru" and _plain(current[0]) in _WITH_LETTERS_OF_RUSSIAN):
        return next((code for code in current if _plain(code) == own), own)
    if fixed or alphabet not in _DETECTED:
        return current[-1 if fixed else 0]
    others = {code for code in _DETECTED[alphabet] if speaks(code)} - {_plain(code) for code in current}
    return _detected(text, current, others) if others else current[0]


def _detected(text: str, current: Sequence[str], others: Set[str]) -> str:
    """Return one of the other languages if the detector is sure of it, else the likeliest of the conversation's current
    ones."""
    chances = detector.chances(text, {_plain(code) for code in current} | others)
    if not all(_plain(code) in chances for code in current):
        return current[0]
    likely = max(chances, key=chances.__getitem__)
    kept = max(current, key=lambda code: chances[_plain(code)])
    return likely if chances[likely] >= max(SURE, TIMES * chances[_plain(kept)]) else kept


def _plain(code: str) -> str:
    """Return a language's code without its region."""
    return code.partition("-")[0]


def _main_alphabet(text: str, *, latin_is_usual: bool) -> str:
    """Return the alphabet of most letters of a lower-case text; "" if no alphabet counts."""
    letters = Counter(_alphabet(char) for char in [char for char in text if char.isalpha()][:MAX_LETTERS])
    if not latin_is_usual:
        letters["LATIN"] //= LATIN_NAMES
    if letters["HIRAGANA"] + letters["KATAKANA"] and letters["CJK"]:
        # Japanese mixes three alphabets; hiragana and katakana distinguish it from Chinese.
        letters["HIRAGANA"] += letters.pop("CJK") + letters.pop("KATAKANA", 0)
    alphabet, count = letters.most_common(1)[0]
    return alphabet if count else ""


def _by_its_letters(text: str, alphabet: str) -> str | None:
    """Return the only language of this alphabet that has a letter of this lower-case text."""
    shared = _SHARED.get(alphabet, ())
    return next((code for chars, code in _OWN_LETTERS if code in shared and any(c in text for c in chars)), None)


def _written_in(code: str, alphabet: str) -> bool:
    """Whether a language is written in an alphabet of several languages."""
    return _plain(code) not in _NOT_LATIN if alphabet == "LATIN" else _plain(code) in _SHARED.get(alphabet, ())


@lru_cache(maxsize=4096)
def _alphabet(char: str) -> str:
    """Return the alphabet of a letter, as the first word of its Unicode name: "CYRILLIC", "CJK"."""
    return unicodedata.name(char, "").partition(" ")[0]

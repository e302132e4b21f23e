"""Detect the language in which to pronounce a text, where the caller does not specify it.

The alphabet of the text decides. For an alphabet that several languages share, the usual language of the conversation
applies, unless the text has letters that only one of them uses. One function, so that a real detector can replace it.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

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
_NOT_LATIN = frozenset(_ONE_LANGUAGE.values()) | {language for shared in _SHARED.values() for language in shared}


def text_language(text: str, *, usual: str, speaks: Callable[[str], bool], before: str | None = None) -> str:
    """Return the language of `text`: a code that the voice speaks, or `usual`.

    usual: the default code of the conversation, SPEECH_LANGUAGE or the voice ("pt-br"). For a text in several
    alphabets, the one with most letters decides; this is called for each clause, so the language can change within a
    reply. before: the language of the previous clause; used for a text without a letter ("1, 2.").
    """
    if not any(char.isalpha() for char in text):
        return before or usual
    found = _language(text.lower(), usual)
    return found if found != usual and speaks(found) else usual


def _language(text: str, usual: str) -> str:
    letters: Counter[str] = Counter()
    for char in [char for char in text if char.isalpha()][:MAX_LETTERS]:
        letters[_alphabet(char)] += 1
    plain = usual.partition("-")[0]
    if plain in _NOT_LATIN:
        letters["LATIN"] //= LATIN_NAMES
    if letters["HIRAGANA"] + letters["KATAKANA"] and letters["CJK"]:
        # Japanese mixes three alphabets; hiragana and katakana distinguish it from Chinese.
        letters["HIRAGANA"] += letters.pop("CJK") + letters.pop("KATAKANA", 0)
    if not letters:
        return usual
    alphabet = letters.most_common(1)[0][0]
    if alphabet in _ONE_LANGUAGE:
        language = _ONE_LANGUAGE[alphabet]
        return usual if plain == language else language
    if alphabet in _SHARED:
        shared = _SHARED[alphabet]
        own = next((code for chars, code in _OWN_LETTERS if code in shared and any(c in text for c in chars)), None)
        if own is None or own == plain:
            return usual if plain in shared else own or shared[0]
        # A letter of Russian does not exclude Belarusian or Kazakh, which have it too.
        return usual if own == "ru" and plain in ("be", "kk", "ky", "tt", "ba", "cv", "mn", "tg") else own
    if alphabet == "LATIN" and plain in _NOT_LATIN:
        return "en"
    return usual


@lru_cache(maxsize=4096)
def _alphabet(char: str) -> str:
    """Return the alphabet of a letter, as the first word of its Unicode name: "CYRILLIC", "CJK"."""
    return unicodedata.name(char, "").partition(" ")[0]

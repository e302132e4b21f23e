"""Numbers in words: whole, with decimals, as ordinals, before a noun.

Each pattern here and in the sibling modules begins only where a run of digits begins, and does not backtrack over
digits, so that hostile text costs linear time.
"""

import re
from collections.abc import Callable

from pipeline.speech.normalise.naming import in_words
from pipeline.speech.normalise.words import Noun, Words

Say = Callable[[re.Match[str]], str]
Rule = tuple[str, Say]
"""A regular expression, and the words that replace a match."""

MAX_DIGITS = 15
"""Limit for a number in words; a longer one is read digit by digit, because listeners cannot follow quintillions."""

START = r"(?<![0-9])(?<![0-9][.,])"
# Atomic, not possessive: before Python 3.11.5 (Debian 12 has 3.11.2) `(…)*+` keeps what a failed last round took.
NUMBER = rf"{START}(?>[0-9]+(?:[.,][0-9]+)*)"
SIGN = r"(?:(?<![\w).,])-)?"

_GROUPED = re.compile(
    r"(?<![0-9])(?<![0-9][ .,'\u00a0\u2009\u202f])[1-9][0-9]{0,2}"
    r"([ '\u00a0\u2009\u202f])[0-9]{3}(?:\1[0-9]{3}){0,4}(?![0-9]|\1[0-9])"
)
_NO_NOUNS = (
    "para mas era a as la las da das na nas una uma cada nada dia dias mapa mapas problema problemas programa "
    "programas sistema sistemas tema temas idioma idiomas día días e y o ou de do del con com por"
)
_NOT_NOUNS = frozenset(_NO_NOUNS.split())
"""Words that a number does not agree with, although they can look like feminine nouns."""
_ENDINGS = "a as ã ãs ção ções dade dades ción ciones dad dades vez vezes veces"
_FEMININE_ENDINGS = tuple(_ENDINGS.split())


def join_groups(text: str) -> str:
    """Join thousands that are separated by spaces or apostrophes ("1 000 000", "1'000") into one number."""
    return _GROUPED.sub(lambda match: match.group().replace(match[1], ""), text)


def cardinal(digits: str, words: Words, noun: Noun | None = None) -> str:
    """Return a whole number in words. It agrees with the noun after it where the language requires that."""
    if len(digits) > MAX_DIGITS or (len(digits) > 1 and digits[0] == "0"):
        return digit_by_digit(digits, words)
    text = in_words(int(digits), words.num2words)
    return text if noun is None else agreeing(text, words, feminine=noun.feminine)


def agreeing(number: str, words: Words, *, feminine: bool) -> str:
    """Return the words of a number in the form that they have before a noun of this gender."""
    for pattern, replacement in words.feminine if feminine else words.masculine:
        number = re.sub(pattern, replacement, number)
    return number


def digit_by_digit(digits: str, words: Words) -> str:
    """Return each digit as a word."""
    return " ".join(in_words(int(digit), words.num2words) for digit in digits if digit.isdecimal())


def parse(token: str, words: Words) -> tuple[str, str] | None:
    """Return the whole and decimal digits of a written number; None if it is not a number (an address, a version)."""
    group, point = (",", ".") if words.decimal == "." else (".", ",")
    if token.isdecimal():
        return token, ""
    if group == "," and re.fullmatch(r"[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}(?:\.[0-9]+)?", token):
        whole, _, fraction = token.replace(",", "").partition(".")  # as in India: 1,00,000
        return whole, fraction
    if re.fullmatch(rf"[1-9][0-9]{{0,2}}(?:\{group}[0-9]{{3}})+(?:\{point}[0-9]+)?", token):
        whole, _, fraction = token.replace(group, "").partition(point)
        return whole, fraction
    if re.fullmatch(rf"[1-9][0-9]{{0,2}}(?:\{point}[0-9]{{3}}){{2,}}(?:\{group}[0-9]+)?", token):
        whole, _, fraction = token.replace(point, "").partition(group)
        return whole, fraction
    parts = re.split(r"[.,]", token)
    return (parts[0], parts[1]) if len(parts) == 2 else None


def number(token: str, words: Words, noun: Noun | None = None) -> str:
    """Return a written number in words, with its decimals; or the parts of a version or address, with dots between."""
    parsed = parse(token, words)
    if parsed is None:
        parts = re.split(r"[.,]", token)
        between = f" {words.point if words.decimal == '.' and len(parts) == 3 else words.dot} "
        return (between if "." in token else ", ").join(cardinal(part, words) for part in parts)
    whole, fraction = parsed
    if not fraction:
        return cardinal(whole, words, noun)
    if words.decimals == "fraction" and len(whole) + len(fraction) <= MAX_DIGITS:
        return in_words(f"{int(whole)}.{fraction}", words.num2words)
    # "three point one four", but "três vírgula catorze".
    as_one = words.decimals == "number" and len(fraction) <= 2 and fraction[0] != "0"
    decimals = cardinal(fraction, words) if as_one else digit_by_digit(fraction, words)
    return f"{cardinal(whole, words)} {words.point} {decimals}"


def counted(token: str, noun: Noun, words: Words) -> str:
    """Return a number and the noun that it counts: "one kilometer", "duas horas", "пять километров"."""
    spoken, name = number(token, words, noun), form(token, noun, words)
    # "dos millones de euros", "un million d'euros".
    link = words.scales.get(spoken.rpartition(" ")[2], "")
    if link and words.code == "fr" and name[0] in "aeiouh":
        return f"{spoken} d'{name}"
    return f"{spoken} {link} {name}" if link else f"{spoken} {name}"


def form(token: str, noun: Noun, words: Words) -> str:
    """Return the form of a noun after a written number."""
    whole, fraction = parse(token, words) or (token, "")
    if words.plural in ("slavic", "polish"):
        return _slavic(whole, noun, fraction=bool(fraction), polish=words.plural == "polish")
    if words.plural == "upto_two":
        return noun.one if whole in ("0", "1") else noun.many
    return noun.one if (whole, fraction) == ("1", "") else noun.many


def _slavic(whole: str, noun: Noun, *, fraction: bool, polish: bool) -> str:
    few = noun.few or noun.many
    if fraction:
        return noun.part or few
    last, teens = whole[-1:], whole[-2:-1] == "1"
    if whole == "1" or (last == "1" and not teens and not polish):
        return noun.one
    return few if last in ("2", "3", "4") and not teens else noun.many


def ordinal(digits: str, words: Words, *, feminine: bool = False, short: bool = False) -> str:
    """Return the number as an ordinal. `short` is for Spanish "primer", "tercer"."""
    if len(digits) > MAX_DIGITS or int(digits) == 0:
        return cardinal(digits, words)
    text = {("es", 11): "undécimo", ("es", 12): "duodécimo"}.get((words.code, int(digits)))
    text = text or in_words(int(digits), words.num2words, "ordinal")
    if short:
        return re.sub(r"(primer|tercer)o$", r"\1", text)
    return re.sub(r"o\b", "a", text) if feminine else text


def alone(token: str, words: Words) -> str:
    """Return a number without a unit in words. Four digits are usually a year, which English reads in pairs."""
    if words.code == "en" and re.fullmatch(r"1[1-9][0-9]{2}|20[0-9]{2}", token):
        return in_words(int(token), "en", "year")
    return number(token, words)


def before(token: str, noun: str, words: Words) -> str:
    """Return a number before a word of the text in words. It agrees with the word if that looks like a noun."""
    spoken, noun = alone(token, words), noun.lower()
    if words.code in ("ru", "uk", "pl") and noun:
        # "одна минута", "две минуты", "jedna minuta": the noun's ending shows its gender; after two, not in Polish.
        one, two = spoken.endswith(("один", "jeden")), spoken.endswith("два")
        feminine = (one and noun.endswith(("а", "я", "a"))) or (two and noun.endswith(("ы", "и", "і")))
        return agreeing(spoken, words, feminine=True) if feminine else spoken
    if words.agrees and len(noun) > 2 and noun not in _NOT_NOUNS:
        return agreeing(spoken, words, feminine=noun.endswith(_FEMININE_ENDINGS))
    return spoken


def signed(match: re.Match[str], words: Words) -> str:
    """Return "minus " if the match has a `sign`, else ""."""
    return f"{words.signs.minus} " if match["sign"] else ""


def any_of(signs: "list[str] | tuple[str, ...] | frozenset[str] | set[str]") -> str:
    """Return the signs as alternatives of a regular expression, the longest first."""
    return "|".join(re.escape(sign) for sign in sorted(signs, key=lambda sign: (-len(sign), sign)))

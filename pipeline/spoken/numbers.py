"""Numbers, and what is written with them, → words.

Each pattern begins only where a run of digits does and never gives digits back: hostile text costs linear time.
"""

import re
from collections.abc import Callable
from functools import cache

from pipeline.spoken.languages import LANGUAGES, Noun, Words
from pipeline.spoken.moments import moments
from pipeline.spoken.naming import in_words

MAX_DIGITS = 15
"""A longer number is read digit by digit; nobody follows quintillions."""

_START = r"(?<![0-9])(?<![0-9][.,])"
# Atomic, not possessive: before Python 3.11.5 (Debian 12 has 3.11.2) `(…)*+` keeps what a failed last round took.
_NUMBER = rf"{_START}(?>[0-9]+(?:[.,][0-9]+)*)"
_SIGN = r"(?:(?<![\w).,])-)?"
_NO_NOUNS = (
    "para mas era a as la las da das na nas una uma cada nada dia dias mapa mapas problema problemas programa "
    "programas sistema sistemas tema temas idioma idiomas día días e y o ou de do del con com por"
)
_NOT_NOUNS = frozenset(_NO_NOUNS.split())
"""What a number does not agree with, though it may look like a feminine noun."""
_ENDINGS = "a as ã ãs ção ções dade dades ción ciones dad dades vez vezes veces"
_FEMININE_ENDINGS = tuple(_ENDINGS.split())
_POINT_DECIMALS = frozenset({"en", "ja", "ko", "zh", "th", "he", "hi", "ar", "fa", "bn", "te", "kn", "am"})


def cardinal(digits: str, words: Words, noun: Noun | None = None) -> str:
    """A whole number. Before a noun it agrees with it where the language wants that."""
    if len(digits) > MAX_DIGITS or (len(digits) > 1 and digits[0] == "0"):
        return digit_by_digit(digits, words)
    text = in_words(int(digits), words.num2words)
    return text if noun is None else agreeing(text, words, feminine=noun.feminine)


def agreeing(number: str, words: Words, *, feminine: bool) -> str:
    """The words of a number as they stand before a noun of this gender."""
    if words.code == "pt" and feminine:
        number = re.sub(r"\bum$", "uma", re.sub(r"\bdois$", "duas", number))
        return re.sub(r"entos\b", "entas", number)
    if words.code == "es":
        if feminine:
            return re.sub(r"entos\b", "entas", re.sub(r"uno$", "una", number))
        return re.sub(r"\buno$", "un", re.sub(r"veintiuno$", "veintiún", number))
    return number


def digit_by_digit(digits: str, words: Words) -> str:
    """Each digit as a word."""
    return " ".join(in_words(int(digit), words.num2words) for digit in digits if digit.isdecimal())


def parse(token: str, words: Words) -> tuple[str, str] | None:
    """Whole and decimal digits of a written number; None when it is none (an address, a version)."""
    group, point = (",", ".") if words.decimal == "." else (".", ",")
    if token.isdecimal():
        return token, ""
    if re.fullmatch(rf"[1-9][0-9]{{0,2}}(?:\{group}[0-9]{{3}})+(?:\{point}[0-9]+)?", token):
        whole, _, fraction = token.replace(group, "").partition(point)
        return whole, fraction
    if re.fullmatch(rf"[1-9][0-9]{{0,2}}(?:\{point}[0-9]{{3}}){{2,}}(?:\{group}[0-9]+)?", token):
        whole, _, fraction = token.replace(point, "").partition(group)
        return whole, fraction
    parts = re.split(r"[.,]", token)
    return (parts[0], parts[1]) if len(parts) == 2 else None


def number(token: str, words: Words, noun: Noun | None = None) -> str:
    """A written number in words, decimals included."""
    parsed = parse(token, words)
    if parsed is None:
        return f" {words.dot} ".join(cardinal(part, words) for part in re.split(r"[.,]", token))
    whole, fraction = parsed
    if not fraction:
        return cardinal(whole, words, noun)
    # "three point one four", but "três vírgula catorze".
    as_one = words.code != "en" and len(fraction) <= 2 and fraction[0] != "0"
    decimals = cardinal(fraction, words) if as_one else digit_by_digit(fraction, words)
    return f"{cardinal(whole, words)} {words.point} {decimals}"


def counted(token: str, noun: Noun, words: Words) -> str:
    """A number and what is counted: "one kilometer", "duas horas"."""
    is_one = parse(token, words) == ("1", "")
    return f"{number(token, words, noun)} {noun.one if is_one else noun.many}"


def ordinal(digits: str, words: Words, *, feminine: bool = False, short: bool = False) -> str:
    """The number as a rank. `short` is Spanish "primer", "tercer"."""
    if len(digits) > 3:
        return cardinal(digits, words)
    text = {("es", 11): "undécimo", ("es", 12): "duodécimo"}.get((words.code, int(digits)))
    text = text or in_words(int(digits), words.num2words, "ordinal")
    if short:
        return re.sub(r"(primer|tercer)o$", r"\1", text)
    return re.sub(r"o\b", "a", text) if feminine else text


def numbers_in_words(text: str, words: Words) -> str:
    """Everything with digits in `text`, as the language says it."""
    if not any("0" <= char <= "9" or char in words.vulgar for char in text):
        return text
    text = re.sub(r"(?<=[0-9])[\u00a0\u202f](?=[0-9]{3}(?![0-9]))", "", text)
    text = moments(text, words)
    for pattern, say in _patterns(words.code):
        text = pattern.sub(say, text)
    return text


def other_numbers(text: str, language: str) -> str:
    """Numbers of a language without tables of its own, where num2words knows it; else the digits stay."""
    point = "." if language[:2].lower() in _POINT_DECIMALS else ","
    group = "," if point == "." else "."

    def say(match: re.Match[str]) -> str:
        token = re.sub(rf"\{group}(?=[0-9]{{3}}(?![0-9]))", "", match.group()).replace(point, ".")
        if not re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", token) or len(token) > MAX_DIGITS:
            return match.group()
        try:
            return in_words(token, language.replace("-", "_"))
        except Exception:  # num2words raises what it likes: NotImplementedError, KeyError, decimal's …
            return match.group()

    return re.sub(rf"(?<![\w.,:]){_NUMBER}(?![\w:])", say, text)


Say = Callable[[re.Match[str]], str]


@cache
def _patterns(code: str) -> tuple[tuple[re.Pattern[str], Say], ...]:
    """Pattern and speaker, in the order in which they are tried: the more specific ones first."""
    words = LANGUAGES[code]
    money = "|".join(re.escape(sign) for sign in sorted(words.currencies, key=len, reverse=True))
    scale = "|".join(sorted(words.scales, key=len, reverse=True))
    unit = "|".join(re.escape(sign) for sign in sorted(words.units, key=len, reverse=True))
    operator = "".join(re.escape(sign) for sign in words.operators if sign not in "x-–/*")

    def signed(match: re.Match[str]) -> str:
        return f"{words.minus} " if match["sign"] else ""

    def price(match: re.Match[str]) -> str:
        currency = words.currencies[match["money"]]
        parsed = parse(match["number"], words)
        if match["scale"]:
            link = words.scales[match["scale"].lower()]
            amount = f"{number(match['number'], words)} {match['scale']} {link}"
            return f"{signed(match)}{amount} {currency.unit.many}"
        if parsed is None or currency.part is None or len(parsed[1]) not in (1, 2):
            return signed(match) + counted(match["number"], currency.unit, words)
        whole, part = parsed[0], str(int(parsed[1].ljust(2, "0")))
        spoken = [counted(whole, currency.unit, words)] if int(whole) or part == "0" else []
        spoken += [counted(part, currency.part, words)] if part != "0" else []
        return signed(match) + f" {words.marks['&']} ".join(spoken)

    def degrees(match: re.Match[str]) -> str:
        scale_name = {"C": " Celsius", "F": " Fahrenheit", "K": " Kelvin"}.get(match["scale"] or "", "")
        return signed(match) + counted(match["number"], words.degrees, words) + scale_name

    def rank(match: re.Match[str]) -> str:
        ending = match["ending"]
        return ordinal(match["number"], words, feminine=ending in ("ª", "ra"), short=ending == "er")

    def span(match: re.Match[str]) -> str:
        first, last = match["first"], match["last"]
        if len(first) == len(last) == 4 or (len(last) <= 3 and int(first) < int(last)):
            return f"{_plain(first, words)} {words.to} {_plain(last, words)}"
        return f"{digit_by_digit(first, words)}, {digit_by_digit(last, words)}"

    def fraction(match: re.Match[str]) -> str:
        named = words.fractions.get(match.group())
        return named or f"{cardinal(match['top'], words)} {words.over} {cardinal(match['bottom'], words)}"

    def mixed(match: re.Match[str]) -> str:
        whole = f"{cardinal(match['number'], words)} {words.marks['&']} " if match["number"] else ""
        return whole + words.vulgar[match["vulgar"]]

    def rest(match: re.Match[str]) -> str:
        token, noun = match["number"], (match["noun"] or "").lower()
        # Letters and digits in one word ("GPT-4", "4K") are said one after the other.
        glued = "" if match["glue"] is None else " "
        after = "" if match["letter"] is None else " "
        spoken = _plain(token, words)
        if words.code != "en" and len(noun) > 2 and noun not in _NOT_NOUNS:
            spoken = agreeing(spoken, words, feminine=noun.endswith(_FEMININE_ENDINGS))
        return f"{glued}{signed(match)}{spoken}{after}"

    patterns: list[tuple[str, Say]] = [
        (rf"(?<=[0-9]) ?(?P<sign>[{operator}]) ?(?=-?[0-9])", lambda m: f" {words.operators[m['sign']]} "),
        (r"(?<=[0-9])(?: (?P<spaced>[-–/*x]) |\*)(?=-?[0-9])", lambda m: f" {words.operators[m['spaced'] or '*']} "),
        (
            rf"(?P<sign>{_SIGN})(?P<money>(?<!\w)[A-Z]{{3}}|{money}) ?(?P<number>{_NUMBER})(?: (?P<scale>{scale})\b)?",
            lambda m: price(m) if m["money"] in words.currencies else m.group(),
        ),
        (rf"(?P<sign>{_SIGN})(?P<number>{_NUMBER}) ?(?:(?P<scale>{scale}) )?(?P<money>{money})(?!\w)", price),
        (
            rf"(?P<sign>{_SIGN})(?P<number>{_NUMBER}) ?%",
            lambda m: f"{signed(m)}{number(m['number'], words)} {words.percent}",
        ),
        (rf"(?P<sign>{_SIGN})(?P<number>{_NUMBER}) ?(?:[°º] ?(?P<scale>[CFK])(?!\w)|°(?P<none>))", degrees),
        (
            rf"(?P<sign>{_SIGN})(?P<number>{_NUMBER}) ?(?P<unit>{unit})(?![\w/²³'])",
            lambda m: signed(m) + counted(m["number"], words.units[m["unit"]], words),
        ),
        (r"(?<![0-9])(?P<number>[0-9]++)\.? ?(?P<ending>º|ª)(?!\w)", rank),
        (r"(?<![0-9])(?P<first>[0-9]++)[-–](?P<last>[0-9]++)(?![\w-])", span),
        (r"(?<![\w/])(?P<top>[0-9]++)[/⁄](?P<bottom>[0-9]++)(?![\w/])", fraction),
        (rf"(?<![0-9])(?P<number>[0-9]*+) ?(?P<vulgar>[{''.join(words.vulgar)}])", mixed),
        (
            rf"(?P<glue>(?<=[^\W\d_])-?)?(?P<sign>{_SIGN})(?P<number>{_NUMBER})(?P<letter>(?=[^\W\d_]))?"
            r"(?=(?: (?P<noun>[^\W\d_]+))?)",
            rest,
        ),
    ]
    if code == "en":
        patterns[2:2] = [
            (r"\b(?P<number>[0-9]{1,3})(?P<ending>st|nd|rd|th)\b", rank),
            (r"(?P<apostrophe>')?\b(?P<number>[0-9]{2}|[0-9]{3}0)'?s\b", _decade),
        ]
    if code == "es":
        patterns[7:7] = [(r"\b(?P<number>[0-9]{1,3})\.?(?P<ending>er|ra|ro|do|to)\b", rank)]
    return tuple((re.compile(pattern), say) for pattern, say in patterns)


def _plain(token: str, words: Words) -> str:
    """A number without a unit. Four digits are most often a year, and English says years in pairs."""
    if words.code == "en" and re.fullmatch(r"1[1-9][0-9]{2}|20[0-9]{2}", token):
        return in_words(int(token), "en", "year")
    return number(token, words)


def _decade(match: re.Match[str]) -> str:
    words = LANGUAGES["en"]
    spoken = _plain(match["number"], words)
    return re.sub(r"y$", "ie", spoken) + "s"

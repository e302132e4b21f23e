"""Arithmetic and comparisons → words: 5 + 3 = 8, x != y, 10x10, 3 1/2, 2³, 1.5e10."""

import re
import unicodedata

from pipeline.speech.normalise.naming import in_words
from pipeline.speech.normalise.numbers import NUMBER, Rule, agreeing, any_of, cardinal, number
from pipeline.speech.normalise.words import Words

_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻"
_NAMED_PARTS = 10
"""Largest denominator whose name is used: "five eighths", but "five over twelve"."""


def operator_rules(words: Words) -> list[Rule]:
    """Return the rules for signs between two things, and comparisons before one. They also apply without numbers."""
    operators, signs = words.operators, words.signs
    anywhere = any_of([sign for sign in operators if sign not in ("-", "–", "/", "*", "x", "·", "^", "+")])
    prefixes = {
        "<=": signs.up_to, ">=": signs.from_on, "≤": signs.up_to, "≥": signs.from_on,
        "<": signs.under, ">": signs.over, "~": signs.about, "≈": signs.about, "±": signs.plus_minus,
    }  # fmt: skip
    money = re.escape("".join(sign for sign in words.currencies if len(sign) == 1 and not sign.isalpha()))

    def between(match: re.Match[str]) -> str:
        return f" {operators[match['sign']]} "

    return [
        (r"(?<=[0-9])(?<!\b0)[x×](?=[0-9])(?![0-9.,×x ]{0,20}=|10[\^⁰¹²³⁴⁵⁶⁷⁸⁹⁻])", lambda m: f" {signs.by} "),
        (rf"(?<=[\w)\]%°²³½'{money}]) ?(?P<sign>{anywhere}) ?(?=[-(\[√.'{money}]?\w)", between),
        (
            rf"(?<![\w)\]%]) ?(?P<sign>{any_of({*prefixes})}) ?(?=[-{money}]?[0-9])",
            lambda m: f" {prefixes[m['sign']]} ",
        ),
        (
            r"(?<=[0-9])(?P<sign>[*^])(?=[-(]?\w)|(?<=\w)(?P<power>\^)(?=[-(]?[\w])",
            lambda m: f" {operators[m['sign'] or '^']} ",
        ),
    ]


def rules(words: Words) -> list[Rule]:
    """Return the rules for signs between numbers, which apply before the numbers become words."""
    operators, signs = words.operators, words.signs

    def scientific(match: re.Match[str]) -> str:
        minus = f"{signs.minus} " if match["minus"] else ""
        exponent = cardinal(str(int(match["exponent"])), words)
        return f"{number(match['number'], words)} {signs.times} {cardinal('10', words)} {signs.power} {minus}{exponent}"

    return [
        (rf"(?<![\w.])(?P<number>{NUMBER})[eE]\+?(?P<minus>-)?(?P<exponent>[0-9]{{1,3}})(?!\w)", scientific),
        (r"(?<=[0-9])[x×](?!\w)(?! ?[0-9])", lambda m: f" {signs.times}"),
        (r"(?<=[0-9%]) ?(?P<sign>[+÷×·]) ?(?=-?[0-9])", lambda m: f" {operators[m['sign']]} "),
        (r"(?<=[0-9%])(?: (?P<sign>[-–/*x]) )(?=-?[0-9])", lambda m: f" {operators[m['sign']]} "),
    ]


def power_rules(words: Words) -> list[Rule]:
    """Return the rules for 2³, x², 10⁻⁶. They apply after the units, which can contain such a sign."""
    signs = words.signs

    def raised(match: re.Match[str]) -> str:
        power = unicodedata.normalize("NFKC", match["power"])
        if power in ("2", "3"):
            return f" {signs.squared if power == '2' else signs.cubed} "
        digits = "".join(char for char in power if char.isdecimal())
        if not digits:
            return " "
        minus = f"{signs.minus} " if power.startswith(("-", "\u2212")) else ""
        return f" {signs.power} {minus}{cardinal(digits, words)} "

    return [(rf"(?<=[\w)])(?P<power>[{_RAISED}]{{1,6}})", raised)]


def fraction_rules(words: Words) -> list[Rule]:
    """Return the rules for 1/2, 3 1/2, 2½, 5/8."""
    parts_of = {sign: unicodedata.normalize("NFKC", sign).replace("⁄", "/") for sign in words.vulgar}
    by_parts = {parts: sign for sign, parts in parts_of.items()}

    def fraction(match: re.Match[str]) -> str:
        whole, top, bottom = match["whole"], match["top"], match["bottom"]
        parts = f"{top}/{bottom}"
        if whole and parts in by_parts:
            return _whole(whole) + words.vulgar[by_parts[parts]]
        named = words.fractions.get(parts) or _named(top, bottom, words)
        named = named or f"{cardinal(top, words)} {words.over} {cardinal(bottom, words)}"
        if not whole and top == bottom:
            return f"{cardinal(top, words)} {cardinal(bottom, words)}"  # fifty-fifty
        if not whole:
            return named
        link = f" {words.half_link} " if int(top) < int(bottom) else " "
        return f"{cardinal(whole, words)}{link}{named}"

    def vulgar(match: re.Match[str]) -> str:
        if not match["number"]:
            return words.fractions.get(parts_of[match["vulgar"]]) or words.vulgar[match["vulgar"]]
        return _whole(match["number"]) + words.vulgar[match["vulgar"]]

    def _whole(digits: str) -> str:
        return agreeing(cardinal(digits, words), words, feminine=False) + (
            f" {words.half_link} " if words.half_link else ""
        )

    rules: list[Rule] = [
        (
            r"(?<![\w/.,])(?:(?<![0-9] )(?P<whole>[0-9]{1,4}) )?(?P<top>[0-9]++)[/⁄](?P<bottom>[0-9]++)(?![\w/])",
            fraction,
        )
    ]
    if words.vulgar:
        rules.append((rf"(?<![0-9])(?P<number>[0-9]*+) ?(?P<vulgar>[{''.join(words.vulgar)}])", vulgar))
    return rules


def _named(top: str, bottom: str, words: Words) -> str | None:
    """Return a fraction whose part is named by the ordinal ("five eighths", "cinco octavos"), else None."""
    if words.code not in ("en", "pt", "es") or not 4 < int(bottom) <= _NAMED_PARTS or not 0 < int(top) < int(bottom):
        return None
    part = in_words(int(bottom), words.num2words, "ordinal")
    one = in_words(1, words.num2words).replace("uno", "un")
    return f"{one} {part}" if int(top) == 1 else f"{cardinal(top, words)} {part}s"

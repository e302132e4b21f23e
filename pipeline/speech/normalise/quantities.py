"""Numbers with a unit, a percent sign or a degree sign, and ranges of them → words."""

import re

from pipeline.speech.normalise.naming import in_words
from pipeline.speech.normalise.numbers import (
    NUMBER,
    SIGN,
    Rule,
    alone,
    any_of,
    counted,
    digit_by_digit,
    number,
    ordinal,
    signed,
)
from pipeline.speech.normalise.words import Words

_GAP = "[ \u00a0\u2009\u202f]?"


def range_rules(words: Words) -> list[Rule]:
    """Return the rules that replace a dash between two numbers, one of which has a unit, by "to". They apply before the
    numbers become words."""
    money = any_of({*words.currencies}) or "(?!)"
    short = any_of({*words.short_scales}) or "(?!)"
    mark = rf"{_GAP}(?:%|‰|°[CF]?|(?:{any_of({*words.units})})(?![\w/])|(?:{short})?{_GAP}(?:{money})(?!\w))"

    def say(match: re.Match[str]) -> str:
        has_mark = match["mark"] or match["money"]
        spaced = len(match["dash"]) > 1
        if not (has_mark or match["mark2"]) or (spaced and not (has_mark and (match["mark2"] or match["money2"]))):
            return match.group()
        if match["money"] and not match["money2"] and not match["mark2"]:
            return f"{match['first']} {words.to} {match['money']}"
        return f"{match['money'] or ''}{match['first']}{match['mark'] or ''} {words.to} "

    return [
        (
            rf"(?<![^\W\d_])(?<![\w]-)(?P<money>(?<!\w)(?:{money}){_GAP})?(?P<first>{NUMBER})(?P<mark>{mark})?"
            rf"(?P<dash>[–-]| [–-] )(?=-?(?P<money2>(?:{money}){_GAP})?[0-9][0-9.,]{{0,20}}(?P<mark2>{mark})?)",
            say,
        )
    ]


def rules(words: Words) -> list[Rule]:
    """Return the rules for percent, degrees and units."""

    def degrees(match: re.Match[str]) -> str:
        scale = f" {words.scale_names['CFK'.index(match['scale'])]}" if match["scale"] else ""
        return signed(match, words) + counted(match["number"], words.degrees, words) + scale

    def unit(match: re.Match[str]) -> str:
        per = f" {words.per} " if match["per"] else ""
        return signed(match, words) + counted(match["number"], words.units[match["unit"]], words) + per

    rules: list[Rule] = [
        (
            rf"(?P<sign>{SIGN})(?P<number>{NUMBER}){_GAP}%",
            lambda m: signed(m, words) + counted(m["number"], words.percent, words),
        ),
        (rf"(?P<sign>{SIGN})(?P<number>{NUMBER}){_GAP}(?:[°º] ?(?P<scale>[CFK])(?!\w)|°(?P<none>))", degrees),
    ]
    if words.units:
        rules.append(
            (
                rf"(?P<sign>{SIGN})(?P<number>{NUMBER}){_GAP}(?P<unit>{any_of({*words.units})})"
                r"(?![\w²³'])(?:(?P<per>/(?=[^\W\d_]))|(?!/))",
                unit,
            )
        )
    return rules


def plain_range_rules(words: Words) -> list[Rule]:
    """Return the rules for a dash between numbers without a unit: a range, or groups of digits as in a phone number."""

    def say(match: re.Match[str]) -> str:
        first, last = match["first"], match["last"]
        if len(first) == 4 and len(last) == 2 and _is_year(first) and int(first[2:]) < int(last):
            return f"{alone(first, words)} {words.to} {alone(last, words)}"
        if len(last) <= 6 and int(first) < int(last) and (
            len(last) <= 3 or (_is_year(first) and _is_year(last)) or (first[-1] == "0" and last[-1] == "0")
        ):  # fmt: skip
            return f"{alone(first, words)} {words.to} {alone(last, words)}"
        if max(len(first), len(last)) <= 2 and "0" not in (first[:-1], last[:-1]):
            return f"{alone(first, words)}, {alone(last, words)}"  # fifty-fifty, a score
        return f"{digit_by_digit(first, words)}, {digit_by_digit(last, words)}"

    def decimals(match: re.Match[str]) -> str:
        if match["first"].isdecimal() and match["last"].isdecimal():
            return match.group()
        return f"{number(match['first'], words)} {words.to} {number(match['last'], words)}"

    def ratio(match: re.Match[str]) -> str:
        return f"{match['first']} {words.ratio or words.to} {match['last']}"

    return [
        (
            rf"(?<![\w-])(?P<first>{NUMBER})[-–](?P<last>(?>[0-9]+(?:[.,][0-9]+)*))(?![\w-])",
            decimals,
        ),
        (
            r"(?<![\w.,-])(?P<groups>[0-9]{1,8}(?:-[0-9]{1,8}){2,8})(?![\w-])",
            lambda m: ", ".join(digit_by_digit(group, words) for group in m["groups"].split("-")),
        ),
        (r"(?<![0-9])(?P<first>[0-9]++)[-–](?P<last>[0-9]++)(?![\w-])", say),
        (r"(?<![\w:.,])(?P<first>[0-9]{1,4}) ?: ?(?P<last>[0-9]{1,4})(?![\w:]|[.,][0-9])", ratio),
        (r"(?<=[0-9]):(?=[0-9])", lambda m: ", "),
    ]


def _is_year(digits: str) -> bool:
    return len(digits) == 4 and 1000 <= int(digits) <= 2199


def rank_rules(words: Words) -> list[Rule]:
    """Return the rules for written ordinals: 1st, 10,000th, 2º, 3ª, 1er."""

    def say(match: re.Match[str]) -> str:
        ending, digits = match["ending"], re.sub(r"[.,]", "", match["number"])
        return ordinal(digits, words, feminine=ending in ("ª", "ra"), short=ending == "er")

    rules: list[Rule] = []
    if words.code == "en":
        rules.append((r"(?<![\w.,])(?P<feet>[1-9])'(?P<inches>[0-9]{1,2})(?=\")", _height))
        rules.append((r"(?<![\w.,])(?P<number>[0-9]{1,3}(?:,?[0-9]{3}){0,3})(?P<ending>st|nd|rd|th)\b", say))
    if words.code == "es":
        rules.append((r"\b(?P<number>[0-9]{1,3})\.?(?P<ending>er|ra|ro|do|to)\b", say))
    if words.code in ("pt", "es", "it"):
        group = r"[0-9]{1,3}(?:\.[0-9]{3}){1,2}|[0-9]++"
        rules.append((rf"(?<![0-9])(?<![0-9][.,])(?P<number>{group})\.? ?(?P<ending>º|ª)(?!\w)", say))
    if words.code == "fr":
        rules.append((r"(?<![\w.,])(?P<number>[0-9]{1,4})(?P<ending>er|re|ère|e|ème|ᵉ)\b", _french_rank))
    if words.code == "nl":
        rules.append((r"(?<![\w.,])(?P<number>[0-9]{1,4})(?P<ending>e|ste|de)\b", say))
    if words.code == "de":
        rules.append(
            (
                r"\b(?P<article>[Dd](?:er|ie|as|en|em|es)|[AaIi]m|[Zz]u[mr]|[VB]om|vom|[Bb]eim) "
                r"(?P<number>[0-9]{1,3})\. (?=[^\W\d_])",
                _german_rank,
            )
        )
    return rules


def _height(match: re.Match[str]) -> str:
    return f"{in_words(int(match['feet']), 'en')} foot {in_words(int(match['inches']), 'en')}"


def _french_rank(match: re.Match[str]) -> str:
    if match["number"] == "1":
        return "première" if match["ending"] in ("re", "ère") else "premier"
    return in_words(int(match["number"]), "fr", "ordinal")


def _german_rank(match: re.Match[str]) -> str:
    ending = "" if match["article"].lower() in ("der", "die", "das") else "n"
    return f"{match['article']} {in_words(int(match['number']), 'de', 'ordinal')}{ending} "

"""Amounts of money → words: "$2.5M", "12,50 €", "R$ 5 mil", "CHF 20"."""

import re

from pipeline.speech.normalise.numbers import NUMBER, SIGN, Rule, any_of, counted, form, number, parse, signed
from pipeline.speech.normalise.words import Noun, Words


def rules(words: Words) -> list[Rule]:
    """Return the rules for amounts with the sign before the number, and after it."""
    money = any_of({*words.currencies})
    scale = any_of({*words.scales}) or "(?!)"
    short = any_of({*words.short_scales}) or "(?!)"
    per = r"(?P<per>/(?=[^\W\d_]))?"
    magnitude = rf"(?:[ \u00a0]?(?P<short>{short})(?![\w/])|[ \u00a0](?P<scale>{scale})\b)?"

    def say(match: re.Match[str]) -> str:
        per = f" {words.per} " if match["per"] else ""
        inner = f"{words.signs.minus} " if match.groupdict().get("inner") else ""
        return signed(match, words) + inner + _amount(match, words) + per

    def millions(match: re.Match[str]) -> str:
        one, many = words.short_scales[match["short"]]
        return f"{number(match['number'], words)} {one if parse(match['number'], words) == ('1', '') else many}"

    rules: list[Rule] = [
        (rf"(?P<sign>{SIGN})(?<!\w)(?P<money>{money})[ \u00a0]?(?P<inner>-)?(?P<number>{NUMBER}){magnitude}{per}", say),
        (
            rf"(?P<sign>{SIGN})(?P<number>{NUMBER})"
            rf"(?:[ \u00a0]?(?P<short>{short})(?=[ \u00a0]?(?:{money})(?!\w))|[ \u00a0](?P<scale>{scale})\b)?"
            rf"(?:[ \u00a0](?:de|d'))?[ \u00a0]?(?P<money>{money})(?!\w){per}",
            say,
        ),
    ]
    counts = any_of({sign for sign in ("M", "bn", "tn", "mn") if sign in words.short_scales})
    if counts:  # "1.5M users", "3bn people"
        rules.append((rf"(?<!\w)(?P<number>{NUMBER})(?P<short>{counts})(?![\w/²³])", millions))
    return rules


def _amount(match: re.Match[str], words: Words) -> str:
    currency, token = words.currencies[match["money"]], match["number"]
    whole, decimals = parsed = parse(token, words) or (token, "")
    if match["scale"] or match["short"]:
        if match["scale"]:
            scale, link = match["scale"], words.scales[match["scale"]]
        else:
            one, many = words.short_scales[match["short"]]
            scale = one if parsed == ("1", "") else many
            if words.plural in ("slavic", "polish") and match["short"] in words.units:
                scale = form(token, words.units[match["short"]], words)
            link = words.scales.get(scale, "")
        # Portuguese and Spanish use "mil", not "um mil".
        noun = Noun(scale, scale, feminine=words.code == "de")
        amount = "" if parsed == ("1", "") and scale == "mil" else number(token, words, noun)
        spoken = " ".join(part for part in (amount, scale, link, currency.unit.many) if part)
        return re.sub(r"\bde (?=[aeiou])", "d'", spoken) if words.code == "fr" else spoken
    if parse(token, words) is None or currency.part is None or len(decimals) not in (1, 2):
        return counted(token, currency.unit, words)
    part = str(int(decimals.ljust(2, "0")))
    amounts = [counted(whole, currency.unit, words)] if int(whole) or part == "0" else []
    if part != "0":
        cents = number(part, words, currency.part)
        named = words.names_cents or not amounts
        amounts.append(f"{cents} {form(part, currency.part, words)}" if named else number(part, words))
    return words.money_link.join(amounts)

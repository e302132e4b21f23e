"""Everything with digits in a text → words: applies the rules of the other modules in order.

| written | where |
|---|---|
| +44 20 7946 0958, (555) 123-4567 | telephone.py |
| 9:30PM, 9am-5pm, 2026-11-28T15:30:45Z, 3/5/2024, May 3 | moments.py |
| 40–60°C, 5 %, 20 °C, 5 km, 10-20, 10,000th | quantities.py |
| 5 + 3 = 8, x != y, 10x10, 3 1/2, 2³, 1.5e10 | sums.py |
| $2.5M, 12,50 €, R$ 5 mil | money.py |
| 3.14, 1 000 000, a number alone or in a word (GPT-4) | numbers.py |
"""

import re
from functools import cache

from pipeline.speech.normalise import moments, money, quantities, sums, telephone
from pipeline.speech.normalise.languages import LANGUAGES
from pipeline.speech.normalise.numbers import NUMBER, SIGN, Rule, Say, alone, before, join_groups, signed
from pipeline.speech.normalise.words import Words

_DASH_MINUS = re.compile(r"(?<![\w%°)])–(?=[0-9.]*[0-9])(?<![0-9%°)] –)")
_BARE_DECIMALS = re.compile(r"(?<![\w.,)])\.(?=[0-9])")


def numbers_in_words(text: str, words: Words) -> str:
    """Replace everything with digits in `text`, and signs of arithmetic, by words of the language."""
    for pattern, say in _compiled(words.code)[0]:
        text = pattern.sub(say, text)
    if not any("0" <= char <= "9" or char in words.vulgar for char in text):
        return text
    text = _BARE_DECIMALS.sub(f"0{words.decimal}", join_groups(_DASH_MINUS.sub("-", text)))
    for pattern, say in _compiled(words.code)[1]:
        text = pattern.sub(say, text)
    return text


@cache
def _compiled(code: str) -> tuple[tuple[tuple[re.Pattern[str], Say], ...], ...]:
    words = LANGUAGES[code]
    # Telephone numbers and dates come first, because their parts look like other things.
    first = [*telephone.rules(words), *moments.rules(words), *sums.operator_rules(words)]
    then = [
        *quantities.range_rules(words),
        *sums.rules(words),
        *([_decade_rule(words)] if code == "en" else []),
        *money.rules(words),
        *quantities.rules(words),
        *quantities.rank_rules(words),
        *sums.power_rules(words),
        *quantities.plain_range_rules(words),
        *sums.fraction_rules(words),
        _rest_rule(words),
    ]
    return tuple(tuple((re.compile(pattern), say) for pattern, say in rules) for rules in (first, then))


def _decade_rule(words: Words) -> Rule:
    """Return the rule for decades: "the 1990s", "the '80s"."""
    return (
        r"(?P<apostrophe>')?\b(?P<number>[0-9]{2}|[0-9]{3}0)'?s\b",
        lambda match: re.sub(r"y$", "ie", alone(match["number"], words)) + "s",
    )


def _rest_rule(words: Words) -> Rule:
    """Return the rule for a number alone, or inside a word."""

    def say(match: re.Match[str]) -> str:
        # Separate letters from digits in one word ("GPT-4", "4K").
        glued = "" if match["glue"] is None else " "
        after = "" if match["letter"] is None else " "
        return f"{glued}{signed(match, words)}{before(match['number'], match['noun'] or '', words)}{after}"

    return (
        rf"(?P<glue>(?<=[^\W\d_])-?)?(?P<sign>{SIGN})(?P<number>{NUMBER})(?P<letter>(?=[^\W\d_]))?"
        r"(?=(?: (?P<noun>[^\W\d_]+))?)",
        say,
    )

"""Telephone numbers → single digits, with a pause between the written groups."""

import re

from pipeline.speech.normalise.numbers import Rule, digit_by_digit
from pipeline.speech.normalise.words import Words

FEWEST, MOST = 7, 15
"""Limits for the digits of a telephone number; ITU-T E.164 allows 15."""
_DATE = re.compile(r"[0-9]{2}([/-])[0-9]{2}\1(?:[0-9]{2}|[0-9]{4})")
_GAPS = " .\u00a0/–-"


def rules(words: Words) -> list[Rule]:
    """Return the rules for numbers that begin with + or (, are written 555-123-4567 or with a leading 0, or follow a
    word such as "call"."""

    def say(match: re.Match[str]) -> str:
        written = match["phone"]
        digits = sum(char.isalnum() for char in written)  # letters stand for digits: 1-800-FLOWERS
        if (
            not FEWEST <= digits <= MOST
            or _DATE.fullmatch(written)
            or re.search(rf"[{_GAPS}]{{3}}|[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}", written)
        ):
            return match.group()
        groups = [
            digit_by_digit(group, words) if group.isdecimal() else group for group in re.findall(r"[0-9]+|\w+", written)
        ]
        plus = f"{words.signs.plus} " if written.startswith("+") else ""
        return f"{match.groupdict().get('call') or ''}{plus}{', '.join(groups)}"

    gaps = re.escape(_GAPS)
    written = [
        rf"(?<![\w+])(?P<phone>\+[0-9][0-9(){gaps}]{{5,22}}[0-9])(?!\w)",
        rf"(?<![\w(])(?P<phone>\([0-9]{{2,5}}\) ?[0-9][0-9{gaps}]{{4,12}}[0-9])(?!\w)",
        r"(?<![\w.,$+/-])(?P<phone>(?:1[-.])?[0-9]{3}([-.])[0-9]{3}\2[0-9]{4})(?![\w-]|[.,][0-9])",
        r"(?<![\w.,$+/-])(?P<phone>1-[0-9]{3}-[A-Z0-9]{3,4}-?[A-Z0-9]{3,5})(?![\w-])",
        r"(?<![\w.,:/+-])(?P<phone>0[0-9]{1,4}(?:[ \u00a0/-][0-9]{2,8}){1,5})(?![\w-]|[.,:/][0-9])",
    ]
    written += [
        # Formats of Brazil (21 98765-4321), Spain (91 123 45 67) and France (01.23.45.67.89, 0 800 123 456).
        r"(?<![\w.,$+/-])(?P<phone>[1-9][0-9] [0-9]{4,5}-[0-9]{4})(?![\w-])",
        r"(?<![\w.,$+/-])(?<![0-9] )(?P<phone>[1-9][0-9]{1,2} [0-9]{3} [0-9]{2} [0-9]{2})(?! ?\w|-|[.,][0-9])",
        r"(?<![\w.,$+/-])(?P<phone>0[1-9](?:\.[0-9]{2}){4}|0 [0-9]{3} [0-9]{3} [0-9]{3})(?![\w-]|[.,][0-9])",
        # This many digits without a separator are dialled or copied, not counted.
        r"(?<![\w.,:$€£¥₹+/-])(?<![$€£¥₹] )(?P<phone>[0-9]{7,12}(?!000)[0-9]{3})(?![\w%°€$]|[.,:/-][0-9]| [%°€$])",
    ]
    if words.calling:
        written.append(
            rf"(?P<call>\b(?i:{words.calling})\b[^0-9\n+]{{0,12}})(?<![\w.,-])"
            rf"(?P<phone>[0-9][0-9{gaps}]{{5,18}}[0-9])(?![\w-]|[.,:/][0-9])"
        )
    card = r"(?<![\w.,+-])(?<![0-9] )[0-9]{4}(?P<gap>[ -])[0-9]{4}(?P=gap)[0-9]{4}(?P=gap)[0-9]{1,7}(?![\w-]|[.,][0-9])"
    return [(card, lambda m: _groups(m.group(), words)), *((pattern, say) for pattern in written)]


def _groups(written: str, words: Words) -> str:
    return ", ".join(digit_by_digit(group, words) for group in re.findall(r"[0-9]+", written))

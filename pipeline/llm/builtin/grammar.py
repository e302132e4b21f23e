"""A JSGF grammar of the requests that the responder understands in English, for a recogniser limited to them."""

from pipeline.llm.builtin.english import ENGLISH, PATTERNS
from pipeline.llm.builtin.patterns import jsgf

_SAID_OPERATORS = ("plus", "minus", "times", "divided by", "multiplied by", "percent of")
TYPED_UNITS = frozenset({"millimeter", "yard", "liter", "gallon", "month"})
"""Units that sound much like others ("millimeters", "months") or that users seldom ask for; they are not in the
grammar."""
_DIGITS = "one | two | three | four | five | six | seven | eight | nine"
_TEENS = "ten | eleven | twelve | thirteen | fourteen | fifteen | sixteen | seventeen | eighteen | nineteen"
_TENS = "twenty | thirty | forty | fifty | sixty | seventy | eighty | ninety"


def sentences() -> list[str]:
    """Return the English requests in the grammar: right sides of JSGF rules, with slots like <number>."""
    # "Weeks" sounds much like "minutes", and users do not set timers of weeks.
    return [pattern.replace("<unit>", "<period>") if intent == "timer" else pattern for pattern, intent in PATTERNS]


def grammar() -> str:
    """Return the JSGF grammar. Numbers go from 0 to 100; open slots (names, words) have a choice of samples."""
    # The first two names are the spoken plural and singular; the rest are abbreviations and other spellings.
    units = [name for unit, names in ENGLISH.units.items() if unit not in TYPED_UNITS for name in names[:2]]
    return jsgf(
        "requests",
        {
            "utterance": "<request> [please]",
            "request": " | ".join(sentences()),
            "digit": _DIGITS,
            "number": f"zero | <digit> | {_TEENS} | ({_TENS}) [<digit>] | one hundred",
            "amount": "<number> | a | an",
            "operator": " | ".join(_SAID_OPERATORS),
            "sum": "<number> <operator> <number>",
            "unit": " | ".join(units),
            "period": "second | seconds | minute | minutes | hour | hours",
            **ENGLISH.sample_words,
        },
    )

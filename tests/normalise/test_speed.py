"""The cost of normalising text for speech is linear in its length, whatever the text is.

Measured as in `tests/test_linear_texts.py`, but with whole texts: there they are cut into clauses, as in use.
"""

from collections.abc import Callable, Sequence

import pytest

from pipeline.speech.clauses import split
from pipeline.speech.language import text_language
from pipeline.speech.normalise import for_voice
from pipeline.speech.normalise.languages import LANGUAGES
from tests.adversarial import LONG, SHORT, repeated, slow

UNITS = [
    "*", "1", "1.", "1,", "1 ", "1 000 ", "1/", "1:", "1-", "1 1/", "+1", "+1 ", "(1", "01 ", "555-", "a.",
    "<a", "<a ", "[", "[a", "](a", "_a", "-", "- ", " ", "`", "|", "> ", "&", "'", "$1,", "$1k", "$", "$1-",
    "1€-", "5%-", "😀", "a@", "a+b@", "\n-", "1h", "1:1", "May 1", "A.", "½", "1½", "²", "10⁻", "~", "#",
    "#a", "http://", "/a", "/", "C:\\", "\\n", "\\", "x=", "a<", "<=", "!=", "->", "1x", "1e",
    "2026-11-28T", "call ", "call 1 ", "tel. ", "1.1.1.", "v1.", "1st", "º", "Я", "漢", "1\u202f", "1'",
    "die 1. ", "a/", "++", "C#", ".a", "..", "— ", "1m", "1 km/", "12,50 € ", "1 Mio. ",
]  # fmt: skip
OTHERS = [*(code for code in LANGUAGES if code != "en"), None]
"""English has most rules, so every text is tried in it."""


def slow_units(work: Callable[[str], object], units: Sequence[str]) -> list[str]:
    """The units whose repetition takes more than linear time, with their times."""
    work("".join(units))  # the patterns are compiled at first use
    times = {unit: slow(work, repeated(unit)(SHORT // 2), repeated(unit)(LONG // 2)) for unit in units}
    return [f"{unit!r}: {found}" for unit, found in times.items() if found]


@pytest.mark.parametrize("part", range(4))
def test_four_times_the_text_costs_about_four_times(part: int) -> None:
    assert slow_units(lambda text: for_voice(text, "en"), UNITS[part::4]) == []


@pytest.mark.parametrize("language", OTHERS)
def test_the_cost_is_linear_in_every_language(language: str | None) -> None:
    assert slow_units(lambda text: for_voice(text, language), ["1.", "1-", "12,50 € ", "die 1. "]) == []


def test_clauses_and_their_language_cost_linear_time() -> None:
    assert slow_units(split, UNITS) == []
    assert slow_units(lambda text: text_language(text, usual="en", speaks=lambda code: True), UNITS) == []

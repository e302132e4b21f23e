"""The cost of what is said aloud grows with the length of the text and no faster, whatever the text is."""

import time
from collections.abc import Callable

import pytest

from pipeline.spoken import for_voice
from pipeline.spoken.languages import LANGUAGES
from pipeline.text import split
from pipeline.text_language import text_language

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


def seconds(work: Callable[[str], object], text: str) -> float:
    begun = time.thread_time()
    work(text)
    return time.thread_time() - begun


def ratio(work: Callable[[str], object], unit: str) -> float:
    """Of the time for 40,000 characters to that for 10,000; the least of up to three where it looks too much."""
    short, long = (unit * (size // len(unit)) for size in (10_000, 40_000))
    work(unit * 10)  # the patterns are compiled at first use
    least = float("inf")
    for _ in range(3):
        least = min(least, seconds(work, long) / max(seconds(work, short), 0.001))
        if least < 8:
            break
    return least


@pytest.mark.parametrize("unit", UNITS)
def test_four_times_the_text_costs_about_four_times(unit: str) -> None:
    assert ratio(lambda text: for_voice(text, "en"), unit) < 8


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("unit", ["1.", "1-", "12,50 € ", "die 1. "])
def test_the_cost_is_linear_in_every_language(unit: str, language: str | None) -> None:
    assert ratio(lambda text: for_voice(text, language), unit) < 8


@pytest.mark.parametrize("unit", UNITS)
def test_clauses_and_their_language_cost_linear_time(unit: str) -> None:
    assert ratio(split, unit) < 8
    assert ratio(lambda text: text_language(text, usual="en", speaks=lambda code: True), unit) < 8

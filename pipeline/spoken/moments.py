"""Times of day and dates → words."""

import re
from collections.abc import Callable
from functools import cache

from pipeline.spoken.languages import LANGUAGES, Words
from pipeline.spoken.naming import in_words

_HOUR = r"(?P<hour>[01]?[0-9]|2[0-3])"
_MINUTE = r"(?P<minute>[0-5][0-9])"
_HALF = r"(?: ?(?P<half>[aApP])(?:\.? ?[mM]\.(?=\s+[a-zà-ÿ]|[,;:!?)])|\.? ?[mM](?![\w])))"
Say = Callable[[re.Match[str]], str]


def moments(text: str, words: Words) -> str:
    """Dates first: their parts look like other things."""
    for pattern, say in _patterns(words.code):
        text = pattern.sub(say, text)
    return text


@cache
def _patterns(code: str) -> tuple[tuple[re.Pattern[str], Say], ...]:
    words = LANGUAGES[code]
    written: list[tuple[str, Say]] = [
        (r"(?<![\w-])(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})(?![\w-])", lambda m: _date(m, words)),
        (
            r"(?<![\w/.])(?P<day>[0-9]{1,2})[/.](?P<month>[0-9]{1,2})[/.](?P<year>[0-9]{4})(?![\w/])",
            lambda m: _date(m, words),
        ),
    ]
    if code == "en":
        names = "|".join((*words.months, *words.months_short))
        written += [
            (rf"\b(?P<name>{names})\.? (?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?\b(?!:|[.,][0-9])", _english_month_first),
            (rf"\b(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)? (?:of )?(?P<name>{names})\b", _english_day_first),
            (rf"(?<![\w:.]){_HOUR}:{_MINUTE}(?![:\w]){_HALF}?", _english_time),
            (rf"(?<![\w:.,]){_HOUR}{_HALF}", _english_time),
        ]
    else:
        names = "|".join(words.months)
        written += [
            (rf"\b1 de (?={names})", lambda _: "primeiro de " if code == "pt" else "uno de "),
            (
                rf"(?<![\w:.]){_HOUR}(?::| ?h ?){_MINUTE}(?: ?(?:h|hs|hrs|min)\b\.?)?(?![:\w]){_HALF}?",
                lambda m: _time(m, words),
            ),
            (rf"(?<![\w:.,]){_HOUR}(?: ?(?:hs|h)\b(?!/)|{_HALF})", lambda m: _time(m, words)),
        ]
    return tuple((re.compile(pattern), say) for pattern, say in written)


def _number(value: int, words: Words) -> str:
    return in_words(value, words.num2words)


def _date(match: re.Match[str], words: Words) -> str:
    day, month, year = int(match["day"]), int(match["month"]), int(match["year"])
    if words.code == "en" and "/" in match.group() and day <= 12:
        day, month = month, day
    if not (1 <= month <= 12 and 1 <= day <= 31) or year < 1:
        return match.group()
    name = words.months[month - 1]
    if words.code == "en":
        return f"{name} {in_words(day, 'en', 'ordinal')}, {in_words(year, 'en', 'year')}"
    first = {"pt": "primeiro", "es": "uno"}[words.code]
    return f"{first if day == 1 else _number(day, words)} de {name} de {_number(year, words)}"


def _english_month_first(match: re.Match[str]) -> str:
    day = int(match["day"])
    return f"{_full(match['name'])} {in_words(day, 'en', 'ordinal')}" if 1 <= day <= 31 else match.group()


def _english_day_first(match: re.Match[str]) -> str:
    day = int(match["day"])
    return f"{in_words(day, 'en', 'ordinal')} of {_full(match['name'])}" if 1 <= day <= 31 else match.group()


def _full(name: str) -> str:
    return next(month for month in LANGUAGES["en"].months if month.startswith(name[:3]))


def _english_time(match: re.Match[str]) -> str:
    words = LANGUAGES["en"]
    hour, minute = int(match["hour"]), int(match.groupdict().get("minute") or 0)
    half = f" {match['half'].lower()} m" if match["half"] else ""
    if minute:
        return f"{_number(hour, words)} {'oh ' if minute < 10 else ''}{_number(minute, words)}{half}"
    if half:
        return _number(hour, words) + half
    if hour == 0:
        return "midnight"
    return _number(hour, words) + (" o'clock" if hour <= 12 else " hundred")


def _time(match: re.Match[str], words: Words) -> str:
    """Portuguese and Spanish: hours are feminine."""
    hour, minute = int(match["hour"]), int(match.groupdict().get("minute") or 0)
    portuguese = words.code == "pt"
    spoken = _number(hour, words)
    spoken = (
        re.sub(r"\bum$", "uma", re.sub(r"\bdois$", "duas", spoken)) if portuguese else re.sub(r"uno$", "una", spoken)
    )
    part = ""
    if match["half"]:
        part = _part_of_day(hour, match["half"].lower() == "p", portuguese=portuguese)
    if portuguese:
        spoken += " hora" if hour in (0, 1) else " horas"
        return spoken + (f" e {_number(minute, words)}" if minute else "") + part
    if minute:
        return f"{spoken} y {_number(minute, words)}{part}"
    return spoken + (part or (" en punto" if 1 <= hour <= 12 else " horas"))


def _part_of_day(hour: int, afternoon: bool, *, portuguese: bool) -> str:
    if not afternoon:
        return " da manhã" if portuguese else " de la mañana"
    if 7 <= hour <= 11:
        return " da noite" if portuguese else " de la noche"
    return " da tarde" if portuguese else " de la tarde"

"""Times of day and dates → words."""

import re

from pipeline.speech.normalise.naming import in_words
from pipeline.speech.normalise.numbers import Rule, agreeing, any_of, cardinal, counted
from pipeline.speech.normalise.words import Words

_HOUR = r"(?P<hour>[01]?[0-9]|2[0-4])"
_MINUTE = r"(?P<minute>[0-5][0-9])"
_SECOND = r"(?::(?P<second>[0-5][0-9]))?"
_HALF = r"(?: ?(?P<half>[aApP])(?:\.? ?[mM]\.(?=\s+[a-zà-ÿ]|[,;:!?)])|\.? ?[mM](?![\w])))"
_AFTER = r"(?![:\w]|\.[0-9])"
_DAY = r"(?P<year>[0-9]{4})(?P<between>[/-])(?P<month>[0-9]{2})(?P=between)(?P<day>[0-9]{2})"
_ZONE = r"(?: ?(?P<zone>Z|UTC|GMT|(?P<offset>[+-])(?P<ahead>[0-9]{2})(?::?(?P<rest>[0-9]{2}))?)(?!\w))?"


def rules(words: Words) -> list[Rule]:
    """Return the rules. Dates come first, because their parts look like other things."""
    english = words.code == "en"

    def date(match: re.Match[str]) -> str:
        return _date(match, words)

    def time(match: re.Match[str]) -> str:
        return _time(match, words)

    def to(match: re.Match[str]) -> str:
        return f"{match['first']} {words.to} "

    hours = r"[0-9]{1,2}(?::[0-9]{2}| ?h(?:[0-9]{2})?)?(?: ?[aApP]\.?[mM]\b\.?)?"
    sure = r"[0-9]{1,2}(?::[0-9]{2}(?![0-9:])|(?::[0-9]{2})? ?[aApP]\.?[mM]\b| ?h(?:[0-9]{2})?(?!\w))"
    found: list[Rule] = []
    if words.months:
        found += [
            (
                rf"(?<![\w-]){_DAY}(?:[T ](?P<hour>[0-2][0-9]):{_MINUTE}"
                rf"(?::(?P<second>[0-5][0-9])(?:[.,][0-9]{{1,9}})?)?{_ZONE})?(?![\w/-])",
                lambda m: _stamp(m, words),
            ),
            (
                r"(?<![\w/.-])(?P<day>[0-9]{1,2})(?P<between>[/.-])(?P<month>[0-9]{1,2})(?P=between)(?P<year>[0-9]{4})(?![\w/-])",
                date,
            ),
            (
                r"(?<![\w/.,-])(?P<day>[0-9]{1,2})/(?P<month>[0-9]{1,2})/(?P<year>[0-9]{2})(?![\w/-])",
                date,
            ),
            (
                rf"(?<![\w:.])(?P<hour>[0-2]?[0-9]):{_MINUTE}:(?P<second>[0-5][0-9])(?:[.,][0-9]{{1,9}})?(?=[Z+-]){_ZONE}(?![\w:-])",
                lambda m: _zoned(m, words),
            ),
        ]
    found.append((rf"(?<![\w:.,])(?P<first>{hours}) ?[-–] ?(?={sure})", to))
    names = any_of(words.months)
    if words.months and not english:
        # "21/05", "25/12": fractions are not written like this.
        found.append((
            r"(?<![\w/.,-])(?P<day>0[1-9]|[12][0-9]|3[01])/(?P<month>0[1-9]|1[0-2])(?![\w/%]|[.,][0-9])",
            lambda m: _day_of_month(m, words),
        ))  # fmt: skip
    bare = "?" if words.code in ("en", "de") else ""
    found.append((
        rf"(?<![\w.,])(?P<hours>[0-9]{{1,3}}) ?h(?:rs?)?(?: ?(?=[0-9]{{1,2}} ?m)|(?=[0-9]{{2}}(?!\w)))"
        rf"(?P<minutes>[0-5]?[0-9])(?: ?m(?:in)?){bare}(?![\w²³/])",
        lambda m: f"{m['hours']} h {m['minutes']} min",
    ))  # fmt: skip
    if english:
        minutes_and_seconds = r"(?<![\w.,])(?P<minutes>[0-9]{1,3}) ?m (?P<seconds>[0-5]?[0-9]) ?s(?!\w)"
        found.append((minutes_and_seconds, lambda m: f"{m['minutes']} min {m['seconds']} sec"))
        names = "|".join((*words.months, *words.months_short))
        found += [
            (rf"\b(?P<name>{names})\.? (?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?\b(?!:|[.,][0-9])", _english_month_first),
            (rf"\b(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)? (?:of )?(?P<name>{names})\b", _english_day_first),
            (rf"(?<![\w:.,]){_HOUR}\.{_MINUTE}{_HALF}", time),
            (rf"(?<![\w:.,]){_HOUR}{_HALF}", time),
            (r"(?<=[0-9](?:st|nd|rd|th))[-–](?=[0-9])", lambda m: f" {words.to} "),
        ]
    elif words.ordinal_days and words.months:
        found.append(
            (r"(?<![\w.,])(?P<day>[0-9]{1,2})\.(?P<month>[0-9]{1,2})\.(?![\w])", lambda m: _day_and_month(m, words))
        )
        found.append((rf"\b(?P<day>[0-9]{{1,2}})\. (?P<name>{names})\b", lambda m: f"{_day(m, words)} {m['name']}"))
    elif words.first and words.months:
        found.append((rf"\b1(?:er|º)?(?P<of> de | )(?=(?:{names})\b)", lambda m: words.first + m["of"]))
    if words.code == "es":
        found.append((rf"\b1 de (?=(?:{names})\b)", lambda _: "uno de "))
    if not english:
        unit = r"(?: ?(?:h|hs|hrs|min)\b\.?)?" if words.code in ("pt", "es", "fr", "it") else ""
        unit = rf"(?: {words.clock_word}\b)?" if words.clock_word else unit
        between = r"(?::| ?h ?)" if words.code in ("pt", "es", "fr", "it") else ":"
        found.append((rf"(?<![\w:.]){_HOUR}{between}{_MINUTE}{_SECOND}{unit}{_HALF}?{_AFTER}", time))
        if words.code in ("pt", "es", "fr", "it"):
            found.append((rf"(?<![\w:.,]){_HOUR}(?: ?(?:hs|h)\b(?!/)|{_HALF})", time))
    else:
        found.insert(-2, (rf"(?<![\w:.]){_HOUR}:{_MINUTE}{_SECOND}{_HALF}?{_AFTER}", time))
    return found


def _date(match: re.Match[str], words: Words) -> str:
    day, month, year = int(match["day"]), int(match["month"]), int(match["year"])
    year += 2000 if len(match["year"]) == 2 else 0
    if words.code == "en" and match.group()[1:3].find("/") >= 0 and day <= 12:
        day, month = month, day
    if not (1 <= month <= 12 and 1 <= day <= 31) or year < 1:
        return match.group()
    name = words.months[month - 1]
    if words.code == "en":
        return f"{name} {in_words(day, 'en', 'ordinal')}, {in_words(year, 'en', 'year')}"
    spoken = _rank(day, match, words) if words.ordinal_days else cardinal(str(day), words)
    return words.date.format(
        day=words.first if day == 1 and words.first else spoken, month=name, year=cardinal(str(year), words)
    )


def _day_of_month(match: re.Match[str], words: Words) -> str:
    day = int(match["day"])
    if day <= 12 and not match["day"].startswith("0") and not match["month"].startswith("0"):
        return match.group()  # "10/12 of the points"
    spoken = _rank(day, match, words) if words.ordinal_days else cardinal(str(day), words)
    without_year = words.date.partition("{month}")[0] + "{month}"
    return without_year.format(
        day=words.first if day == 1 and words.first else spoken, month=words.months[int(match["month"]) - 1]
    )


def _day(match: re.Match[str], words: Words) -> str:
    day = int(match["day"])
    return _rank(day, match, words) if 1 <= day <= 31 else match.group("day")


def _day_and_month(match: re.Match[str], words: Words) -> str:
    day, month = int(match["day"]), int(match["month"])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match.group()
    return f"{_rank(day, match, words)} {words.months[month - 1]}"


def _rank(day: int, match: re.Match[str], words: Words) -> str:
    """Return a day as an ordinal. German: "der erste Mai", but "am ersten Mai", which is the usual form."""
    rank = in_words(day, words.num2words, "ordinal")
    nominative = match.string[: match.start()].endswith(("Der ", "der "))
    return rank if nominative or words.code != "de" else f"{rank}n"


def _stamp(match: re.Match[str], words: Words) -> str:
    """Say a date in ISO 8601, optionally with a time of day and a zone."""
    spoken = _date(match, words)
    if match["hour"] is None or spoken == match.group():
        return spoken
    return f"{spoken}, {_zoned(match, words)}"


def _zoned(match: re.Match[str], words: Words) -> str:
    spoken = _time(match, words)
    if match["zone"] is None:
        return spoken
    if match["offset"] is None or not int(match["ahead"]) + int(match["rest"] or 0):
        return f"{spoken} {'GMT' if match['zone'] == 'GMT' else 'UTC'}"
    sign = words.signs.plus if match["offset"] == "+" else words.signs.minus
    minutes = f" {cardinal(match['rest'], words)}" if int(match["rest"] or 0) else ""
    return f"{spoken} UTC {sign} {cardinal(str(int(match['ahead'])), words)}{minutes}"


def _english_month_first(match: re.Match[str]) -> str:
    day = int(match["day"])
    return f"{_full(match['name'])} {in_words(day, 'en', 'ordinal')}" if 1 <= day <= 31 else match.group()


def _english_day_first(match: re.Match[str]) -> str:
    day = int(match["day"])
    return f"{in_words(day, 'en', 'ordinal')} of {_full(match['name'])}" if 1 <= day <= 31 else match.group()


def _full(name: str) -> str:
    from pipeline.speech.normalise.languages.en import ENGLISH

    return next(month for month in ENGLISH.months if month.startswith(name[:3]))


def _time(match: re.Match[str], words: Words) -> str:
    groups = match.groupdict()
    hour, minute = int(match["hour"]), int(groups.get("minute") or 0)
    half = (groups.get("half") or "").lower()
    second = int(groups.get("second") or 0)
    if second and words.minute is not None:
        parts = [(hour, words.hour), (minute, words.minute), (second, words.second)]
        named = [counted(str(value), noun, words) for value, noun in parts]
        return f"{named[0]}, {named[1]} {words.signs.link} {named[2]}"
    spoken = (
        _english_time(hour, minute, half, groups.get("second"))
        if words.code == "en"
        else _clock(hour, minute, half, words)
    )
    if second:
        spoken += f" {words.signs.link} {counted(str(second), words.second, words)}"
    return spoken


def _english_time(hour: int, minute: int, half: str, second: str | None) -> str:
    spoken = in_words(hour, "en")
    after = f" {half} m" if half else ""
    if minute or (second and not half and int(second)):
        return f"{spoken} {'oh ' if minute < 10 else ''}{in_words(minute, 'en')}{after}"
    if after:
        return spoken + after
    if hour == 0:
        return "midnight"
    return spoken + (" o'clock" if hour <= 12 else " hundred")


def _clock(hour: int, minute: int, half: str, words: Words) -> str:
    """Say a time of day. Hours are feminine where numbers have a gender. Spanish uses "en punto" only up to twelve."""
    spoken = agreeing(in_words(hour, words.num2words), words, feminine=words.hour.feminine)
    part = _part_of_day(hour, half == "p", words.code) if half else ""
    named = words.hour.one if hour in (0, 1) else words.hour.many
    if words.code == "es":
        if minute:
            return f"{spoken} y {in_words(minute, 'es')}{part}"
        return spoken + (part or (" en punto" if 1 <= hour <= 12 else " horas"))
    form = words.clock[0] if minute else words.clock[1]
    return form.format(hour=spoken, name=named, minute=in_words(minute, words.num2words)) + part


def _part_of_day(hour: int, afternoon: bool, code: str) -> str:
    names = {
        "pt": (" da manhã", " da noite", " da tarde"),
        "es": (" de la mañana", " de la noche", " de la tarde"),
    }.get(code)
    if names is None:
        return " p m" if afternoon else " a m"
    if not afternoon:
        return names[0]
    return names[1] if 7 <= hour <= 11 else names[2]

"""Finds the intent of a transcript, and the intent's parts."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache

from pipeline.llm.builtin import numbers
from pipeline.llm.builtin.english import ENGLISH
from pipeline.llm.builtin.language import Language
from pipeline.llm.builtin.patterns import Heard, normal, regex
from pipeline.llm.builtin.portuguese import PORTUGUESE
from pipeline.llm.builtin.spanish import SPANISH

LANGUAGES: Mapping[str, Language] = {language.code: language for language in (ENGLISH, PORTUGUESE, SPANISH)}
MAX_CHARS, MAX_WORDS = 600, 60
"""Limits for an utterance; a longer one cannot match and is not tried."""
MAX_POLITE_WORDS = 8
"""Maximum number of polite words at either end that are left out."""
_TWO_TERMS = {
    "add": ("+", "number_1", "number_2"),
    "multiply": ("*", "number_1", "number_2"),
    "divide": ("/", "number_1", "number_2"),
    "subtract_from": ("-", "number_2", "number_1"),
}
"""Intent of a sum of two numbers → its operator and the slots of its terms."""
_SYMBOLS = {"+": "+", "-": "-", "*": "*", "/": "/"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """An intent that was understood. `parts` holds the slots by name and number ("unit_1"), in normal words with a
    space after each; `written` holds them as they were written."""

    intent: str
    parts: Mapping[str, str]
    written: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Compiled:
    patterns: tuple[tuple[re.Pattern[str], str], ...]
    lead: re.Pattern[str]
    trail: re.Pattern[str]
    operator: re.Pattern[str]
    units: Mapping[str, str]


@cache
def compiled(language: Language) -> _Compiled:
    """Compile the language's patterns; takes about 50 ms the first time."""
    names = {f"{name} ": unit for unit, all_names in language.units.items() for name in all_names}
    slots = _slots(language, names)
    return _Compiled(
        patterns=tuple((regex(pattern, slots), intent) for pattern, intent in language.patterns),
        lead=re.compile(f"(?:{'|'.join(regex(opening, {}).pattern for opening in language.lead)})*"),
        trail=re.compile(f"(?:{'|'.join(regex(ending, {}).pattern for ending in language.trail)})+"),
        operator=re.compile(f"(?<= )({_any(operators(language))})"),
        units=names,
    )


def _slots(language: Language, unit_names: Mapping[str, str]) -> Mapping[str, str]:
    word = rf"(?:{_any(language.numbers)}|[0-9][0-9.,]* )"
    sign = "(?:(?:minus|menos|-) )?"
    large = "(?:a (?=hundred|thousand|million))?" if language.code == "en" else ""
    asks = "(?!me )" if language.code == "pt" else ""  # "diga-me as horas" asks for something
    number = f"{sign}{large}{word}(?:(?:{language.joiner} |{language.point} )?{word})*"
    return {
        "number": number,
        "amount": f"(?:{number}|{_any(language.one)})" if language.one else number,
        "sum": f"{number}(?:(?:{_any(operators(language))}){number})+",
        "unit": f"(?:{_any(name.strip() for name in unit_names)})",
        "word": r"(?:\S+ ){1,4}?",
        "name": r"(?:\S+ ){1,3}?",
        "text": rf"{asks}(?:\S+ )+",
    }


def _any(words: Iterable[str]) -> str:
    # The longest first, or "percent" would hide "percent of".
    return "|".join(re.escape(word) + " " for word in sorted(words, key=len, reverse=True))


def operators(language: Language) -> Mapping[str, str]:
    """Return all forms of the operators in a sum, as words and as signs."""
    return {**language.operators, **_SYMBOLS}


def understand(text: str, language: Language) -> Wanted | None:
    """Return the intent of a transcript, or None when no pattern matches all of it."""
    return _understood(text, language) if len(text) <= MAX_CHARS else None


@lru_cache(maxsize=1024)  # a reply asks for the intents of the conversation's earlier messages, too
def _understood(text: str, language: Language) -> Wanted | None:
    heard = normal(text, language.contractions)
    if not heard.words or len(heard.words) > MAX_WORDS:
        return None
    line, rules = heard.line, compiled(language)
    words = [word.start() for word in re.finditer(r"\S+", line)]
    # "can you tell me a joke": the last polite words can belong to the request, so try each place where it could begin.
    starts = [word for word in words[1 : MAX_POLITE_WORDS + 1] if rules.lead.fullmatch(line, 0, word)]
    # "thank you please": polite words can be the request itself, so try each place where a polite ending could begin.
    ends = [word for word in words[-MAX_POLITE_WORDS:] if rules.trail.fullmatch(line, word)]
    # Match the whole line or the line without polite words. Text to be repeated keeps its polite ending.
    for first in (0, *reversed(starts)):
        for last in (*ends, len(line)):
            for pattern, intent in rules.patterns:
                if last < len(line) and intent == "repeat":
                    continue
                if first < last and (match := pattern.fullmatch(line, first, last)):
                    return Wanted(intent, _parts(match), _written(match, heard))
    return None


def _parts(match: re.Match[str]) -> dict[str, str]:
    return {slot: part for slot, part in match.groupdict().items() if part}


def _written(match: re.Match[str], heard: Heard) -> dict[str, str]:
    return {slot: heard.written(*match.span(slot)) for slot in _parts(match)}


def language_of(text: str, told: str | None) -> Language:
    """Return the language to reply in: `told`, if the responder has it; else one that understands the words; else,
    without `told`, the one with the most of its frequent words in the text; else English."""
    known = LANGUAGES.get((told or "")[:2].lower()) or next(
        (language for language in LANGUAGES.values() if understand(text, language)), None
    )
    if known or told:
        return known or ENGLISH

    def votes(language: Language) -> int:
        words = normal(text[:MAX_CHARS], language.contractions).words
        return sum(word in language.telltale for word in words)

    return max(LANGUAGES.values(), key=votes)


def amount(words: str, language: Language) -> Fraction | None:
    """Return the value of a number slot."""
    plain = words.strip()
    if plain in language.one:
        return Fraction(1)
    return numbers.value(plain.split(), language.numbers, point=language.point, comma_decimal=language.comma_decimal)


def terms(wanted: Wanted, language: Language) -> tuple[list[Fraction], list[str]] | None:
    """Return the numbers of a sum and the operators between them; None for another intent, and when a term is not a
    number."""
    if wanted.intent in _TWO_TERMS:
        sign, *slots = _TWO_TERMS[wanted.intent]
        values, signs = [amount(wanted.parts[slot], language) for slot in slots], [sign]
    elif wanted.intent == "sum":
        parts = compiled(language).operator.split(wanted.parts["sum_1"])
        values = [amount(part, language) for part in parts[::2]]
        signs = [operators(language)[part.strip()] for part in parts[1::2]]
    else:
        return None
    known = [value for value in values if value is not None]
    return (known, signs) if len(known) == len(values) else None

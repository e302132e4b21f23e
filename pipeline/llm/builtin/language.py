"""The form of the responder's table for a language."""

from collections.abc import Mapping
from dataclasses import dataclass, field


# Compared by identity, because it is the key in the cache of compiled patterns.
@dataclass(frozen=True, slots=True, eq=False)
class Language:
    """One language of the responder: its patterns and its replies."""

    code: str
    """ISO 639-1."""
    numbers: Mapping[str, int]
    """Number words without accents."""
    joiner: str
    """The linking word inside numbers: "and", "e", "y"."""
    point: str
    """The decimal separator as a word."""
    comma_decimal: bool
    operators: Mapping[str, str]
    """Spoken operator → one of + - * / %."""
    operator_names: Mapping[str, str]
    """Operator → its name in a reply."""
    units: Mapping[str, tuple[str, ...]]
    """Unit → all its names without accents; see `units.UNITS`."""
    unit_names: Mapping[str, tuple[str, str]]
    """Unit → its singular and plural in a reply."""
    one: tuple[str, ...]
    """Words other than the number that mean one before a unit: "a", "an"."""
    patterns: tuple[tuple[str, str], ...]
    """(pattern, intent), tried in order."""
    contractions: Mapping[str, str]
    lead: tuple[str, ...]
    """Polite openings, which are skipped."""
    trail: tuple[str, ...]
    """Polite endings, which are skipped."""
    months: tuple[str, ...]
    weekdays: tuple[str, ...]
    """Names of the weekdays, Monday first."""
    telltale: frozenset[str]
    """Frequent words that identify the language of a transcript."""
    replies: Mapping[str, tuple[str, ...]]
    """Intent or situation → replies with {fields}, used in turn."""
    sample_words: Mapping[str, str] = field(default_factory=dict)
    """Sample words for the open slots in the grammar."""

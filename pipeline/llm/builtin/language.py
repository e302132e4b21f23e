"""What the responder needs to know of a language."""

from collections.abc import Mapping
from dataclasses import dataclass, field


# Compared by identity: it keys the cache of compiled patterns.
@dataclass(frozen=True, slots=True, eq=False)
class Language:
    """One language of the responder: what it understands and what it says."""

    code: str
    """ISO 639-1."""
    numbers: Mapping[str, int]
    """Number words without accents."""
    joiner: str
    """The word inside numbers: "and", "e", "y"."""
    point: str
    """The decimal separator as a word."""
    comma_decimal: bool
    operators: Mapping[str, str]
    """Spoken operator → one of + - * / %."""
    operator_names: Mapping[str, str]
    """Operator → how it is said in an answer."""
    units: Mapping[str, tuple[str, ...]]
    """Unit → all its names without accents; see `units.UNITS`."""
    unit_names: Mapping[str, tuple[str, str]]
    """Unit → how one and several are said in an answer."""
    one: tuple[str, ...]
    """What counts as one before a unit, beside the number: "a", "an"."""
    patterns: tuple[tuple[str, str], ...]
    """What is understood: (pattern, intent), tried in order."""
    contractions: Mapping[str, str]
    lead: tuple[str, ...]
    """Polite openings that change nothing; passed over."""
    trail: tuple[str, ...]
    """Polite endings, likewise."""
    months: tuple[str, ...]
    weekdays: tuple[str, ...]
    """From Monday."""
    telltale: frozenset[str]
    """Frequent words by which a transcript of unknown language is recognised."""
    replies: Mapping[str, tuple[str, ...]]
    """Intent or situation → what is said, with {fields}; one of several is taken in turn."""
    sample_words: Mapping[str, str] = field(default_factory=dict)
    """For the grammar: the words that stand for an open slot."""

"""The speaker's words, cut into clauses that can be translated before the sentence is over."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.listening.endpointing import UNFINISHED, completeness
from pipeline.speech.clauses import MAX_CHARS, ClauseSplitter

MIN_WORDS = 4
"""Minimum of words in a clause that punctuation ends; shorter ones ("Well, …") are translated with the next. Without
punctuation a clause ends after ten (`pipeline.speech.clauses.FIRST_MAX_WORDS`)."""


@dataclass(frozen=True, slots=True)
class SourceClause:
    """A part of the speaker's words that is translated in one go."""

    text: str
    language: str | None
    """ISO 639-1; None: not known with certainty."""
    until_ms: float
    """End of the sound in which it was heard."""


class ClauseCutter:
    """Cuts a growing text. Words that were added never change, so each is in exactly one clause."""

    def __init__(self) -> None:
        self._rest = ""

    @property
    def rest(self) -> str:
        """The words that are in no clause yet."""
        return self._rest

    def unfinished(self, language: str | None) -> bool:
        """Whether the rest must go on ("and the")."""
        return completeness(self._rest, language) == UNFINISHED

    def add(self, words: Sequence[str], language: str | None) -> list[str]:
        """Add words; return the clauses that they complete."""
        self._rest = " ".join([self._rest, *words]).strip()
        found: list[str] = []
        # Each clause is the first one of its own splitter, which releases that one as early as possible.
        while clauses := ClauseSplitter(language=language, first_min_words=MIN_WORDS).feed(self._beginning):
            found.append(clauses[0].text)
            self._rest = self._rest[clauses[0].end :].lstrip()
        return found

    @property
    def _beginning(self) -> str:
        """The part of the rest on which its first clause depends. The space at its end makes its last word complete."""
        return f"{self._rest[: MAX_CHARS + 1]} "

    def finish(self) -> str:
        """Return the rest as a clause; empty without one."""
        rest, self._rest = self._rest, ""
        return rest

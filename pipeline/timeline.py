"""What of a reply was sent when, and which of its words that was.

Positions in the source are samples of the reply as it was synthesised; positions on the timeline are milliseconds of
sound sent. A conversation keeps the timeline of each of its replies: it holds neither sound nor whoever sent it.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass

CHARACTERS_PER_S = 15.0
"""How fast a voice reads, as long as this reply has not shown it: eSpeak, XTTS and pocket-tts say 13 to 17."""

Span = tuple[int, int]
"""Characters [start, end) of a reply."""


@dataclass(slots=True)
class _Clause:
    """Where the sound of a clause is: [start, end) in source samples; `end` grows while it is synthesised."""

    span: Span
    start: int
    end: int


@dataclass(slots=True)
class _Sent:
    """Sound that left in one piece, frames of the source that follow each other: where it lies and came from."""

    at_ms: float
    length_ms: float
    source: int
    samples: int


class Timeline:
    """Of one reply."""

    def __init__(self) -> None:
        self.rate_hz = 0
        """Of the source; 0 before the first sound."""
        self.sent_ms = 0.0
        """How much sound has left."""
        self.complete = False
        """All sound of the reply is known."""
        self._clauses: list[_Clause] = []
        self._sent: list[_Sent] = []

    def spoken(self, span: Span, start: int, end: int) -> None:
        """Source samples [start, end), which follow those before, speak these characters of the reply."""
        if self._clauses and self._clauses[-1].span == span:
            self._clauses[-1].end = end
        else:
            self._clauses.append(_Clause(span, start, end))

    def sent(self, source: int, samples: int) -> None:
        """So many samples left, from this one of the source on."""
        length_ms = samples * 1000 / self.rate_hz
        last = self._sent[-1] if self._sent else None
        if last is not None and last.source + last.samples == source:
            last.samples += samples
            last.length_ms += length_ms
        else:
            self._sent.append(_Sent(self.sent_ms, length_ms, source, samples))
        self.sent_ms += length_ms

    def span_at(self, source: int) -> Span:
        """The characters that a sample of the source speaks."""
        index = bisect_right(self._clauses, source, key=lambda clause: clause.start) - 1
        return self._clauses[index].span

    def heard_text(self, reply: str, played_ms: float) -> str:
        """What of `reply` was heard when so much had been played: whole clauses, and of the one in play the words up
        to the played share of its sound.
        """
        position = self._source_at(played_ms)
        heard = 0
        for clause in self._clauses:
            share = (position - clause.start) / self._length(clause)
            if share >= 1:
                heard = clause.span[1]
                continue
            if share > 0:
                heard = clause.span[0] + _whole_words(reply[clause.span[0] : clause.span[1]], share)
            break
        return reply[:heard].strip()

    def _length(self, clause: _Clause) -> float:
        """Samples of a clause. Of the one that is still being synthesised, what is to be expected: a slow voice's
        listener has heard all there is of it, and yet not all of its words.
        """
        length = clause.end - clause.start
        if self.complete or clause is not self._clauses[-1]:
            return max(1, length)
        characters = sum(done.span[1] - done.span[0] for done in self._clauses[:-1])
        per_character = clause.start / characters if characters else self.rate_hz / CHARACTERS_PER_S
        return max(1, length, per_character * (clause.span[1] - clause.span[0]))

    def _source_at(self, played_ms: float) -> float:
        """The source sample that is played at a place of the timeline."""
        index = bisect_right(self._sent, played_ms, key=lambda sent: sent.at_ms) - 1
        if index < 0:
            return 0.0
        sent = self._sent[index]
        return sent.source + sent.samples * min(1.0, (played_ms - sent.at_ms) / sent.length_ms)


_WORD = re.compile(r"\S+")


def _whole_words(text: str, share: float) -> int:
    """Characters of `text` up to the last word that lies within `share` of it."""
    limit = share * len(text)
    return max((word.end() for word in _WORD.finditer(text) if word.end() <= limit), default=0)

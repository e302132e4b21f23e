"""Timeline of a reply's audio: what was sent when, and which words it speaks.

Source positions are samples of the reply as it was synthesised; timeline positions are milliseconds of audio sent. A
conversation keeps the timeline of each of its replies, so it holds neither the audio nor the playback.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass

CHARACTERS_PER_S = 15.0
"""Expected speech rate until this reply has shown its own: eSpeak, XTTS and pocket-tts speak 13 to 17."""

Span = tuple[int, int]
"""Characters [start, end) of a reply."""


@dataclass(slots=True)
class _Clause:
    """Position of a clause's audio: [start, end) in source samples; `end` grows during synthesis."""

    span: Span
    start: int
    end: int


@dataclass(slots=True)
class _Sent:
    """A contiguous run of source audio that was sent: its position on the timeline and in the source."""

    at_ms: float
    length_ms: float
    source: int
    samples: int


class Timeline:
    """Timeline of one reply."""

    def __init__(self) -> None:
        self.rate_hz = 0
        """Rate of the source; 0 before the first audio."""
        self.sent_ms = 0.0
        """Duration of the audio sent."""
        self.complete = False
        """Whether all audio of the reply is known."""
        self._clauses: list[_Clause] = []
        self._sent: list[_Sent] = []

    def spoken(self, span: Span, start: int, end: int) -> None:
        """Record that source samples [start, end), which follow those before, speak these characters of the reply."""
        if self._clauses and self._clauses[-1].span == span:
            self._clauses[-1].end = end
        else:
            self._clauses.append(_Clause(span, start, end))

    def sent(self, source: int, samples: int) -> None:
        """Record that `samples` samples were sent, starting at this position of the source."""
        length_ms = samples * 1000 / self.rate_hz
        last = self._sent[-1] if self._sent else None
        if last is not None and last.source + last.samples == source:
            last.samples += samples
            last.length_ms += length_ms
        else:
            self._sent.append(_Sent(self.sent_ms, length_ms, source, samples))
        self.sent_ms += length_ms

    def span_at(self, source: int) -> Span:
        """Return the characters that a source sample speaks."""
        index = bisect_right(self._clauses, source, key=lambda clause: clause.start) - 1
        return self._clauses[index].span

    def heard_text(self, reply: str, played_ms: float) -> str:
        """Return the part of `reply` that was heard after `played_ms`: whole clauses, and of the current clause the
        words within the played share of its audio."""
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
        """Return the samples of a clause. While the last clause is still synthesised, its length is estimated: with a
        slow voice, the listener has heard all available audio but not all of its words."""
        length = clause.end - clause.start
        if self.complete or clause is not self._clauses[-1]:
            return max(1, length)
        characters = sum(done.span[1] - done.span[0] for done in self._clauses[:-1])
        per_character = clause.start / characters if characters else self.rate_hz / CHARACTERS_PER_S
        return max(1, length, per_character * (clause.span[1] - clause.span[0]))

    def _source_at(self, played_ms: float) -> float:
        """Return the source sample that is played at a position of the timeline."""
        index = bisect_right(self._sent, played_ms, key=lambda sent: sent.at_ms) - 1
        if index < 0:
            return 0.0
        sent = self._sent[index]
        return sent.source + sent.samples * min(1.0, (played_ms - sent.at_ms) / sent.length_ms)


_WORD = re.compile(r"\S+")


def _whole_words(text: str, share: float) -> int:
    """Return the number of characters of `text` up to the last word within `share` of it."""
    limit = share * len(text)
    return max((word.end() for word in _WORD.finditer(text) if word.end() <= limit), default=0)

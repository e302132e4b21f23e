"""Words without a time get one between their neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.stt import Segment, Word
from pipeline.wrapping import pieces


@dataclass(frozen=True, slots=True)
class Timed:
    """A word, and when it was said, if that is known."""

    text: str
    span_s: tuple[float, float] | None
    score: float = 0.0


def filled(words: Sequence[Timed], start_s: float, end_s: float) -> list[Word]:
    """All words with times inside [start_s, end_s], never falling: a run without times shares the gap it is in, each
    word by its length."""
    found: list[Word] = []
    at = 0
    latest = start_s
    while at < len(words):
        known = words[at].span_s
        if known is not None:
            begin = min(max(known[0], latest), end_s)
            latest = min(max(known[1], begin), end_s)
            found.append(Word(words[at].text, begin, latest, words[at].score))
            at += 1
            continue
        end = at
        while end < len(words) and words[end].span_s is None:
            end += 1
        after = words[end].span_s if end < len(words) else None
        until = max(latest, min(after[0], end_s) if after else end_s)
        total = sum(len(word.text) or 1 for word in words[at:end])
        first = latest
        done = 0
        for word in words[at:end]:
            begin = latest
            done += len(word.text) or 1
            latest = min(first + (until - first) * done / total, until)  # rounded, it may be just beyond
            found.append(Word(word.text, begin, latest, word.score))
        at = end
    return found


def by_characters(segment: Segment) -> list[Word]:
    """The words of a segment without any: as if each character took as long."""
    return [Word(piece.text, piece.start_s, piece.end_s, 0.0) for piece in pieces(segment)]

"""Times for words without one, between their neighbours' times."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.stt import Word


@dataclass(frozen=True, slots=True)
class Timed:
    """A word with its times, if they are known."""

    text: str
    span_s: tuple[float, float] | None
    score: float = 0.0


def filled(words: Sequence[Timed], start_s: float, end_s: float) -> list[Word]:
    """Give all words times inside [start_s, end_s] that never decrease. Words without times share the gap that they
    are in, in proportion to their lengths."""
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
            latest = min(first + (until - first) * done / total, until)  # rounding can put it just beyond `until`
            found.append(Word(word.text, begin, latest, word.score))
        at = end
    return found

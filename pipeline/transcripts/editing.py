"""Edits of a transcript's segments: another text, a cut, a join. Words keep their times; new ones get times between."""

from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from pipeline.errors import BadInput
from pipeline.stt import Segment, Word
from pipeline.transcripts.line_breaks import by_characters, clean, found_in, pieces, spaceless
from pipeline.transcripts.subtitles import joined

COMPARED = 10_000
"""Limit of old times new words for which the unchanged ones are found in the middle of a changed text: the comparison
takes quadratic time. Beyond it, only those before and after the change are."""
SHORTEST_S = 0.05
"""Pause in seconds that a new word needs to get it; in a shorter one it shares the time of the word beside it."""


def retexted(segment: Segment, text: str) -> Segment:
    """Return the segment with another text. Words that are still in it keep their times. The others share the time of
    the words that they replace, or of the pause, in proportion to their characters. A segment without words stays so.
    """
    text = clean(text)
    if not segment.words:
        return replace(segment, text=text)
    return replace(segment, text=text, words=_retimed(segment, text))


def cut(segment: Segment, at: int) -> tuple[Segment, Segment]:
    """Cut a segment in two. at: number of characters of the text before the cut. Raises BadInput if one side would have
    no text."""
    left, right = clean(segment.text[:at]), clean(segment.text[at:])
    if at < 0 or not left or not right:
        raise BadInput("A segment can only be split between two words of its text.", code="bad_parameter")
    words: tuple[list[Word], list[Word]] = ([], [])
    for word, begin, end in found_in(clean(segment.text), segment.words):
        if begin < len(left) < end:
            middle_s = word.start_s + (word.end_s - word.start_s) * (len(left) - begin) / (end - begin)
            words[0].append(replace(word, text=left[begin:], end_s=middle_s))
            words[1].append(replace(word, text=right[: end - len(left)].strip(), start_s=middle_s))
        else:
            # A word that is not found follows the one before it.
            words[begin >= len(left) if begin >= 0 else bool(words[1])].append(word)
    between_s = segment.start_s + (segment.end_s - segment.start_s) * len(left) / (len(left) + len(right))
    end_s = max((word.end_s for word in words[0]), default=between_s)
    start_s = min((word.start_s for word in words[1]), default=max(between_s, end_s))
    first = replace(segment, words=words[0], end_s=min(max(end_s, segment.start_s), segment.end_s))
    second = replace(segment, words=words[1], start_s=max(min(start_s, segment.end_s), segment.start_s))
    return retexted(first, left), retexted(second, right)


def join(first: Segment, second: Segment) -> Segment:
    """Return both segments as one, which has the speaker and the language of the first."""
    words: Sequence[Word] = ()
    if first.words or second.words:
        words = [*(first.words or by_characters(first)), *(second.words or by_characters(second))]
    text = joined(text for text in (first.text, second.text) if text)
    return replace(
        first,
        start_s=min(first.start_s, second.start_s),
        end_s=max(first.end_s, second.end_s),
        text=text,
        words=words,
    )


def _retimed(segment: Segment, text: str) -> list[Word]:
    """Return the words of a clean text with times."""
    old = list(segment.words)
    spoken = [clean(word.text) for word in old]
    head, begin = _from_start(text, spoken)
    tail, end = _from_end(text, spoken[head:], begin)
    middle = range(head, len(old) - tail)
    found: list[Word | str] = [*old[:head]]
    """Words with times, and new ones without."""
    for word, new in _compared([spoken[index] for index in middle], _tokens(text[begin:end])):
        replaced = [old[middle[index]] for index in word]
        if [one.text for one in replaced] == new:
            found += replaced
        elif len(replaced) == len(new):
            found += [Word(told, was.start_s, was.end_s, 1.0) for told, was in zip(new, replaced, strict=True)]
        elif replaced:
            found += _shared(new, replaced[0].start_s, max(word.end_s for word in replaced))
        else:
            found += new
    return _timed([*found, *old[len(old) - tail :]], segment)


def _from_start(text: str, spoken: Sequence[str]) -> tuple[int, int]:
    """Return how many words the text begins with, and where they end."""
    number = at = 0
    for word in spoken:
        start = at + 1 if text.startswith(" ", at) else at
        if not word or not text.startswith(word, start) or not _edge(text, start + len(word)):
            break
        number, at = number + 1, start + len(word)
    return number, at


def _from_end(text: str, spoken: Sequence[str], begin: int) -> tuple[int, int]:
    """Return how many words the text from `begin` ends with, and where they begin."""
    number, at = 0, len(text)
    for word in reversed(spoken):
        end = at - 1 if text[at - 1 : at] == " " else at
        start = end - len(word)
        if not word or start < begin or not text.startswith(word, start) or not _edge(text, start):
            break
        number, at = number + 1, start
    return number, at


def _edge(text: str, at: int) -> bool:
    """Whether a word can begin or end here."""
    return at <= 0 or at >= len(text) or " " in text[at - 1 : at + 1] or spaceless(text[at - 1]) or spaceless(text[at])


def _tokens(text: str) -> list[str]:
    return [piece.text for piece in pieces(Segment(0.0, 0.0, text))]


def _compared(old: Sequence[str], new: Sequence[str]) -> list[tuple[range, list[str]]]:
    """Return runs in order: the indices of old words, and the new words in their place."""
    if len(old) * len(new) > COMPARED:
        return [(range(len(old)), list(new))]
    changes = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return [(range(first, last), list(new[begin:end])) for _, first, last, begin, end in changes]


def _shared(words: Sequence[str], start_s: float, end_s: float) -> list[Word]:
    """Return words that share the time from `start_s` to `end_s` in proportion to their characters."""
    whole = sum(map(len, words)) or 1
    step_s = (end_s - start_s) / whole
    found, before = [], 0
    for word in words:
        after = before + len(word)
        found.append(Word(word, start_s + before * step_s, start_s + after * step_s, 1.0))
        before = after
    return found


def _timed(found: Sequence[Word | str], segment: Segment) -> list[Word]:
    """Give the new words (texts) the time of the pause in which they are, or a share of a neighbour's."""
    made: list[Word] = []
    at = 0
    while at < len(found):
        one = found[at]
        if isinstance(one, Word):
            made.append(one)
            at += 1
            continue
        end = next((index for index in range(at, len(found)) if isinstance(found[index], Word)), len(found))
        new = [word for word in found[at:end] if isinstance(word, str)]
        after = found[end] if end < len(found) else None
        start_s = made[-1].end_s if made else segment.start_s
        end_s = after.start_s if isinstance(after, Word) else segment.end_s
        if end_s - start_s >= SHORTEST_S * len(new):
            made += _shared(new, start_s, end_s)
        elif made:
            was = made.pop()
            first, *others = _shared([was.text, *new], was.start_s, max(was.end_s, end_s))
            made += [replace(first, probability=was.probability), *others]
        elif isinstance(after, Word):
            *others, last = _shared([*new, after.text], min(start_s, after.start_s), after.end_s)
            made += [*others, replace(last, probability=after.probability)]
            end += 1
        else:
            made += _shared(new, start_s, max(start_s, end_s))
        at = end
    return made

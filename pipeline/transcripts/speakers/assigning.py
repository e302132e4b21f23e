"""Assigns a transcript's words to speakers, from its segments and the speakers' turns."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from math import inf

from pipeline.stt import Segment, Word
from pipeline.transcripts.line_breaks import clean, found_in, pieces, spaceless
from pipeline.transcripts.speakers import SpeakerTurn, letter

MIN_TURN_S = 0.4
"""A shorter turn in the middle of another speaker's words is an error or a "mhm": it goes to that other speaker."""
NEAR_S = 5.0
"""Turns further away from a word than this are considered only when none is nearer."""


@dataclass(frozen=True, slots=True)
class _Part:
    """The smallest part of a segment that has one speaker: a word, or without words a chunk of its text."""

    first: int
    """Index of its first character in the text."""
    words: Sequence[Word]
    start_s: float
    end_s: float


def with_speakers(segments: Sequence[Segment], turns: Sequence[SpeakerTurn]) -> list[Segment]:
    """Cut the segments between words where the speaker changes, and set the speaker of each. They get new ids. Each
    word and each part of the text is in exactly one of them. Without turns, return the segments unchanged."""
    if not turns:
        return list(segments)
    found: list[Segment] = []
    latest = list(accumulate((turn.end_s for turn in turns), max))
    for segment in segments:
        text = clean(segment.text)
        parts = _by_words(text, segment) if segment.words else _by_pieces(segment)
        said = _smooth(parts, [_speaker(part, turns, latest) for part in parts])
        edges = [*(part.first for part in parts), len(text)][1:]
        for speaker, run in groupby(zip(parts, edges, said, strict=True), key=lambda one: one[2]):
            some = [(part, end) for part, end, _ in run]
            whole = len(some) == len(parts)
            own = [part for part, _ in some]
            found.append(
                replace(
                    segment,
                    id=len(found),
                    start_s=segment.start_s if whole else min(part.start_s for part in own),
                    end_s=segment.end_s if whole else max(part.end_s for part in own),
                    text=segment.text if whole else text[own[0].first : some[-1][1]].strip(),
                    words=[word for part in own for word in part.words],
                    speaker=speaker,
                )
            )
    return found


def _by_words(text: str, segment: Segment) -> list[_Part]:
    """Return a part for each word, in the order of the text, from which the order of the times may differ. A word that
    is not found in the text, or that lacks a space before it in a script with spaces, joins the word before it."""
    runs: list[tuple[int, list[Word]]] = []
    for word, begin, _ in found_in(text, segment.words):
        if not runs or (begin >= 0 and _may_cut(text, begin)):
            runs.append((max(begin, 0) if runs else 0, []))
        runs[-1][1].append(word)
    return [
        _Part(first, words, min(word.start_s for word in words), max(word.end_s for word in words))
        for first, words in runs
    ]


def _may_cut(text: str, at: int) -> bool:
    return at > 0 and (text[at - 1] == " " or spaceless(text[at - 1]) or spaceless(text[at]))


def _by_pieces(segment: Segment) -> list[_Part]:
    parts: list[_Part] = []
    at = 0
    for piece in pieces(segment):
        at += len(piece.space)
        parts.append(_Part(at, (), piece.start_s, piece.end_s))
        at += len(piece.text)
    return parts


def _speaker(part: _Part, turns: Sequence[SpeakerTurn], latest: Sequence[float]) -> str:
    """Return the speaker who overlaps most with the part, else the nearest one. latest: for each turn, the latest end
    of the turns up to it."""
    first = max(0, bisect_left(latest, part.start_s - NEAR_S) - 1)
    best, most = turns[first].speaker, -inf
    for at in range(first, len(turns)):
        turn = turns[at]
        # A negative value is the distance to the turn.
        shared = min(turn.end_s, part.end_s) - max(turn.start_s, part.start_s)
        if shared > most:
            best, most = turn.speaker, shared
        if turn.start_s > part.end_s + NEAR_S:
            break
    return best


def _smooth(parts: Sequence[_Part], said: list[str]) -> list[str]:
    runs = [list(run) for _, run in groupby(range(len(said)), key=lambda index: said[index])]
    for before, run, after in zip(runs, runs[1:], runs[2:], strict=False):
        lasts_s = parts[run[-1]].end_s - parts[run[0]].start_s
        if lasts_s < MIN_TURN_S and said[before[0]] == said[after[0]]:
            for index in run:
                said[index] = said[before[0]]
    return said


def with_names(
    turns: Sequence[SpeakerTurn], recognised: Sequence[SpeakerTurn], known: Sequence[str]
) -> list[SpeakerTurn]:
    """Return one diarizer's turns with the names that another one, which knows voices, found in the same recording.

    recognised: the other diarizer's turns, some of them with one of the names in `known`. A speaker gets the name that
    covers most of their time, if it covers at least half of it. Each name goes to one speaker; the rest get letters.
    """
    shared: defaultdict[tuple[str, str], float] = defaultdict(float)
    whole: defaultdict[str, float] = defaultdict(float)
    first = 0
    for turn in turns:
        whole[turn.speaker] += turn.end_s - turn.start_s
        while first < len(recognised) and recognised[first].end_s <= turn.start_s:
            first += 1
        for at in range(first, len(recognised)):
            other = recognised[at]
            if other.start_s >= turn.end_s:
                break
            if other.speaker in known:
                both_s = min(turn.end_s, other.end_s) - max(turn.start_s, other.start_s)
                shared[turn.speaker, other.speaker] += both_s
    names: dict[str, str] = {}
    for (speaker, name), both_s in sorted(shared.items(), key=lambda one: -one[1]):
        if speaker not in names and name not in names.values() and both_s >= whole[speaker] / 2:
            names[speaker] = name
    letters = (one for one in map(letter, range(10_000)) if one not in names.values())
    found = []
    for turn in turns:
        if turn.speaker not in names:
            names[turn.speaker] = next(letters)
        found.append(replace(turn, speaker=names[turn.speaker]))
    return found

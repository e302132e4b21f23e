"""Segments and turns together: who said which words."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from pipeline.speakers import SpeakerTurn, letter
from pipeline.stt import Segment
from pipeline.wrapping import Piece, line_of, pieces

MIN_TURN_S = 0.4
"""Fewer seconds of another voice in the middle of one's words are a mistake or a "mhm": they stay with who speaks."""


def with_speakers(segments: Sequence[Segment], turns: Sequence[SpeakerTurn]) -> list[Segment]:
    """The segments, cut where the speaker changes, each with its speaker; numbered anew. Without turns, as they are."""
    if not turns:
        return list(segments)
    found: list[Segment] = []
    first = 0
    for segment in segments:
        while first < len(turns) - 1 and turns[first].end_s < segment.start_s - 5.0:
            first += 1
        parts = pieces(segment)
        said = _smooth(parts, [_speaker(part, turns, first) for part in parts])
        for speaker, run in groupby(zip(parts, said, strict=True), key=lambda one: one[1]):
            some = [part for part, _ in run]
            whole = len(some) == len(parts)
            start_s, end_s = some[0].start_s, some[-1].end_s
            inside = [w for w in segment.words if whole or start_s <= (w.start_s + w.end_s) / 2 <= end_s]
            found.append(
                replace(
                    segment,
                    id=len(found),
                    start_s=segment.start_s if whole else start_s,
                    end_s=segment.end_s if whole else end_s,
                    text=segment.text if whole else line_of(some),
                    words=inside,
                    speaker=speaker,
                )
            )
    return found


def _speaker(part: Piece, turns: Sequence[SpeakerTurn], first: int) -> str:
    """Who has most of it; else who is nearest."""
    best, most = turns[first].speaker, -float("inf")
    for turn in turns[first:]:
        # Negative: how far away it is.
        shared = min(turn.end_s, part.end_s) - max(turn.start_s, part.start_s)
        if shared > most:
            best, most = turn.speaker, shared
        if turn.start_s > part.end_s + 5.0:
            break
    return best


def _smooth(parts: Sequence[Piece], said: list[str]) -> list[str]:
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
    """The turns of one diarizer with the names that another, who knows voices, has found in the same recording.

    recognised: its turns, in some of which one of the known names speaks. A speaker has the name that is heard for most
    of his time, if that is half of it or more; each name is one speaker's; the others have letters.
    """
    shared: defaultdict[tuple[str, str], float] = defaultdict(float)
    whole: defaultdict[str, float] = defaultdict(float)
    first = 0
    for turn in turns:
        whole[turn.speaker] += turn.end_s - turn.start_s
        while first < len(recognised) and recognised[first].end_s <= turn.start_s:
            first += 1
        for other in recognised[first:]:
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

"""Write transcripts as files: srt, vtt, tsv, lrc, txt and json.

Without a layout each segment is one cue on one line, as Whisper writes them. With a layout, lines and cues are broken
at natural points in any script: between words, and between the characters of Chinese and Japanese.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import groupby, pairwise
from math import inf

from pipeline.stt import Segment
from pipeline.support.json_types import JsonObject
from pipeline.transcripts.line_breaks import (
    Columns,
    Filling,
    Piece,
    clean,
    columns_of,
    line_of,
    lines,
    pieces,
    spaceless,
    width,
)

LEAST_MS = 100
"""Minimum duration of a cue or a word mark while there is room: recognisers give some words a duration of zero."""
ARROW = "-->"
"""Between the times of a cue of srt."""
SEPARATORS = ",.:，．。："
"""Characters between the numbers of such a time, in files that readers accept."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Layout of cues."""

    line_width: int = 0
    """Columns of a line; a Chinese, Japanese or Korean character takes two. 0: lines and cues are not broken."""
    max_lines: int = 2
    """Limit of lines in a cue."""
    max_chars_per_s: float = 0.0
    """Reading speed: a cue is prolonged, up to the next one, until it can be read. 0: as long as it is spoken."""
    max_cue_s: float = 0.0
    """Limit of a cue's duration, in seconds: a longer one is cut between two words, or ends before its pause or its
    only word does. 0: cut only by its size."""
    highlight_words: bool = False
    """Underline each word while it is spoken (srt, vtt), or give it its own time (lrc)."""


PLAIN = Layout()
READABLE = Layout(line_width=42, max_lines=2, max_cue_s=7.0, max_chars_per_s=17.0)
"""The usual layout for viewers, that of the page's downloads (web/library/selection.js), too."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle."""

    start_ms: int
    end_ms: int
    pieces: Sequence[Piece]
    speaker: str | None
    lead: str = ""
    """Text before the first line, with the space after it: the speaker, where the format has no field for it."""

    def lines(self, layout: Layout) -> list[list[Piece]]:
        """Break the cue into lines. The first is empty if nothing fits beside the lead."""
        if not layout.line_width:
            return [list(self.pieces)]
        return lines(self.pieces, layout.line_width, layout.max_lines, width(self.lead))


def render(kind: str, segments: Sequence[Segment], *, layout: Layout = PLAIN, language: str | None = None) -> str:
    """Return the whole file as text. kind: one of KINDS. Raises KeyError for another."""
    if kind == "json":
        return as_json(segments, language)
    return _WRITERS[kind](segments, layout)


def as_json(segments: Sequence[Segment], language: str | None) -> str:
    """Return `{"text", "segments", "language"}`, as openai-whisper writes it."""
    whole = {"text": text_of(segments), "segments": [segment_dict(one) for one in segments], "language": language}
    return json.dumps(whole, ensure_ascii=False)


def segment_dict(segment: Segment) -> JsonObject:
    """Return a segment with openai-whisper's keys, plus `words` and `speaker` if there are any."""
    told: JsonObject = {
        "id": segment.id, "seek": segment.seek, "start": _s(segment.start_s), "end": _s(segment.end_s),
        "text": segment.text, "tokens": list(segment.tokens), "temperature": segment.temperature,
        "avg_logprob": segment.avg_logprob, "compression_ratio": segment.compression_ratio,
        "no_speech_prob": segment.no_speech_prob,
    }  # fmt: skip
    if segment.words:
        told["words"] = [
            {"word": w.text, "start": _s(w.start_s), "end": _s(w.end_s), "probability": round(w.probability, 4)}
            for w in segment.words
        ]
    if segment.speaker is not None:
        told["speaker"] = segment.speaker
    return told


def text_of(segments: Sequence[Segment]) -> str:
    """Return the whole transcript as one line."""
    return joined(segment.text for segment in segments)


def joined(texts: Iterable[str]) -> str:
    """Join texts with spaces, but not between two characters of a script without spaces."""
    whole = ""
    for text in texts:
        whole += separator(whole, text) + text
    return whole


def separator(before: str, after: str) -> str:
    """Return the separator of two texts: nothing, or a space."""
    if not before or not after or (spaceless(before[-1]) and spaceless(after[0])):
        return ""
    return " "


def cues(segments: Sequence[Segment], layout: Layout = PLAIN, lead: Callable[[str], str] = lambda _: "") -> list[Cue]:
    """Return the cues of a transcript, in order; each has some text and lasts at least a millisecond.

    lead: returns the text to put before a speaker's words. Cues of one segment do not overlap, and lie inside it unless
    it has more cues than milliseconds.
    """
    limit_ms = max(1, _ms(layout.max_cue_s)) if layout.max_cue_s else None
    found: list[Cue] = []
    for segment in segments:
        parts = pieces(segment)
        if not parts:
            continue
        speaker = clean(segment.speaker or "") or None
        before = lead(speaker) if speaker else ""
        cut = list(_cut(parts, layout, width(before))) if layout.line_width or limit_ms else [parts]
        for (start_ms, end_ms), some in zip(_spans(cut, segment, limit_ms), cut, strict=True):
            found.append(Cue(start_ms, end_ms, some, speaker, before))
    return _readable(found, layout.max_chars_per_s, limit_ms) if layout.max_chars_per_s else found


def _spans(cut: Sequence[Sequence[Piece]], segment: Segment, limit_ms: int | None) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each of a segment's cues, in ms.

    The segment's own times are used at its ends, as far as the limit allows, because times of words are less exact.
    """
    first_ms = max(0, _ms(segment.start_s))
    last_ms = max(first_ms + len(cut), _ms(segment.end_s))
    least_ms = LEAST_MS
    if limit_ms:
        # Leave out a pause before the first word rather than the end.
        first_ms = max(first_ms, min(_ms(cut[0][0].start_s), _ms(cut[0][-1].end_s) - limit_ms))
        last_ms = max(last_ms, first_ms + len(cut))
        least_ms = min(least_ms, limit_ms)
    starts = _apart([first_ms, *(_ms(some[0].start_s) for some in cut[1:])], last_ms, least_ms)
    for some, start_ms, after_ms in zip(cut, starts, [*starts[1:], None], strict=True):
        end_ms = last_ms if after_ms is None else min(after_ms, max(_ms(some[-1].end_s), start_ms + least_ms))
        yield start_ms, min(end_ms, start_ms + limit_ms) if limit_ms else end_ms


def _apart(starts: Sequence[int], end: int, least: int) -> list[int]:
    """Return the same times, rising, each at least `least` from the next and the last from the end; closer if there is
    not enough room.

    The first one does not move. All in ms; there must be one for each.
    """
    least = max(1, min(least, (end - starts[0]) // len(starts)))
    found: list[int] = []
    for start in starts:
        found.append(max(start, found[-1] + least) if found else start)
    for number in reversed(range(1, len(found))):
        end -= least
        found[number] = end = min(found[number], end)
    return found


def _cut(parts: Sequence[Piece], layout: Layout, lead: int) -> Iterator[list[Piece]]:
    """Yield cues that fit, preferably ending after a sentence or a clause if that leaves the cue at least half full."""
    columns = columns_of(parts) if layout.line_width else [Columns(0, 0)] * len(parts)
    first = 0

    def filled(end: int) -> Filling:
        filling = Filling(layout.line_width or inf, layout.max_lines, lead)
        for size in columns[first:end]:
            filling.add(size)
        return filling

    filling = filled(0)
    for index, part in enumerate(parts):
        filling.add(columns[index])
        # The rest after a good end may still be too large.
        while first < index and (
            filling.lines > layout.max_lines
            or (layout.max_cue_s and part.end_s - parts[first].start_s > layout.max_cue_s)
        ):
            end = first + _good_end(parts[first:index])
            yield list(parts[first:end])
            first = end
            filling = filled(index + 1)
    if parts:
        yield list(parts[first:])


def _good_end(parts: Sequence[Piece]) -> int:
    for index in range(len(parts), len(parts) // 2, -1):
        if re.search(r"[.!?…。！？؟،,;:；：，、][\"'”’»)」』）]*$", parts[index - 1].text):
            return index
    return len(parts)


def _readable(found: Sequence[Cue], chars_per_s: float, limit_ms: int | None) -> list[Cue]:
    """Prolong cues until they can be read, but not into a later cue or beyond the limit."""
    slow: list[Cue] = []
    free_ms: float = inf
    for cue in reversed(found):
        needed_ms = min(round(1000 * len(line_of(cue.pieces)) / chars_per_s), limit_ms or inf)
        end_ms = max(cue.end_ms, min(cue.start_ms + needed_ms, free_ms))
        slow.append(replace(cue, end_ms=int(end_ms)))
        free_ms = min(free_ms, cue.start_ms)
    return slow[::-1]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _s(seconds: float) -> float:
    return round(seconds, 3)


def timestamp(ms: int, point: str, *, hours: bool = True) -> str:
    """Format 1:02:03.004 as 01:02:03.004; without `hours`, zero hours are left out."""
    minutes, rest = divmod(ms, 60_000)
    head = f"{minutes // 60:02}:{minutes % 60:02}" if hours or minutes >= 60 else f"{minutes:02}"
    return f"{head}:{rest // 1000:02}{point}{rest % 1000:03}"


def _words(parts: Sequence[Piece]) -> list[list[Piece]]:
    """Group each word with the marks after it: in scripts without spaces a word has several parts."""
    found: list[list[Piece]] = []
    for part in parts:
        if found and part.goes_on:
            found[-1].append(part)
        else:
            found.append([part])
    return found


def _marks(cue: Cue, words: Sequence[Sequence[Piece]]) -> list[tuple[int, list[Piece]]]:
    """Return (ms, parts): the time from which these parts of a cue are spoken. Each word has its time; if there are
    more words than milliseconds, some share one."""
    share = -(-len(words) // (cue.end_ms - cue.start_ms))
    together = [[part for word in words[at : at + share] for part in word] for at in range(0, len(words), share)]
    starts = [cue.start_ms, *(_ms(some[0].start_s) for some in together[1:])]
    return list(zip(_apart(starts, cue.end_ms, LEAST_MS), together, strict=True))


def _steps(cue: Cue, layout: Layout) -> Iterator[tuple[int, int, list[list[tuple[Piece, bool]]]]]:
    """Yield (start, end, lines of (piece, marked)): the cue as a whole, or once for each of its words."""
    shown = cue.lines(layout)
    if not layout.highlight_words:
        yield cue.start_ms, cue.end_ms, [[(piece, False) for piece in line] for line in shown]
        return
    marks = _marks(cue, _words(cue.pieces))
    for (start, spoken), end in zip(marks, [*(start for start, _ in marks[1:]), cue.end_ms], strict=True):
        marked = set(map(id, spoken))
        yield start, end, [[(piece, id(piece) in marked) for piece in line] for line in shown]


def _lines(rows: list[list[tuple[Piece, bool]]], quote: Callable[[str], str], lead: str = "") -> list[str]:
    told = []
    for number, row in enumerate(rows):
        line = ""
        for marked, run in groupby(row, key=lambda one: one[1]):
            some = [piece for piece, _ in run]
            text = quote(line_of(some))
            line += (some[0].space if line else "") + (f"<u>{text}</u>" if marked else text)
        told.append(_directed(line, "" if number else lead))
    return told


def _directed(line: str, lead: str) -> str:
    """Add a right-to-left mark to right-to-left text that starts with other text, because players look at the first
    character."""
    strong = [kind for kind in map(unicodedata.bidirectional, re.sub(r"<[^>]*>", "", line)) if kind in ("L", "R", "AL")]
    mostly_right = sum(kind != "L" for kind in strong) * 2 > len(strong)
    begins = next((kind for kind in map(unicodedata.bidirectional, lead) if kind in ("L", "R", "AL")), strong[:1])
    return ("\u200f" if mostly_right and begins in ("L", ["L"]) else "") + (lead + line).rstrip()


def _bracketed(speaker: str) -> str:
    return f"[{speaker}]: "


def _srt(segments: Sequence[Segment], layout: Layout) -> str:
    blocks: list[str] = []
    for cue in cues(segments, layout, _bracketed):
        for start, end, rows in _steps(cue, layout):
            times = f"{timestamp(start, ',')} --> {timestamp(end, ',')}"
            shown = [_without_times(line) for line in _lines(rows, str, cue.lead)]
            blocks.append("\n".join([str(len(blocks) + 1), times, *shown]) + "\n")
    return "\n".join(blocks)


def _without_times(line: str) -> str:
    """Replace the arrow after a clock time: readers would take the line for the times of a cue, and srt has no
    escape."""
    parts = line.split(ARROW)
    shown = parts[:1]
    for before, after in pairwise(parts):
        end = before.rstrip()
        time = end[len(end.rstrip(f"0123456789{SEPARATORS}")) :]
        is_time = sum(char in SEPARATORS for char in time) >= 2
        shown += ["→" if is_time else ARROW, after]
    return "".join(shown)


def _vtt(segments: Sequence[Segment], layout: Layout) -> str:
    blocks = ["WEBVTT\n"]
    for cue in cues(segments, layout):
        for start, end, rows in _steps(cue, layout):
            shown = _lines(rows, _quoted)
            if cue.speaker:
                shown[0] = f"<v {_quoted(cue.speaker)}>{shown[0]}"
            times = f"{timestamp(start, '.')} --> {timestamp(end, '.')}"
            blocks.append("\n".join([times, *shown]) + "\n")
    return "\n".join(blocks)


def _quoted(text: str) -> str:
    return escape(text, quote=False)


def _tsv(segments: Sequence[Segment], layout: Layout) -> str:
    # Readers of Whisper's files expect three columns, so a speaker has no column and is put into the text.
    found = cues(segments, layout, _bracketed)
    rows = [f"{cue.start_ms}\t{cue.end_ms}\t{cue.lead}{line_of(cue.pieces)}\n" for cue in found]
    return "start\tend\ttext\n" + "".join(rows)


def _lrc(segments: Sequence[Segment], layout: Layout) -> str:
    told = []
    # Without brackets, because players take a bracketed text at the start for a tag.
    for cue in cues(segments, layout, lambda speaker: f"{speaker}: "):
        rows = cue.lines(layout)
        words = [word for row in rows for word in _words(row)]
        starts = {id(some[0]): _lrc_time(start_ms) for start_ms, some in _marks(cue, words)}
        for number, row in enumerate(rows):
            text = "" if number else cue.lead
            if layout.highlight_words:
                for index, piece in enumerate(row):
                    text += piece.space if index else ""
                    text += (f"<{starts[id(piece)]}>" if id(piece) in starts else "") + piece.text
            else:
                text += line_of(row)
            start = starts[id(row[0])] if number and row and id(row[0]) in starts else _lrc_time(cue.start_ms)
            told.append(f"[{start}]{text.rstrip()}\n")
    return "".join(told)


def _lrc_time(ms: int) -> str:
    """Format minutes (unbounded) and hundredths, which is all that the format supports."""
    hundredths = round(ms / 10)
    return f"{hundredths // 6000:02}:{hundredths // 100 % 60:02}.{hundredths % 100:02}"


def _txt(segments: Sequence[Segment], layout: Layout) -> str:
    told = []
    for cue in cues(segments, layout, _bracketed):
        told += _lines([[(piece, False) for piece in line] for line in cue.lines(layout)], str, cue.lead)
    return "".join(line + "\n" for line in told)


_WRITERS: Mapping[str, Callable[[Sequence[Segment], Layout], str]] = {
    "srt": _srt, "vtt": _vtt, "tsv": _tsv, "lrc": _lrc, "txt": _txt,
}  # fmt: skip
KINDS: Mapping[str, str] = {
    "srt": "application/x-subrip", "vtt": "text/vtt", "tsv": "text/tab-separated-values", "lrc": "text/plain",
    "txt": "text/plain", "json": "application/json",
}  # fmt: skip
"""Format → media type."""

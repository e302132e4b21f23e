"""Transcripts as files: srt, vtt, tsv, lrc, txt and json.

Without a layout each segment is one cue on one line, as Whisper writes them. A layout breaks lines and cues where a
reader would, in any script: between words, and between the characters of Chinese and Japanese.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from pipeline.stt import Segment
from pipeline.wrapping import Piece, fits, line_of, lines, pieces, spaceless


@dataclass(frozen=True, slots=True)
class Layout:
    """How cues look."""

    line_width: int = 0
    """Columns of a line; a Chinese, Japanese or Korean character takes two. 0: lines and cues are not broken."""
    max_lines: int = 2
    """Lines of a cue."""
    max_chars_per_s: float = 0.0
    """Reading speed: a cue stays longer, while nothing follows, until it can be read. 0: as long as it is spoken."""
    max_cue_s: float = 0.0
    """A longer cue is cut between two words, in seconds; 0: only by its size."""
    highlight_words: bool = False
    """Each word is underlined while it is spoken (srt, vtt) or has a time of its own (lrc)."""


PLAIN = Layout()


@dataclass(frozen=True, slots=True)
class Cue:
    """What stands on the screen for a while."""

    start_ms: int
    end_ms: int
    pieces: Sequence[Piece]
    speaker: str | None

    def lines(self, layout: Layout) -> list[list[Piece]]:
        return lines(self.pieces, layout.line_width, layout.max_lines) if layout.line_width else [list(self.pieces)]


def render(kind: str, segments: Sequence[Segment], *, layout: Layout = PLAIN, language: str | None = None) -> str:
    """The whole file, as text. kind: one of KINDS. Raises KeyError for another."""
    if kind == "json":
        return as_json(segments, language)
    return _WRITERS[kind](segments, layout)


def as_json(segments: Sequence[Segment], language: str | None) -> str:
    """`{"text", "segments", "language"}`, as openai-whisper writes it."""
    whole = {"text": text_of(segments), "segments": [segment_dict(one) for one in segments], "language": language}
    return json.dumps(whole, ensure_ascii=False)


def segment_dict(segment: Segment) -> dict[str, object]:
    """A segment with openai-whisper's keys; `words` and `speaker` where there are some."""
    told: dict[str, object] = {
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
    """The whole transcript as one line."""
    return joined(segment.text for segment in segments)


def joined(texts: Iterable[str]) -> str:
    """Texts one after the other: a space between them, but not between two characters of a script without spaces."""
    whole = ""
    for text in texts:
        whole += separator(whole, text) + text
    return whole


def separator(before: str, after: str) -> str:
    """What stands between two texts: nothing, or a space."""
    if not before or not after or (spaceless(before[-1]) and spaceless(after[0])):
        return ""
    return " "


def cues(segments: Sequence[Segment], layout: Layout = PLAIN) -> list[Cue]:
    """The cues of a transcript, in order; each has some text and lasts at least a millisecond."""
    found: list[Cue] = []
    for segment in segments:
        parts = pieces(segment)
        if not parts:
            continue
        cut = [parts] if not layout.line_width and not layout.max_cue_s else list(_cut(parts, layout))
        for number, some in enumerate(cut):
            # The segment's own times at its ends: those of words are rougher.
            start_s = segment.start_s if number == 0 else some[0].start_s
            end_s = segment.end_s if number == len(cut) - 1 else some[-1].end_s
            start_ms = max(0, round(start_s * 1000))
            found.append(Cue(start_ms, max(start_ms + 1, round(end_s * 1000)), some, segment.speaker))
    return _readable(found, layout.max_chars_per_s) if layout.max_chars_per_s else found


def _cut(parts: Sequence[Piece], layout: Layout) -> Iterator[list[Piece]]:
    """Cues that fit; one ends after a sentence or a clause rather than anywhere, if that leaves it half full."""
    current: list[Piece] = []
    for part in parts:
        too_long = layout.max_cue_s and current and part.end_s - current[0].start_s > layout.max_cue_s
        too_wide = layout.line_width and not fits([*current, part], layout.line_width, layout.max_lines)
        if current and (too_long or too_wide):
            end = _good_end(current)
            yield current[:end]
            current = current[end:]
        current.append(part)
    if current:
        yield current


def _good_end(parts: Sequence[Piece]) -> int:
    for index in range(len(parts), len(parts) // 2, -1):
        if re.search(r"[.!?…。！？؟،,;:；：，、][\"'”’»)」』）]*$", parts[index - 1].text):
            return index
    return len(parts)


def _readable(found: list[Cue], chars_per_s: float) -> list[Cue]:
    """Cues prolonged until they can be read, but never into the next one."""
    slow: list[Cue] = []
    for cue, after in pairwise([*found, None]):
        assert cue is not None  # noqa: S101  # only the last of the pairs is
        needed = cue.start_ms + round(1000 * len(line_of(cue.pieces)) / chars_per_s)
        end_ms = max(cue.end_ms, needed if after is None else min(needed, after.start_ms))
        slow.append(Cue(cue.start_ms, end_ms, cue.pieces, cue.speaker))
    return slow


def _s(seconds: float) -> float:
    return round(seconds, 3)


def timestamp(ms: int, point: str, *, hours: bool = True) -> str:
    """1:02:03.004 as 01:02:03.004; without `hours` they are left out while there are none."""
    minutes, rest = divmod(ms, 60_000)
    head = f"{minutes // 60:02}:{minutes % 60:02}" if hours or minutes >= 60 else f"{minutes:02}"
    return f"{head}:{rest // 1000:02}{point}{rest % 1000:03}"


def _steps(cue: Cue, layout: Layout) -> Iterator[tuple[int, int, list[list[tuple[Piece, bool]]]]]:
    """(start, end, lines of (piece, marked)): the cue as a whole, or once for each of its words."""
    shown = cue.lines(layout)
    if not layout.highlight_words:
        yield cue.start_ms, cue.end_ms, [[(piece, False) for piece in line] for line in shown]
        return
    at = cue.start_ms
    for number, piece in enumerate(cue.pieces):
        last = number == len(cue.pieces) - 1
        end = cue.end_ms if last else min(max(at, round(cue.pieces[number + 1].start_s * 1000)), cue.end_ms)
        if end > at:
            yield at, end, [[(other, other is piece) for other in line] for line in shown]
        at = end


def _lines(rows: list[list[tuple[Piece, bool]]], quote: Callable[[str], str]) -> list[str]:
    told = []
    for row in rows:
        line = ""
        for number, (piece, marked) in enumerate(row):
            text = quote(piece.text)
            line += (piece.space if number else "") + (f"<u>{text}</u>" if marked else text)
        told.append(_directed(line))
    return told


def _directed(line: str) -> str:
    """Right-to-left text that begins with something else gets the mark that says so: players look at the first."""
    strong = [kind for kind in map(unicodedata.bidirectional, re.sub(r"<[^>]*>", "", line)) if kind in ("L", "R", "AL")]
    mostly_right = sum(kind != "L" for kind in strong) * 2 > len(strong)
    return "\u200f" + line if strong and strong[0] == "L" and mostly_right else line


def _srt(segments: Sequence[Segment], layout: Layout) -> str:
    blocks: list[str] = []
    for cue in cues(segments, layout):
        for start, end, rows in _steps(cue, layout):
            shown = _lines(rows, str)
            if cue.speaker:
                shown[0] = f"[{cue.speaker}]: {shown[0]}"
            times = f"{timestamp(start, ',')} --> {timestamp(end, ',')}"
            blocks.append("\n".join([str(len(blocks) + 1), times, *shown]) + "\n")
    return "\n".join(blocks)


def _vtt(segments: Sequence[Segment], layout: Layout) -> str:
    blocks = ["WEBVTT\n"]
    for cue in cues(segments, layout):
        for start, end, rows in _steps(cue, layout):
            shown = _lines(rows, lambda text: escape(text, quote=False))
            if cue.speaker:
                shown[0] = f"<v {escape(cue.speaker, quote=False)}>{shown[0]}"
            times = f"{timestamp(start, '.')} --> {timestamp(end, '.')}"
            blocks.append("\n".join([times, *shown]) + "\n")
    return "\n".join(blocks)


def _tsv(segments: Sequence[Segment], layout: Layout) -> str:
    rows = [f"{cue.start_ms}\t{cue.end_ms}\t{line_of(cue.pieces)}\n" for cue in cues(segments, layout)]
    return "start\tend\ttext\n" + "".join(rows)


def _lrc(segments: Sequence[Segment], layout: Layout) -> str:
    told = []
    for cue in cues(segments, layout):
        for number, line in enumerate(cue.lines(layout)):
            start_ms = cue.start_ms if number == 0 else round(line[0].start_s * 1000)
            text = line_of(line)
            if layout.highlight_words:
                text = " ".join(f"<{_lrc_time(round(piece.start_s * 1000))}>{piece.text}" for piece in line)
            told.append(f"[{_lrc_time(start_ms)}]{text}\n")
    return "".join(told)


def _lrc_time(ms: int) -> str:
    """Minutes without end, and hundredths: all that the format knows."""
    hundredths = round(ms / 10)
    return f"{hundredths // 6000:02}:{hundredths // 100 % 60:02}.{hundredths % 100:02}"


def _txt(segments: Sequence[Segment], layout: Layout) -> str:
    told = []
    for cue in cues(segments, layout):
        shown = _lines([[(piece, False) for piece in line] for line in cue.lines(layout)], str)
        if cue.speaker:
            shown[0] = f"[{cue.speaker}]: {shown[0]}"
        told += [line + "\n" for line in shown]
    return "".join(told)


_WRITERS: Mapping[str, Callable[[Sequence[Segment], Layout], str]] = {
    "srt": _srt, "vtt": _vtt, "tsv": _tsv, "lrc": _lrc, "txt": _txt,
}  # fmt: skip
KINDS: Mapping[str, str] = {
    "srt": "application/x-subrip", "vtt": "text/vtt", "tsv": "text/tab-separated-values", "lrc": "text/plain",
    "txt": "text/plain", "json": "application/json",
}  # fmt: skip
"""Format → media type."""

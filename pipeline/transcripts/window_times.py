"""Conversion of times from a window's clock to the recording's."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipeline.listening.detector import FRAME, RATE_HZ
from pipeline.stt import Segment, Word
from pipeline.transcripts.subtitles import joined
from pipeline.transcripts.windows import Window

EARLIER = 2 * FRAME
"""A voice begins some samples before the detector is sure of it."""


def placed(segment: Segment, window: Window, words: bool) -> Iterator[Segment]:
    """Put a segment of a window on the recording's clock. Times are rounded to whole samples from the window's start,
    so that no drift adds up. A segment whose words cross a joint of the window is split. words: whether to keep the
    words."""
    for part in _parts(segment, window):
        start_s, end_s = _moved(part.start_s, part.end_s, window)
        moved = [Word(w.text, *_moved(w.start_s, w.end_s, window), w.probability) for w in part.words]
        yield replace(
            part, start_s=start_s, end_s=end_s, words=moved if words else (), seek=window.start * 100 // RATE_HZ
        )


def _moved(start_s: float, end_s: float, window: Window) -> tuple[float, float]:
    """Put both times on that side of a joint on which their middle is, and the start not before the speech has begun:
    recognisers tend to stretch a first word over the silence before it."""
    last = len(window.samples)
    start, end = min(int(start_s * RATE_HZ), last), min(int(end_s * RATE_HZ), last)
    middle = (start + end) // 2
    stretch = bisect_left(window.joints, middle, key=lambda joint: joint[0])
    low = window.joints[stretch - 1][0] if stretch else 0
    high = window.joints[stretch][0] if stretch < len(window.joints) else last
    onset = window.onsets[stretch] - EARLIER if window.onsets else 0
    if onset < end:
        start = max(start, onset)
    first = window.placed(max(start, low) + 1) - 1  # a start exactly at a joint belongs to the stretch after it
    return first / RATE_HZ, max(first, window.placed(min(max(end, low), high))) / RATE_HZ


def _parts(segment: Segment, window: Window) -> Sequence[Segment]:
    """Return the segment, or one part of it for each stretch of the window in which it has words."""
    joints = [joint / RATE_HZ for joint, _ in window.joints]
    crossed = [joint for joint in joints if segment.start_s < joint < segment.end_s]
    if not crossed or not segment.words:
        return [segment]
    parts: dict[int, list[Word]] = {}
    for word in segment.words:
        parts.setdefault(sum((word.start_s + word.end_s) / 2 > joint for joint in joints), []).append(word)
    if len(parts) == 1:
        return [replace(segment, start_s=segment.words[0].start_s, end_s=segment.words[-1].end_s)]
    return [
        replace(segment, text=joined([w.text for w in said]), start_s=said[0].start_s, end_s=said[-1].end_s, words=said)
        for said in parts.values()
    ]

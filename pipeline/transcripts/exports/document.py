"""A transcript as paragraphs, by the rules of the page (`web/jobs/transcript.js`)."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.llm.languages import NAMES
from pipeline.stt import Segment
from pipeline.transcripts.line_breaks import clean
from pipeline.transcripts.subtitles import joined

PAUSE_S = 1.5
"""A pause this long begins a new paragraph."""
LONG = 500
"""A paragraph of one speaker ends at the first end of a sentence after this many characters."""
_SENTENCE_END = re.compile(r"[.!?…。！？؟][\"'”’»)」』）]*$")
_UNPRINTABLE = re.compile("[\ud800-\udfff\ufffe\uffff]")
"""Characters that XML does not allow, besides the control characters that `clean` replaces."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Some sentences of one speaker."""

    start_s: float
    speaker: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A transcript to read."""

    title: str
    details: str
    """Duration, language and date, in one line."""
    language: str | None
    """ISO 639-1."""
    paragraphs: Sequence[Paragraph]


def document_of(
    segments: Sequence[Segment], *, title: str, language: str | None, duration_s: float, created_at: float
) -> Document:
    """Return the document of a transcript. created_at: seconds since 1970."""
    name = NAMES.get(language or "", "")
    day = datetime.fromtimestamp(created_at, UTC).strftime("%Y-%m-%d")
    details = " · ".join(part for part in (clock(duration_s), name, day) if part)
    return Document(printable(title), details, language, paragraphs(segments))


def paragraphs(segments: Sequence[Segment]) -> list[Paragraph]:
    """Group segments into paragraphs: one speaker, without a pause, and not begun by hand."""
    groups: list[list[Segment]] = []
    length = 0
    for segment in segments:
        if not groups or not _goes_on(groups[-1][-1], segment, length):
            groups.append([])
            length = 0
        groups[-1].append(segment)
        length += len(segment.text)
    found = (
        Paragraph(
            group[0].start_s,
            printable(group[0].speaker) if group[0].speaker else None,
            printable(joined(one.text.strip() for one in group)),
        )
        for group in groups
    )
    return [one for one in found if one.text]


def _goes_on(before: Segment, segment: Segment, length: int) -> bool:
    if segment.paragraph or before.speaker != segment.speaker or segment.start_s - before.end_s >= PAUSE_S:
        return False
    return not (length > LONG and _SENTENCE_END.search(before.text.rstrip()[-8:]))


def printable(text: str) -> str:
    """Return the text as one line of characters that every format can hold."""
    return clean(_UNPRINTABLE.sub("\ufffd", text))


def clock(seconds: float) -> str:
    """Format 3723.4 as 1:02:03, as the page does."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def right_to_left(text: str) -> bool:
    """Whether the text reads from right to left: most of its letters do."""
    kinds = [kind for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL")]
    return sum(kind != "L" for kind in kinds) * 2 > len(kinds)

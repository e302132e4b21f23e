"""Editing of a finished transcript: the operations of a client as changes of its segments, which can be taken back.

A change is one of three JSON objects, which the page applies to its own copy, and which a version stores to undo it:

- `{"at": 4, "count": 1, "segments": […]}`: these segments replace `count` segments from index `at` on
- `{"speakers": [[4, 6, "B"], [9, 9, null]]}`: the segments from the first to the second index have this speaker
- `{"names": {"A": "Anna"}}`: the names of the speakers are these
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypeAlias, TypedDict, cast

from pydantic import Field

from jobs.errors import Refused
from jobs.result import StoredSegment, segment_of, stored_segment
from pipeline.stt import Segment
from pipeline.transcripts import editing

MAX_TEXT_CHARS = 20_000
"""Limit of the text of one segment in an operation."""
MAX_SEGMENTS = 100_000
MAX_LABEL_CHARS = 100
MAX_SPEAKERS = 100
"""Limit of labels and names of speakers in a transcript."""
MAX_CHANGED, SPARE_CHARS = 2, 1_000_000
"""Limit of what one edit may replace: this many times the transcript, and this many characters."""
WORD_CHARS, SEGMENT_CHARS, SPEAKER_CHARS = 80, 200, 20
"""Characters of a word, of a segment and of a speaker in JSON besides their texts, about."""
Range: TypeAlias = tuple[int, int, str | None]
"""The first and the last index of segments, and their speaker."""
Label = Annotated[str, Field(min_length=1, max_length=MAX_LABEL_CHARS, pattern=r"^[^\x00-\x1f]+$")]
Index = Annotated[int, Field(ge=0, lt=MAX_SEGMENTS)]


class Change(TypedDict, total=False):
    """One change of a document: of segments, of speakers, or of speakers' names."""

    at: int
    count: int
    """Segments from `at` that are replaced by `segments`."""
    segments: list[StoredSegment]
    speakers: list[Range]
    names: dict[str, str]


@dataclass(frozen=True, slots=True)
class SetText:
    """Give a segment another text; an empty one removes the segment."""

    op: Literal["text"]
    segment: Index
    text: Annotated[str, Field(max_length=MAX_TEXT_CHARS)]


@dataclass(frozen=True, slots=True)
class Split:
    """Split a segment before this character of its text; the second part begins a paragraph."""

    op: Literal["split"]
    segment: Index
    at: Annotated[int, Field(ge=1, lt=MAX_TEXT_CHARS * 100)]


@dataclass(frozen=True, slots=True)
class Merge:
    """Merge a segment with the next one."""

    op: Literal["merge"]
    segment: Index


@dataclass(frozen=True, slots=True)
class SetParagraph:
    """Begin a paragraph with a segment, or no longer."""

    op: Literal["paragraph"]
    segment: Index
    begins: bool


@dataclass(frozen=True, slots=True)
class SetSpeaker:
    """Set the speaker of the segments from `first` to `last`; null: none."""

    op: Literal["speaker"]
    first: Index
    last: Index
    speaker: Label | None


@dataclass(frozen=True, slots=True)
class MergeSpeakers:
    """Attribute all segments of a speaker to another one."""

    op: Literal["merge_speakers"]
    speaker: Label
    into: Label


@dataclass(frozen=True, slots=True)
class NameSpeaker:
    """Name a speaker; null removes the name."""

    op: Literal["name"]
    speaker: Label
    name: Label | None


Operation: TypeAlias = SetText | Split | Merge | SetParagraph | SetSpeaker | MergeSpeakers | NameSpeaker


@dataclass(frozen=True, slots=True)
class Document:
    """The editable part of a transcript."""

    segments: Sequence[StoredSegment]
    """As `jobs.result` stores them."""
    names: Mapping[str, str]
    """Names of speakers by their labels."""


@dataclass(frozen=True, slots=True)
class Edited:
    """A document after some changes."""

    document: Document
    changes: Sequence[Change]
    undo: Sequence[Change]
    """The changes that lead back, in order."""


def edited(document: Document, operations: Sequence[Operation]) -> Edited:
    """Apply operations one after the other; indices refer to the result of those before. Raises Refused (bad_parameter)
    for a segment or a speaker that does not exist, and for an edit that changes too much."""
    changes: list[Change] = []
    undo: list[Change] = []
    most_speakers = max(MAX_SPEAKERS, len(_labels(document)))
    room = MAX_CHANGED * _chars(document.segments) + SPARE_CHARS
    for one in operations:
        change = _change(document, one)
        document, back = applied(document, change)
        changes.append(change)
        undo.insert(0, back)
        room -= max(_chars(each.get("segments", ())) for each in (change, back))
        room -= SPEAKER_CHARS * sum(last - first + 1 for first, last, _ in change.get("speakers", ()))
        if room < 0:
            raise Refused("The edit changes too much at once.", code="bad_parameter")
    if len(_labels(document)) > most_speakers:
        raise Refused(f"A transcript has at most {MAX_SPEAKERS} speakers.", code="bad_parameter")
    if len(document.segments) > MAX_SEGMENTS:
        raise Refused(f"A transcript has at most {MAX_SEGMENTS} segments.", code="bad_parameter")
    return Edited(document, changes, undo)


def applied(document: Document, change: Change) -> tuple[Document, Change]:
    """Return the document after a change, and the change that leads back."""
    segments = document.segments
    if "names" in change:
        return replace(document, names=change["names"]), {"names": dict(document.names)}
    if "speakers" in change:
        new, back = list(segments), list[tuple[int, str | None]]()
        for first, last, speaker in change["speakers"]:
            for index in range(first, last + 1):
                back.append((index, new[index].get("speaker")))
                new[index] = _with_speaker(new[index], speaker)
        return replace(document, segments=new), {"speakers": _ranges(back)}
    at, end, inserted = change["at"], change["at"] + change["count"], change["segments"]
    whole = [*segments[:at], *inserted, *segments[end:]]
    return replace(document, segments=whole), {"at": at, "count": len(inserted), "segments": list(segments[at:end])}


def difference(before: Document, after: Document) -> list[Change]:
    """Return the changes that lead from one document to another."""
    changes: list[Change] = []
    old, new = before.segments, after.segments
    same = len(old) == len(new)
    if same and all(_with_speaker(one, None) == _with_speaker(two, None) for one, two in zip(old, new, strict=True)):
        told = _ranges(
            (index, two.get("speaker"))
            for index, (one, two) in enumerate(zip(old, new, strict=True))
            if one.get("speaker") != two.get("speaker")
        )
        changes += [{"speakers": told}] if told else []
    else:
        least, start = min(len(old), len(new)), 0
        while start < least and _same(old[start], new[start]):
            start += 1
        end = 0
        while end < least - start and _same(old[-1 - end], new[-1 - end]):
            end += 1
        changes.append({"at": start, "count": len(old) - start - end, "segments": list(new[start : len(new) - end])})
    if before.names != after.names:
        changes.append({"names": dict(after.names)})
    return changes


def _ranges(speakers: Iterable[tuple[int, str | None]]) -> list[Range]:
    """Return indices with their speakers as ranges."""
    found: list[Range] = []
    for index, speaker in speakers:
        if found and found[-1][1:] == (index - 1, speaker):
            found[-1] = (found[-1][0], index, speaker)
        else:
            found.append((index, index, speaker))
    return found


def _labels(document: Document) -> set[str]:
    return {one["speaker"] for one in document.segments if one.get("speaker")} | document.names.keys()


def _chars(segments: Iterable[StoredSegment]) -> int:
    """Return about how many characters of JSON these segments are."""
    return sum(SEGMENT_CHARS + len(one["text"]) + WORD_CHARS * len(one.get("words", ())) for one in segments)


def _same(one: StoredSegment, other: StoredSegment) -> bool:
    return {**one, "id": 0} == {**other, "id": 0}  # ids are counted again when a document is stored


def _change(document: Document, operation: Operation) -> Change:
    match operation:
        case SetText(_, index, text):
            old = _segment(document, index)
            new = editing.retexted(segment_of(old), text)
            return _splice(index, 1, [_replaced(old, new)] if new.text else [])
        case Split(_, index, at):
            old = _segment(document, index)
            first, second = editing.cut(segment_of(old), at)
            return _splice(index, 1, [_replaced(old, first), {**_replaced(old, second), "paragraph": True}])
        case Merge(_, index):
            old, following = _segment(document, index), _segment(document, index + 1)
            return _splice(index, 2, [_replaced(old, editing.join(segment_of(old), segment_of(following)))])
        case SetParagraph(_, index, begins):
            others = _without(_segment(document, index), "paragraph")
            return _splice(index, 1, [{**others, "paragraph": True} if begins else others])
        case SetSpeaker(_, first_index, last_index, speaker):
            if first_index > last_index:
                raise Refused("first must not be after last.", code="bad_parameter")
            _segment(document, last_index)
            of = range(first_index, last_index + 1)
            return {"speakers": _ranges((n, speaker) for n in of if document.segments[n].get("speaker") != speaker)}
        case MergeSpeakers(_, speaker, into):
            _check(document, speaker)
            _check(document, into)
            if speaker == into:
                return {"speakers": []}
            told = ((n, into) for n, one in enumerate(document.segments) if one.get("speaker") == speaker)
            return {"speakers": _ranges(told)}
        case NameSpeaker(_, speaker, name):
            _check(document, speaker)
            names = {label: told for label, told in document.names.items() if label != speaker}
            return {"names": names if name is None else {**names, speaker: name}}


def _segment(document: Document, index: int) -> StoredSegment:
    if index >= len(document.segments):
        raise Refused(f"There is no segment {index}.", code="bad_parameter")
    return document.segments[index]


def _check(document: Document, speaker: str) -> None:
    if all(one.get("speaker") != speaker for one in document.segments):
        raise Refused("No segment has this speaker.", code="bad_parameter")


def _splice(at: int, count: int, segments: Sequence[StoredSegment]) -> Change:
    return {"at": at, "count": count, "segments": list(segments)}


def _replaced(old: StoredSegment, new: Segment) -> StoredSegment:
    """Return a stored segment with the text, the words and the times of another."""
    return {**_without(old, "words"), **stored_segment(new)}


def _without(segment: StoredSegment, field: str) -> StoredSegment:
    return cast("StoredSegment", {name: value for name, value in segment.items() if name != field})


def _with_speaker(segment: StoredSegment, speaker: str | None) -> StoredSegment:
    others = _without(segment, "speaker")
    return others if speaker is None else {**others, "speaker": speaker}

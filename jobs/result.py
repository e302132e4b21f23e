"""Transcripts in the formats for storage and for download."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NotRequired, TypedDict, cast

from jobs.job import Options
from pipeline.stt import Segment, Word
from pipeline.support.encodable import encodable
from pipeline.transcripts import exports
from pipeline.transcripts.subtitles import PLAIN, Layout, render, segment_dict, text_of
from pipeline.transcripts.ttml import as_ttml

FORMATS = {
    "txt": "text/plain; charset=utf-8",
    "json": "application/json",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "ttml": "application/ttml+xml; charset=utf-8",
    **exports.KINDS,
}
"""Download formats of a result, and their media types."""


class StoredWord(TypedDict):
    """A word of a stored segment. Times are in seconds."""

    word: str
    start: float
    end: float
    probability: NotRequired[float]


class StoredSegment(TypedDict):
    """A segment as a result stores it, with openai-whisper's names."""

    start: float
    end: float
    text: str
    id: NotRequired[int]
    seek: NotRequired[int]
    temperature: NotRequired[float]
    avg_logprob: NotRequired[float]
    compression_ratio: NotRequired[float]
    no_speech_prob: NotRequired[float]
    words: NotRequired[list[StoredWord]]
    speaker: NotRequired[str]
    language: NotRequired[str | None]
    paragraph: NotRequired[bool]


class StoredResult(TypedDict):
    """A transcript as the database stores it."""

    text: str
    language: str | None
    duration: float
    engine: str
    segments: list[StoredSegment]
    version: NotRequired[int]
    """Version of an edited one."""


def key_of(sha256: str, options: Options, engine: str) -> str:
    """Return the key of a result, which is determined by the file, the options and the engine."""
    # Leave out `model_id`: it names an engine, which `engine` already identifies.
    told = json.dumps([sha256, replace(options, model_id=None).dumps(), engine])
    return hashlib.sha256(told.encode()).hexdigest()


def store_form(segments: Sequence[Segment], *, language: str | None, duration_s: float, engine: str) -> str:
    """Return the body of a result: JSON with `text`, `language`, `duration` (s), `engine` and `segments`."""
    told: StoredResult = {
        "text": text_of(segments),
        "language": language,
        "duration": round(duration_s, 3),
        "engine": engine,
        "segments": [stored_segment(one) for one in segments],
    }
    return encodable(json.dumps(told, ensure_ascii=False))


def stored_segment(segment: Segment) -> StoredSegment:
    """Return a segment as a result stores it."""
    told = segment_dict(segment)
    told.pop("tokens")  # half the size, and useless without the model
    return cast("StoredSegment", {**told, "language": segment.language})


def segments_of(result: StoredResult) -> list[Segment]:
    """Return the segments of a stored result."""
    return [replace(segment_of(one), id=number) for number, one in enumerate(result["segments"])]


def segment_of(stored: StoredSegment) -> Segment:
    """Return a segment of a stored result."""
    return Segment(
        stored["start"],
        stored["end"],
        stored["text"],
        stored.get("language"),
        [Word(w["word"], w["start"], w["end"], w.get("probability", 1.0)) for w in stored.get("words", ())],
        stored.get("speaker"),
        id=stored.get("id", 0),
        seek=stored.get("seek", 0),
        temperature=stored.get("temperature", 0.0),
        avg_logprob=stored.get("avg_logprob", 0.0),
        compression_ratio=stored.get("compression_ratio", 1.0),
        no_speech_prob=stored.get("no_speech_prob", 0.0),
        paragraph=stored.get("paragraph", False),
    )


def named(result: StoredResult, speakers: Mapping[str, str]) -> StoredResult:
    """Return the result with the names that users gave its speakers."""
    if not speakers:
        return result
    segments: list[StoredSegment] = [
        {**one, "speaker": speakers.get(one["speaker"], one["speaker"])} if "speaker" in one else one
        for one in result["segments"]
    ]
    return {**result, "segments": segments}


def download(
    body: str,
    kind: str,
    speakers: Mapping[str, str],
    layout: Layout = PLAIN,
    *,
    title: str = "",
    created_at: float = 0.0,
) -> str | bytes:
    """Convert a stored result to a file. kind: one of FORMATS. layout: layout of subtitles. title, created_at: of
    documents and TTML. Raises KeyError for another kind, BadInput (pdf_font_missing)."""
    if kind == "json" and not speakers:
        return body
    result = named(json.loads(body), speakers)
    if kind == "json":
        return json.dumps(result, ensure_ascii=False)
    segments, language = segments_of(result), result["language"]
    if kind in exports.KINDS:
        told = exports.document_of(
            segments, title=title, language=language, duration_s=result["duration"], created_at=created_at
        )
        return exports.as_document(kind, told)
    if kind == "ttml":
        return as_ttml(segments, title=title, language=language, layout=layout)
    return render(kind, segments, layout=layout, language=language)

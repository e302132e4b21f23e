"""Transcripts in the formats for storage and for download."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jobs.job import Options
from pipeline.stt import Segment, Word
from pipeline.support.encodable import encodable
from pipeline.support.json_types import JsonObject
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


def key_of(sha256: str, options: Options, engine: str) -> str:
    """Return the key of a result, which is determined by the file, the options and the engine."""
    # Leave out `model_id`: it names an engine, which `engine` already identifies.
    told = json.dumps([sha256, replace(options, model_id=None).dumps(), engine])
    return hashlib.sha256(told.encode()).hexdigest()


def store_form(segments: Sequence[Segment], *, language: str | None, duration_s: float, engine: str) -> str:
    """Return the body of a result: JSON with `text`, `language`, `duration` (s), `engine` and `segments`."""
    told = {
        "text": text_of(segments),
        "language": language,
        "duration": round(duration_s, 3),
        "engine": engine,
        "segments": [stored_segment(one) for one in segments],
    }
    return encodable(json.dumps(told, ensure_ascii=False))


def stored_segment(segment: Segment) -> JsonObject:
    """Return a segment as a result stores it."""
    told = segment_dict(segment)
    told.pop("tokens")  # half the size, and useless without the model
    told["language"] = segment.language
    return told


def segments_of(result: dict[str, Any]) -> list[Segment]:
    """Return the segments of a stored result."""
    return [replace(segment_of(one), id=number) for number, one in enumerate(result["segments"])]


def segment_of(stored: Mapping[str, Any]) -> Segment:
    """Return a segment of a stored result."""
    kept = (
        "id", "seek", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob", "speaker", "language",
        "paragraph",
    )  # fmt: skip
    return Segment(
        stored["start"],
        stored["end"],
        stored["text"],
        words=[Word(w["word"], w["start"], w["end"], w.get("probability", 1.0)) for w in stored.get("words", ())],
        **{name: stored[name] for name in kept if name in stored},
    )


def named(result: dict[str, Any], speakers: Mapping[str, str]) -> dict[str, Any]:
    """Return the result with the names that users gave its speakers."""
    if not speakers:
        return result
    segments = [
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

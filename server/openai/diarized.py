"""`response_format=diarized_json`: segments with their speakers, and references of known speakers."""

import asyncio
import base64
import binascii
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing

from pipeline.audio.clip import Clip
from pipeline.audio.decode import decode
from pipeline.errors import BadInput, ParleyError
from pipeline.stt import Segment
from pipeline.transcripts.long_files import FileEvent
from pipeline.transcripts.speakers import KnownSpeaker
from pipeline.transcripts.subtitles import separator
from pipeline.transcripts.transcription import Transcription
from server.errors import BadField, as_openai
from server.openai.fields import TranscriptionFields
from server.openai.languages import detected
from server.openai.sse import DONE, sse

MAX_REFERENCE_S = 30.0
"""Longest reference. OpenAI requires 2 to 10 s; longer ones do no harm."""
MIN_REFERENCE_S = 1.0
UNKNOWN = "A"
"""Speaker of segments without a label, when there is only one speaker."""


async def known_speakers(wanted: TranscriptionFields) -> list[KnownSpeaker]:
    """Read known speakers from names and data URLs. Raises BadField."""
    names, references = wanted.known_speaker_names, wanted.known_speaker_references
    if len(names) != len(references):
        raise BadField("known_speaker_references", "Send one reference for each known speaker name.")
    if len(set(names)) != len(names):
        raise BadField("known_speaker_names", "Known speakers must have different names.")
    return [KnownSpeaker(name, await _clip(url)) for name, url in zip(names, references, strict=True)]


async def _clip(url: str) -> Clip:
    head, comma, body = url.partition(",")
    if not head.startswith("data:") or not head.endswith(";base64") or not comma:
        raise BadField("known_speaker_references", "References must be data URLs (data:audio/wav;base64,…).")
    try:
        data = await asyncio.to_thread(base64.b64decode, body, validate=True)
        clip = await decode(data, max_seconds=MAX_REFERENCE_S)
    except (BadInput, binascii.Error) as error:
        raise BadField(
            "known_speaker_references", f"A reference is not an audio clip of at most {MAX_REFERENCE_S:g} s."
        ) from error
    if clip.seconds < MIN_REFERENCE_S:
        raise BadField("known_speaker_references", f"A reference is shorter than {MIN_REFERENCE_S:g} s.")
    return clip


def _segment(segment: Segment) -> dict[str, object]:
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{segment.id:03}",
        "start": round(segment.start_s, 3),
        "end": round(segment.end_s, 3),
        "text": segment.text,
        "speaker": segment.speaker or UNKNOWN,
    }


def diarized_json(found: Transcription) -> dict[str, object]:
    """Return the response for `diarized_json`."""
    return {
        "task": "transcribe",
        "duration": round(found.duration_s, 3),
        "text": found.text,
        "segments": [_segment(segment) for segment in found.segments],
        "usage": {"type": "duration", "seconds": math.ceil(found.duration_s)},
    }


async def diarized_events(events: AsyncGenerator[FileEvent | Transcription, None]) -> AsyncGenerator[bytes, None]:
    """Yield the text during recognition, then the segments with speakers: diarization needs the whole recording. An
    error before the first text is raised; a later one becomes an event."""
    texts: list[str] = []
    try:
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Segment):
                    delta = separator(texts[-1] if texts else "", event.text) + event.text
                    texts.append(event.text)
                    yield sse({"type": "transcript.text.delta", "delta": delta})
                elif isinstance(event, Transcription):
                    for piece in await asyncio.to_thread(_told, event):
                        yield piece
    except ParleyError as error:
        if not texts:
            raise
        yield sse(as_openai(error))
    yield DONE


def _told(found: Transcription) -> list[bytes]:
    told = [sse(_segment(segment)) for segment in found.segments]
    heard, said = math.ceil(found.duration_s * 10), sum(len(segment.text.split()) for segment in found.segments)
    usage = {"type": "tokens", "input_tokens": heard, "output_tokens": said, "total_tokens": heard + said}
    languages = detected(segment.language for segment in found.segments)
    return [*told, sse({"type": "transcript.text.done", "text": found.text, "languages": languages, "usage": usage})]

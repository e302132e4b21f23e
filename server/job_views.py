"""Jobs as both doors show them, and what both take: options, keys, lists, downloads."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from jobs.errors import JobNotFound, Refused
from jobs.outbox import Attempt, Delivery
from jobs.result import FORMATS, download
from jobs.schema import Job, Options
from jobs.service import Jobs
from jobs.states import Status
from pipeline.subtitles import Layout
from server.errors import BadField, check_speakers
from server.incoming import Received
from server.media_types import MEDIA_TYPES
from server.parameters import MAX_TRACK, TRACK, language_code

MAX_TEXT = 200
MAX_PROMPT = 2_000
MAX_SPEAKERS = 50
OUTSIDE = {Status.RUNNING: "processing"}
"""States that have another name outside; for /api/v1, see `server.echo`."""
INSIDE = {"pending": Status.QUEUED, "processing": Status.RUNNING}


def jobs_of(request: Request) -> Jobs:
    """For `Depends`."""
    jobs: Jobs = request.app.state.jobs
    return jobs


AllJobs = Annotated[Jobs, Depends(jobs_of)]

TRANSCRIPT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The transcript as a file.",
        "content": {
            kind: (
                {"schema": {"$ref": "#/components/schemas/Transcript"}}
                if kind == "application/json"
                else {"schema": {"type": "string"}}
            )
            for kind in FORMATS.values()
        },
    }
}
"""Of a download, for `responses=`."""
BINARY = {"schema": {"type": "string", "format": "binary"}}
RECORDING: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The recording.",
        "content": dict.fromkeys(MEDIA_TYPES, BINARY),
    },
    206: {"description": "The part of it that was asked for (`Range`).", "content": dict.fromkeys(MEDIA_TYPES, BINARY)},
    416: {"description": "It has no such part.", "content": {"text/plain": {"schema": {"type": "string"}}}},
}


class JobOptions(BaseModel):
    """What is wanted of a recording, as the OpenAPI document has it; `options` reads it."""

    language: str | None = Field(default=None, description="ISO 639-1; by default it is found out.", examples=["pt"])
    model_id: str | None = Field(
        default=None, max_length=MAX_TEXT, description="An id of `GET /models`, a size of Whisper or a folder in "
        "MODELS_DIR; by default what is loaded.",
    )  # fmt: skip
    prompt: str | None = Field(default=None, max_length=MAX_PROMPT, description="Names and style to expect.")
    words: bool = Field(default=True, description="With the times of words.")
    translate: bool = Field(default=False, description="Into English.")
    align: bool = Field(default=False, description="Times of words by forced alignment.")
    diarize: bool = Field(default=False, description="Who said what.")
    min_speakers: int | None = Field(default=None, ge=1, le=MAX_SPEAKERS)
    max_speakers: int | None = Field(default=None, ge=1, le=MAX_SPEAKERS)
    audio_track: int | None = Field(default=None, ge=0, le=MAX_TRACK, description=TRACK)
    session_id: str | None = Field(default=None, max_length=MAX_TEXT, description="Yours: lists are filtered by it.")
    webhook_url: str | None = Field(default=None, max_length=4096, description="Told when the job ends.")


class ListQuery(BaseModel):
    """Which jobs a list has."""

    limit: int = 50
    page: int | None = None
    cursor: str | None = None
    status: str | None = None
    session_id: str | None = None
    search: str | None = None
    """In the name of the file, or in its address."""


async def listed(jobs: Jobs, query: ListQuery, names: dict[Status, str], owner: str | None) -> dict[str, Any]:
    """The newest jobs, by page or by cursor. owner: only that caller's. Raises BadInput."""
    found = await jobs.list(
        limit=query.limit, page=query.page, cursor=query.cursor, statuses=statuses(query.status),
        owner=owner, session_id=query.session_id, search=query.search,
    )  # fmt: skip
    items = [shown(job, names) for job in found.items]
    return {"items": items, "next_cursor": found.next_cursor, "total": found.total}


async def recording_file(jobs: Jobs, job: Job) -> Path:
    """Where the recording of a job is. Raises JobNotFound."""
    path = jobs.files.path(job.sha256) if job.sha256 else None
    if path is None or not await asyncio.to_thread(path.is_file):
        raise JobNotFound("The file of this job is not here.")
    return path


def named(status: Status, names: dict[Status, str]) -> str:
    return names.get(status, status.value)


def statuses(text: str | None) -> list[Status]:
    """Comma-separated states, by their name in here or outside. Raises BadField."""
    try:
        return [INSIDE.get(one.strip()) or Status(one.strip()) for one in (text or "").split(",") if one.strip()]
    except ValueError:
        raise BadField("status", f"status: one of {', '.join(Status)}, pending, processing.") from None


def options(fields: dict[str, Any]) -> Options:
    """What is wanted, from the fields of a form or a JSON body. Raises BadInput."""
    prompt = text_field(fields, "prompt", MAX_PROMPT)
    found = Options(
        model_id=text_field(fields, "model_id") or text_field(fields, "model"),
        language=language_code(text_field(fields, "language")),
        prompt=prompt,
        words=flag(fields, "words", True),
        translate=flag(fields, "translate", False),
        align=flag(fields, "align", False),
        diarize=flag(fields, "diarize", False),
        min_speakers=count_field(fields, "min_speakers"),
        max_speakers=count_field(fields, "max_speakers"),
        audio_track=count_field(fields, "audio_track", 0, MAX_TRACK),
    )
    check_speakers(found.min_speakers, found.max_speakers)
    return found


def count_field(fields: dict[str, Any], name: str, least: int = 1, most: int = MAX_SPEAKERS) -> int | None:
    """A field as a number, by default of people; None when it is empty or missing. Raises BadField."""
    value = fields.get(name)
    if value is None or value == "":
        return None
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and least <= int(text) <= most):
        raise BadField(name, f"{name}: a number from {least} to {most}.")
    return int(text)


def text_field(fields: dict[str, Any], name: str, most: int = MAX_TEXT) -> str | None:
    """A field as text; None when it is empty or missing. Raises BadField."""
    value = fields.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > most or "\0" in value:
        raise BadField(name, f"{name}: a text of at most {most} characters.")
    return value


def flag(fields: dict[str, Any], name: str, default: bool) -> bool:
    """A field as yes or no. Raises BadField."""
    value = str(fields.get(name, "")).lower()
    if value in ("", "none"):
        return default
    if value not in ("true", "1", "yes", "false", "0", "no"):
        raise BadField(name, f"{name}: true or false.")
    return value in ("true", "1", "yes")


def idempotency_key(request: Request, owner: str) -> str | None:
    """The Idempotency-Key, together with whose it is: keys of others are other keys. Raises Refused."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 1 <= len(key) <= 255:
        raise Refused("Idempotency-Key: from 1 to 255 characters.", code="bad_parameter")
    return json.dumps([owner, request.url.path, key])  # one text for each: an owner may have spaces, and slashes


def time_of(seconds: float | None) -> str | None:
    """ISO 8601 in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def shown(job: Job, names: dict[Status, str], result: dict[str, Any] | None = None) -> dict[str, Any]:
    """A job as JSON. `progress` is in percent, `duration` in seconds."""
    error = {"code": job.error_code, "message": job.error_message} if job.error_code else None
    duration_s = job.duration_s if job.duration_s is not None else (result or {}).get("duration")
    return {
        "job_id": job.id,
        "status": named(job.status, names),
        "progress": round(100 * job.progress, 1),
        "result": result,
        "error": error,
        "filename": job.filename,
        "model_id": job.options.model_id,
        "language": job.options.language,
        "diarize": job.options.diarize,
        "speakers": job.speakers,
        "session_id": job.session_id,
        "source_url": job.source_url,
        "size": job.size_bytes,
        "duration": None if duration_s is None else round(duration_s, 3),
        "attempts": job.attempts,
        "created_at": time_of(job.created_at),
        "started_at": time_of(job.started_at),
        "finished_at": time_of(job.finished_at),
    }


def shown_delivery(one: Delivery, attempts: Sequence[Attempt]) -> dict[str, Any]:
    """What a webhook was told, as JSON."""
    return {
        "id": one.id,
        "url": one.url,
        "event": one.event,
        "status": one.status,
        "created_at": time_of(one.created_at),
        "next_attempt_at": time_of(one.due_at) if one.status == "pending" else None,
        "attempts": [
            {"at": time_of(each.at), "took_ms": each.took_ms, "http_status": each.http_status, "error": each.error}
            for each in attempts
        ],
    }


def skipped(form: Received) -> dict[str, Any]:
    """What of archives is no job, where there is something."""
    found = [{"filename": name, "reason": reason} for name, reason in form.skipped]
    return {"skipped": found} if found else {}


async def downloaded(jobs: Jobs, job: Job, kind: str, layout: Layout) -> Response:
    """The result as a file. Raises NotPossible (no_result), BadField."""
    if kind not in FORMATS:
        raise BadField("format", f"format: one of {', '.join(FORMATS)}.")
    text = await asyncio.to_thread(download, await jobs.body(job), kind, job.speakers, layout)
    stem = job.filename.rpartition(".")[0] or job.filename
    name = f"{stem}.{kind}"
    # Twice: not everybody knows the newer form (curl does not).
    plain = "".join(char if char.isascii() and char.isprintable() and char not in '"\\%' else "_" for char in name)
    both = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
    headers = {"Content-Disposition": both}
    return Response(text, media_type=FORMATS[kind], headers=headers)

"""Jobs as JSON, and the parameters of both job APIs: options, idempotency keys, lists, downloads."""

import asyncio
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request
from fastapi.responses import Response
from pydantic import AliasChoices, BaseModel, Field, field_validator
from pydantic_core import PydanticCustomError, PydanticUseDefault

from jobs.errors import JobNotFound, Refused
from jobs.job import Job, Options
from jobs.outbox import Attempt, Delivery
from jobs.result import FORMATS
from jobs.service import Jobs
from jobs.states import Status
from pipeline.transcripts.subtitles import Layout
from server.errors import BadField
from server.http.media_types import MEDIA_TYPES
from server.jobs.schemas import (
    DeliveryAttempt,
    DeliveryResponse,
    JobError,
    JobPage,
    JobResponse,
    SkippedMember,
    Transcript,
)
from server.jobs.uploads import Received
from server.parameters import MAX_TRACK, TRACK, Keywords, Languages, spoken_languages
from server.state import state_of

MAX_TEXT = 200
MAX_PROMPT = 2_000
MAX_SPEAKERS = 50
MODEL = "An id of `GET /models`, a size of Whisper or a folder in MODELS_DIR; by default the loaded model."
SURE_PROGRESS = 0.02
"""Progress from which a job's speed is known."""
STATE_NAMES = {Status.RUNNING: "processing"}
"""States that have another name in the API; for /api/v1, see `server.jobs.echo`."""
BY_NAME = {"pending": Status.QUEUED, "processing": Status.RUNNING}


async def jobs_of(request: Request) -> Jobs:
    """Return the job service, for `Depends`."""
    return state_of(request).jobs


AllJobs = Annotated[Jobs, Depends(jobs_of)]

TRANSCRIPT: dict[int | str, dict[str, object]] = {
    200: {
        "description": "The transcript as a file.",
        "content": {
            media_type: {"schema": {"$ref": "#/components/schemas/Transcript"}}
            if kind == "json"
            else {"schema": {"type": "string", **({"format": "binary"} if kind in ("docx", "pdf") else {})}}
            for kind, media_type in FORMATS.items()
        },
    }
}
"""Description of a download, for `responses=`."""
BINARY = {"schema": {"type": "string", "format": "binary"}}
RECORDING: dict[int | str, dict[str, object]] = {
    200: {
        "description": "The recording.",
        "content": dict.fromkeys(MEDIA_TYPES, BINARY),
    },
    206: {"description": "The requested part of it (`Range`).", "content": dict.fromkeys(MEDIA_TYPES, BINARY)},
    416: {"description": "The range is invalid.", "content": {"text/plain": {"schema": {"type": "string"}}}},
}


class JobOptions(BaseModel):
    """Options of a job, in a form or a JSON body."""

    language: str | None = Field(
        default=None, max_length=MAX_TEXT, description="ISO 639-1; by default it is detected.", examples=["pt"]
    )
    model_id: str | None = Field(
        default=None, max_length=MAX_TEXT, validation_alias=AliasChoices("model_id", "model"), description=MODEL
    )
    languages: Languages = []
    prompt: str | None = Field(default=None, max_length=MAX_PROMPT, description="Names and style to expect.")
    keywords: Keywords = []
    words: bool = Field(default=True, description="Include word timestamps.")
    translate: bool = Field(default=False, description="Translate into English.")
    align: bool = Field(default=False, description="Compute word timestamps by forced alignment.")
    diarize: bool = Field(default=False, description="Label segments with their speakers.")
    min_speakers: int | None = Field(default=None, ge=1, le=MAX_SPEAKERS)
    max_speakers: int | None = Field(default=None, ge=1, le=MAX_SPEAKERS)
    audio_track: int | None = Field(default=None, ge=0, le=MAX_TRACK, description=TRACK)
    session_id: str | None = Field(default=None, max_length=MAX_TEXT, description="Your own id, to filter lists by.")
    webhook_url: str | None = Field(default=None, max_length=4096, description="Notified when the job ends.")

    @field_validator("words", "translate", "align", "diarize", mode="before")
    @classmethod
    def _none_is_default(cls, value: object) -> object:
        """Use the default for "None", which Python clients send for a missing value."""
        if isinstance(value, str) and value.lower() == "none":
            raise PydanticUseDefault
        return value

    @field_validator("language", "model_id", "prompt", "session_id", "webhook_url")
    @classmethod
    def _storable(cls, value: str | None) -> str | None:
        if value and "\0" in value:
            raise PydanticCustomError("null_character", "A null character cannot be stored")
        return value or None

    def options(self, hotwords: Sequence[str]) -> Options:
        """Return the options of the transcription. hotwords: the deployment's keywords, which all results depend on.
        Raises BadInput."""
        language, languages = spoken_languages(self.language, self.languages)
        found = Options(
            model_id=self.model_id, language=language, languages=languages, prompt=self.prompt, words=self.words,
            keywords=tuple(dict.fromkeys([*self.keywords, *hotwords])),
            translate=self.translate, align=self.align, diarize=self.diarize, min_speakers=self.min_speakers,
            max_speakers=self.max_speakers, audio_track=self.audio_track,
        )  # fmt: skip
        found.request().refining.check()
        return found


class ListQuery(BaseModel):
    """Page and filters of a list of jobs."""

    limit: int = 50
    page: int | None = None
    cursor: str | None = None
    status: str | None = None
    session_id: str | None = None
    search: str | None = None
    """Text in the name of the file or in its URL."""
    tag: str | None = Field(default=None, max_length=MAX_TEXT)
    pinned: bool | None = None


async def listed(jobs: Jobs, query: ListQuery, names: dict[Status, str], owner: str | None) -> JobPage:
    """Return the newest jobs, by page or cursor. owner: only that caller's jobs. Raises BadInput."""
    found = await jobs.list(
        limit=query.limit, page=query.page, cursor=query.cursor, statuses=statuses(query.status),
        owner=owner, session_id=query.session_id, search=query.search, tag=query.tag,
        pinned=query.pinned,
    )  # fmt: skip
    items = [shown(job, names) for job in found.items]
    return JobPage(items=items, next_cursor=found.next_cursor, total=found.total)


async def recording_file(jobs: Jobs, job: Job) -> Path:
    """Return the path of a job's recording. Raises JobNotFound."""
    path = jobs.files.path(job.sha256) if job.sha256 else None
    if path is None or not await asyncio.to_thread(path.is_file):
        raise JobNotFound("The file of this job does not exist.")
    return path


def named(status: Status, names: dict[Status, str]) -> str:
    return names.get(status, status.value)


def statuses(text: str | None) -> list[Status]:
    """Parse comma-separated states, by their internal or API names. Raises BadField."""
    try:
        return [BY_NAME.get(one.strip()) or Status(one.strip()) for one in (text or "").split(",") if one.strip()]
    except ValueError:
        raise BadField("status", f"status must be one of {', '.join(Status)}, pending, processing.") from None


def idempotency_key(request: Request, owner: str) -> str | None:
    """Return the Idempotency-Key combined with its owner, so that callers cannot collide. Raises Refused."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 1 <= len(key) <= 255:
        raise Refused("The Idempotency-Key must have from 1 to 255 characters.", code="bad_parameter")
    return json.dumps([owner, request.url.path, key])  # unambiguous: an owner can contain spaces and slashes


def iso(seconds: float) -> str:
    """Format a time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def time_of(seconds: float | None) -> str | None:
    """Format a time as ISO 8601 in UTC; None stays None."""
    return None if seconds is None else iso(seconds)


async def with_result(jobs: Jobs, job: Job, names: dict[Status, str]) -> JobResponse:
    """Describe a job, with its result if it has one. In a thread: the transcript of some hours is megabytes of JSON."""
    body = await jobs.stored_result(job)
    result = None if body is None else await asyncio.to_thread(Transcript.model_validate_json, body)
    return shown(job, names, result)


def shown(job: Job, names: dict[Status, str], result: Transcript | None = None) -> JobResponse:
    """Describe a job. `progress` is in percent, `duration` in seconds."""
    error = JobError(code=job.error_code, message=job.error_message or "") if job.error_code else None
    duration_s = job.duration_s if job.duration_s is not None or result is None else result.duration
    return JobResponse(
        job_id=job.id,
        status=named(job.status, names),
        progress=round(100 * job.progress, 1),
        result=result,
        error=error,
        filename=job.filename,
        model_id=job.options.model_id,
        language=job.options.language,
        diarize=job.options.diarize,
        speakers=dict(job.speakers),
        session_id=job.session_id,
        partial=job.partial,
        seconds_left=_seconds_left(job, time.time()),
        source_url=job.source_url,
        size=job.size_bytes,
        duration=None if duration_s is None else round(duration_s, 3),
        attempts=job.attempts,
        created_at=iso(job.created_at),
        started_at=time_of(job.started_at),
        finished_at=time_of(job.finished_at),
        tags=list(job.tags),
        pinned=job.pinned_at is not None,
    )


def _seconds_left(job: Job, now: float) -> float | None:
    """Return the time that a running job will take for the rest, if it goes on at its speed."""
    if job.status is not Status.RUNNING or job.started_at is None or job.progress < SURE_PROGRESS:
        return None
    took_s = max(0.0, job.updated_at - job.started_at)
    return round(max(0.0, took_s * (1 - job.progress) / job.progress - (now - job.updated_at)), 1)


def shown_delivery(one: Delivery, attempts: Sequence[Attempt]) -> DeliveryResponse:
    """Describe a webhook delivery."""
    return DeliveryResponse(
        id=one.id,
        url=one.url,
        event=one.event,
        status=one.status,
        created_at=iso(one.created_at),
        next_attempt_at=time_of(one.due_at) if one.status == "pending" else None,
        attempts=[
            DeliveryAttempt(at=iso(each.at), took_ms=each.took_ms, http_status=each.http_status, error=each.error)
            for each in attempts
        ],
    )


def skipped(form: Received) -> dict[str, list[SkippedMember]]:
    """Return the field `skipped` of a response; without skipped archive members, no field."""
    found = [SkippedMember(filename=name, reason=reason) for name, reason in form.skipped]
    return {"skipped": found} if found else {}


async def downloaded(jobs: Jobs, job: Job, kind: str, layout: Layout) -> Response:
    """Return the result as a file. Raises NotPossible (no_result), BadField, BadInput (pdf_font_missing)."""
    check_format(kind)
    file = await jobs.rendered(job, kind, layout)
    return Response(file, media_type=FORMATS[kind], headers=attachment(f"{job.stem}.{kind}"))


def check_format(kind: str) -> None:
    """Raises BadField for an unknown download format."""
    if kind not in FORMATS:
        raise BadField("format", f"format must be one of {', '.join(FORMATS)}.")


def attachment(name: str) -> dict[str, str]:
    """Return the header that names a download."""
    # The name in both forms: some clients, such as curl, do not know the newer one.
    plain = "".join(char if char.isascii() and char.isprintable() and char not in '"\\%' else "_" for char in name)
    return {"Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"}

"""Jobs as both doors show them, and what both take: options, keys, lists, downloads."""

import asyncio
import hashlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import Response

from jobs.errors import Refused
from jobs.result import FORMATS, download
from jobs.schema import Job, Options
from jobs.service import Jobs
from jobs.states import Status
from server.errors import BadField
from server.parameters import language_code

MAX_TEXT = 200
MAX_PROMPT = 2_000
OUTSIDE = {Status.RUNNING: "processing"}
"""States that have another name outside; for /api/v1, see `server.echo`."""
INSIDE = {"pending": Status.QUEUED, "processing": Status.RUNNING}


def jobs_of(request: Request) -> Jobs:
    """For `Depends`."""
    jobs: Jobs = request.app.state.jobs
    return jobs


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
    return Options(
        model_id=text_field(fields, "model_id") or text_field(fields, "model"),
        language=language_code(text_field(fields, "language")),
        prompt=prompt,
        words=flag(fields, "words", True),
        translate=flag(fields, "translate", False),
    )


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


def idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key, together with who sent it: keys of others are other keys. Raises Refused."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 1 <= len(key) <= 255:
        raise Refused("Idempotency-Key: from 1 to 255 characters.", code="bad_parameter")
    sender = request.headers.get("authorization") or request.headers.get("x-api-key") or ""
    return f"{hashlib.sha256(sender.encode()).hexdigest()} {request.url.path} {key}"


def time_of(seconds: float | None) -> str | None:
    """ISO 8601 in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def shown(job: Job, names: dict[Status, str], result: dict[str, Any] | None = None) -> dict[str, Any]:
    """A job as JSON. `progress` is in percent, `duration` in seconds."""
    error = {"code": job.error_code, "message": job.error_message} if job.error_code else None
    return {
        "job_id": job.id,
        "status": named(job.status, names),
        "progress": round(100 * job.progress, 1),
        "result": result,
        "error": error,
        "filename": job.filename,
        "model_id": job.options.model_id,
        "language": job.options.language,
        "session_id": job.session_id,
        "source_url": job.source_url,
        "size": job.size_bytes,
        "duration": (result or {}).get("duration") or job.duration_s,
        "attempts": job.attempts,
        "created_at": time_of(job.created_at),
        "started_at": time_of(job.started_at),
        "finished_at": time_of(job.finished_at),
    }


async def downloaded(jobs: Jobs, job: Job, kind: str) -> Response:
    """The result as a file. Raises NotPossible (no_result), BadField."""
    if kind not in FORMATS:
        raise BadField("format", f"format: one of {', '.join(FORMATS)}.")
    text = await asyncio.to_thread(download, await jobs.body(job), kind)
    stem = job.filename.rpartition(".")[0] or job.filename
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(f'{stem}.{kind}', safe='')}"}
    return Response(text, media_type=FORMATS[kind], headers=headers)

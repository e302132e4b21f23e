"""What a worker on another machine does with a job: get the file, transcribe it, tell of it, stop when told to.

Knows nothing of Parley's own modules and nothing of Modal: deploy/modal_worker.py puts it there, and it runs as well
anywhere else. The job is the JSON that JOB_ENGINE=modal posts (docs/jobs.md).
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
from standardwebhooks import Webhook

TELL_S = 2.0
"""Progress is told at most so often."""
ATTEMPTS = 6
"""For each update: the service may be starting anew."""

Hear = Callable[[str, dict[str, Any]], tuple[dict[str, Any], Iterator[dict[str, Any]]]]
"""(path, options) → (`language` and `duration` in s, segments as they are found: start, end, text, words)."""


def verified(body: bytes, headers: dict[str, str], secret: str) -> dict[str, Any]:
    """The job that was posted. Raises WebhookVerificationError for one that Parley did not send."""
    job: dict[str, Any] = Webhook(secret).verify(body, headers)
    return job


def work(job: dict[str, Any], secret: str, hear: Hear) -> str:
    """Do the job; what it is in the end: completed, failed, or cancelled when nobody wants it any more."""
    try:
        with tempfile.NamedTemporaryFile() as file:
            _download(job["file_url"], file)
            about, found = hear(file.name, job["options"])
            segments, told = [], 0.0
            for segment in found:
                segments.append(segment)
                if time.monotonic() - told >= TELL_S:
                    told = time.monotonic()
                    at = {"status": "processing", "done_s": segment["end"], "duration_s": about["duration"]}
                    if _tell(job, secret, at) != "processing":
                        return "cancelled"
        return _tell(job, secret, {"status": "completed", "result": {**about, "segments": segments}})
    except httpx.HTTPError:
        raise  # nobody to tell; Parley tries again when it has heard nothing for long enough
    except Exception as error:
        told_error = {"code": "stt_failed", "message": f"The worker elsewhere failed: {type(error).__name__}."}
        return _tell(job, secret, {"status": "failed", "error": told_error})


def _download(url: str, file: Any) -> None:
    with httpx.stream("GET", url, timeout=60, follow_redirects=True) as answer:
        answer.raise_for_status()
        for data in answer.iter_bytes():
            file.write(data)
    file.flush()


def _tell(job: dict[str, Any], secret: str, update: dict[str, Any]) -> str:
    """The job's status as the service answers it."""
    body = json.dumps({"job_id": job["job_id"], "attempt": job["attempt"], **update})
    for attempt in range(ATTEMPTS):
        now = datetime.now(UTC)
        message = f"upd_{job['attempt']}_{time.time_ns()}"
        headers = {
            "content-type": "application/json",
            "webhook-id": message,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign(message, now, body),
        }
        try:
            answer = httpx.post(job["updates_url"], content=body.encode(), headers=headers, timeout=60)
            if answer.status_code < 500:
                answer.raise_for_status()
                return str(answer.json()["status"])
        except httpx.TransportError:
            pass
        if attempt < ATTEMPTS - 1:
            time.sleep(2.0**attempt)
    raise httpx.TransportError("the service did not take the update")

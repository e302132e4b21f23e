"""The protocol of a remote worker: get the file of a job, transcribe it, report progress, stop on request.

Uses neither Parley's modules nor Modal: put another recogniser behind `Transcribe`. deploy/remote_recogniser.py is
Parley's, and deploy/modal_worker.py runs it on Modal. The job is the JSON that the service posts to
MODAL_WEBHOOK_URL (docs/jobs.md).
"""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import httpx
from standardwebhooks import Webhook

TELL_S = 2.0
"""Minimum interval between progress reports."""
ATTEMPTS = 6
"""Attempts to send an update: the service may be restarting."""

Transcribe = Callable[[str, dict[str, Any]], AsyncGenerator[dict[str, Any], None]]
"""(path, options) → `done_s` and `duration_s` (s, or None) as it progresses; at last `result`: `language`, `duration`
(s) and `segments` (`start`, `end`, `text`, `words`, `speaker`). Closed when the job is cancelled. An error with a
`code` and a `message` is passed on unchanged."""


def verified(body: bytes, headers: dict[str, str], secret: str) -> dict[str, Any]:
    """Return the posted job. Raises WebhookVerificationError for one that Parley did not send."""
    job: dict[str, Any] = Webhook(secret).verify(body, headers)
    return job


async def work(job: dict[str, Any], secret: str, transcribe: Transcribe) -> str:
    """Run the job; return its final status: completed, failed, or cancelled."""
    async with httpx.AsyncClient(timeout=60) as client:
        try:
            return await _work(client, job, secret, transcribe)
        except httpx.HTTPError:
            raise  # the service is unreachable; it retries the job after 15 minutes without progress
        except Exception as error:
            code = getattr(error, "code", None) or "stt_failed"
            message = getattr(error, "message", None) or f"The remote worker failed: {type(error).__name__}."
            return await _tell(client, job, secret, {"status": "failed", "error": {"code": code, "message": message}})


async def _work(client: httpx.AsyncClient, job: dict[str, Any], secret: str, transcribe: Transcribe) -> str:
    told, result = 0.0, None
    with tempfile.NamedTemporaryFile() as file:
        await _download(client, job["file_url"], file)
        async with aclosing(transcribe(file.name, job["options"])) as heard:
            async for step in heard:
                if "result" in step:
                    result = step["result"]
                elif time.monotonic() - told >= TELL_S:
                    told = time.monotonic()
                    if await _tell(client, job, secret, {"status": "processing", **step}) != "processing":
                        return "cancelled"
    return await _tell(client, job, secret, {"status": "completed", "result": result})


async def _download(client: httpx.AsyncClient, url: str, file: Any) -> None:
    async with client.stream("GET", url, follow_redirects=True) as response:
        response.raise_for_status()
        async for data in response.aiter_bytes():
            await asyncio.to_thread(file.write, data)
    file.flush()


async def _tell(client: httpx.AsyncClient, job: dict[str, Any], secret: str, update: dict[str, Any]) -> str:
    """Send an update; return the job's status from the service's response."""
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
            response = await client.post(job["updates_url"], content=body.encode(), headers=headers)
            if response.status_code < 500:
                response.raise_for_status()
                return str(response.json()["status"])
        except httpx.TransportError:
            pass
        if attempt < ATTEMPTS - 1:
            await asyncio.sleep(2.0**attempt)
    raise httpx.TransportError("the service did not accept the update")

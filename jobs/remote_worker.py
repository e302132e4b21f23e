"""Jobs that a remote worker transcribes: posted to that worker, which reports by signed updates.

Both directions are signed according to Standard Webhooks, with the deployment's secret. A lease identifies an attempt:
updates of earlier attempts have no effect, and a cancelled job has no attempt.
"""

import asyncio
import hashlib
import hmac
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import httpx
from standardwebhooks import WebhookVerificationError

from jobs.errors import FetchFailed, JobNotFound, Refused
from jobs.job import Job
from jobs.result import key_of, store_form
from jobs.run import PROGRESS_S
from jobs.store import JobStore
from jobs.webhooks import sign, signer
from pipeline.errors import ConfigError, ParleyError
from pipeline.settings import Settings
from pipeline.stt import Segment, Word
from pipeline.support.encodable import encodable_json
from pipeline.telemetry import tracing

ENGINE = "modal"
TASK = "transcribe-recording"
"""The task of deploy/trigger/."""
TRIGGER_URL = "https://api.trigger.dev"
POST_S = 30.0
LOOK_S = 5.0
UPDATES = "/api/v1/webhooks/transcription"
"""Path of the endpoint for updates, below APP_URL."""
MAX_SEGMENTS = 200_000


def _engine_of(model_id: str | None) -> str:
    return ENGINE if model_id is None else f"{ENGINE}: {model_id}"


class RemoteWorker:
    """Posts jobs to a remote worker and waits for their ends."""

    def __init__(self, store: JobStore, settings: Settings, secret: str) -> None:
        """Raises ConfigError for settings with which updates could never arrive."""
        if not settings.app_url:
            raise ConfigError("MODAL_WEBHOOK_URL needs APP_URL, to receive updates.")
        self._store = store
        self._settings = settings
        self._secret = secret
        self._signer = signer(secret)

    def engine_of(self, model_id: str | None) -> str:
        return _engine_of(model_id)

    async def transcribe(self, job: Job) -> None:
        """Post a job and wait. Raises FetchFailed when posting fails, TimeoutError when no update arrived for too
        long."""
        await self._post(job)
        seen, since = -1, time.monotonic()
        while time.monotonic() - since < PROGRESS_S:
            # The caller watches the job's state and cancels this; here only the progress matters.
            now = await self._store.get(job.id)
            if now.version != seen:
                seen, since = now.version, time.monotonic()
            await asyncio.sleep(min(LOOK_S, PROGRESS_S))
        raise TimeoutError

    async def _post(self, job: Job) -> None:
        base = self._settings.app_url.rstrip("/")
        assert job.lease is not None  # noqa: S101  # the job is running
        may_fetch = file_signature(self._secret, job.id, job.lease)
        may_tell = updates_signature(self._secret, job.id, job.lease)
        told = {
            "job_id": job.id,
            "attempt": job.lease,
            "file_url": f"{base}{UPDATES}/{job.id}/file?attempt={job.lease}&signature={may_fetch}",
            "updates_url": f"{base}{UPDATES}?job={job.id}&attempt={job.lease}&signature={may_tell}",
            "filename": job.filename,
            "options": asdict(job.options),
        }
        url, headers = self._settings.modal_webhook_url, dict[str, str]()
        if self._settings.trigger_secret_key:
            url = f"{(os.environ.get('TRIGGER_API_URL') or TRIGGER_URL).rstrip('/')}/api/v1/tasks/{TASK}/trigger"
            headers["Authorization"] = f"Bearer {self._settings.trigger_secret_key}"
            told = {"payload": told, "options": {"idempotencyKey": job.lease}}
        elif self._settings.modal_token_id:
            headers |= {
                "Modal-Key": self._settings.modal_token_id,
                "Modal-Secret": self._settings.modal_token_secret,
            }
        body = json.dumps(told)
        headers |= sign(self._signer, f"job_{job.lease}", body)
        try:
            async with httpx.AsyncClient(timeout=POST_S) as client:
                response = await client.post(url, content=body.encode(), headers=headers | tracing.headers())
        except httpx.HTTPError as error:
            raise FetchFailed("The remote worker cannot be reached (MODAL_WEBHOOK_URL).", code="worker_lost") from error
        if not response.is_success:
            raise FetchFailed(f"The remote worker returned status {response.status_code}.", code="worker_lost")


def file_signature(secret: str, job_id: str, attempt: str) -> str:
    """Return the signature that lets the remote worker of this attempt download the job's file."""
    return _signature(secret, "file", job_id, attempt)


def updates_signature(secret: str, job_id: str, attempt: str) -> str:
    """Return the signature that lets the remote worker of this attempt send updates. Their bodies are large, and those
    of other senders are not read."""
    return _signature(secret, "updates", job_id, attempt)


def _signature(secret: str, purpose: str, job_id: str, attempt: str) -> str:
    said = f"{purpose} {job_id} {attempt}".encode("utf-8", "replace")
    return hmac.new(secret.encode(), said, hashlib.sha256).hexdigest()


def _same(good: str, sent: str) -> bool:
    return hmac.compare_digest(good.encode(), sent.encode("utf-8", "replace"))


class Updates:
    """Receives the updates of remote workers."""

    def __init__(self, store: JobStore, secret: str) -> None:
        self._store = store
        self._secret = secret
        self._signer = signer(secret)

    def check_sender(self, job_id: str, attempt: str, signature: str) -> None:
        """Check the sender before the body is read. Raises ParleyError (unauthorized)."""
        good = updates_signature(self._secret, job_id, attempt)
        if not _same(good, signature):
            raise ParleyError("Send updates to the updates_url of the job.", code="unauthorized")

    async def take(self, body: bytes, headers: Mapping[str, str]) -> Job:
        """Apply one update; return the changed job, so that a remote worker sees when to stop.

        Raises ParleyError (unauthorized), Refused (bad_parameter), JobNotFound.
        """
        update = await asyncio.to_thread(self._verified, body, headers)
        if not isinstance(update, dict) or not isinstance(update.get("job_id"), str):
            raise Refused("Send a JSON object with job_id, attempt and status.", code="bad_parameter")
        job = replace(await self._store.get(update["job_id"]), lease=str(update.get("attempt") or ""))
        match update.get("status"):
            case "processing":
                await self._progress(job, update)
            case "completed":
                await self._complete(job, update.get("result"))
            case "failed":
                error = update.get("error") if isinstance(update.get("error"), dict) else {}
                message = str(error.get("message") or "The remote worker failed.")[:500]  # type: ignore[union-attr]
                await self._store.fail(job, str(error.get("code") or "stt_failed")[:64], message)  # type: ignore[union-attr]
            case _:
                raise Refused("status must be processing, completed or failed.", code="bad_parameter")
        return await self._store.get(job.id)

    async def check_file(self, job_id: str, attempt: str, signature: str) -> Job:
        """Return the job whose file may be downloaded. Raises ParleyError (unauthorized), with the same text for a
        wrong signature, an attempt that is over and a missing job, so that strangers cannot find out IDs."""
        refused = ParleyError("This attempt at the job is over.", code="unauthorized")
        if not _same(file_signature(self._secret, job_id, attempt), signature):
            raise refused
        try:
            job = await self._store.get(job_id)
        except JobNotFound:
            raise refused from None
        if job.lease is None or job.lease != attempt:
            raise refused
        return job

    def _verified(self, body: bytes, headers: Mapping[str, str]) -> object:
        try:
            return encodable_json(self._signer.verify(body, dict(headers)))
        except (WebhookVerificationError, ValueError, RecursionError):
            raise ParleyError("The signature is missing or wrong (Standard Webhooks).", code="unauthorized") from None

    async def _progress(self, job: Job, update: dict[str, object]) -> None:
        done_s, duration_s = _seconds(update.get("done_s")), _seconds(update.get("duration_s"))
        progress = min(0.99, done_s / duration_s) if duration_s else 0.0
        await self._store.update(job, progress=progress, done_s=done_s, duration_s=duration_s or None)

    async def _complete(self, job: Job, result: Any) -> None:
        try:
            segments = await asyncio.to_thread(_segments, result["segments"])
            language = result.get("language")
            duration_s = _seconds(result["duration"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Refused(
                "result must be an object with duration, language and segments.", code="bad_parameter"
            ) from None
        engine = _engine_of(job.options.model_id)
        language = str(language)[:10] if language else None
        body = await asyncio.to_thread(store_form, segments, language=language, duration_s=duration_s, engine=engine)
        await self._store.complete(job, key_of(job.sha256 or "", job.options, engine), body, duration_s)


def _seconds(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e7:
        return float(value)
    return 0.0


def _probability(value: Any) -> float:
    """Return a probability, 1 if it is missing. Raises TypeError, ValueError."""
    return 1.0 if value is None else float(value)


def _segments(told: object) -> list[Segment]:
    """Parse segments. Raises KeyError, TypeError, ValueError, AttributeError for invalid ones."""
    if not isinstance(told, list) or len(told) > MAX_SEGMENTS:
        raise TypeError
    return [
        Segment(
            _seconds(one["start"]),
            _seconds(one["end"]),
            str(one["text"]).strip(),
            words=[
                Word(str(w["word"]), _seconds(w["start"]), _seconds(w["end"]), _probability(w.get("probability")))
                for w in one.get("words") or ()
            ],
            speaker=str(one["speaker"])[:64] if one.get("speaker") else None,
            id=number,
        )
        for number, one in enumerate(told)
    ]

"""Jobs that are transcribed on another machine: posted to it, and told about by its signed updates.

Both directions are signed as Standard Webhooks has it, with the deployment's secret. An attempt is known by its lease:
what an earlier attempt still has to say changes nothing, and a job that was cancelled has no attempt any more.
"""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import httpx
from standardwebhooks import WebhookVerificationError

from jobs.errors import FetchFailed, JobNotFound, Refused
from jobs.result import key_of, store_form
from jobs.schema import Job
from jobs.store import JobStore
from jobs.webhooks import sign, signer
from pipeline import tracing
from pipeline.encodable import encodable_json
from pipeline.errors import ConfigError, ParleyError
from pipeline.settings import Settings
from pipeline.stt import Segment, Word

ENGINE = "modal"
TASK = "transcribe-recording"
"""The task of deploy/trigger/."""
POST_S = 30.0
LOOK_S = 5.0
UPDATES = "/api/v1/webhooks/transcription"
"""Where updates are taken, below APP_URL."""
MAX_SEGMENTS = 200_000


def _engine_of(model_id: str | None) -> str:
    return ENGINE if model_id is None else f"{ENGINE}: {model_id}"


class Outside:
    """Posts jobs to a worker elsewhere and waits for what comes of them."""

    def __init__(self, store: JobStore, settings: Settings, secret: str) -> None:
        """Raises ConfigError for settings with which no update could ever come."""
        if not settings.modal_webhook_url or not settings.app_url:
            raise ConfigError("JOB_ENGINE=modal needs MODAL_WEBHOOK_URL, and APP_URL for what comes back.")
        self._store = store
        self._settings = settings
        self._secret = secret
        self._signer = signer(secret)

    def engine_of(self, model_id: str | None) -> str:
        return _engine_of(model_id)

    async def transcribe(self, job: Job) -> None:
        """Raises FetchFailed when it cannot be posted, TimeoutError when nothing was heard of it for too long."""
        await self._post(job)
        silence_s = self._settings.job_silence_s
        seen, since = -1, time.monotonic()
        while time.monotonic() - since < silence_s:
            # Whoever runs this watches the job's state and breaks it off; here is only a look at its progress.
            now = await self._store.get(job.id)
            if now.version != seen:
                seen, since = now.version, time.monotonic()
            await asyncio.sleep(min(LOOK_S, silence_s))
        raise TimeoutError

    async def _post(self, job: Job) -> None:
        base = self._settings.app_url.rstrip("/")
        assert job.lease is not None  # noqa: S101  # it is being worked on
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
            url = f"{self._settings.trigger_url.rstrip('/')}/api/v1/tasks/{TASK}/trigger"
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
                answer = await client.post(url, content=body.encode(), headers=headers | tracing.headers())
        except httpx.HTTPError as error:
            raise FetchFailed(
                "The worker elsewhere cannot be reached (MODAL_WEBHOOK_URL).", code="worker_lost"
            ) from error
        if not answer.is_success:
            raise FetchFailed(f"The worker elsewhere answered {answer.status_code}.", code="worker_lost")


def file_signature(secret: str, job_id: str, attempt: str) -> str:
    """What opens the file of a job to whoever does this attempt at it."""
    return _signature(secret, "file", job_id, attempt)


def updates_signature(secret: str, job_id: str, attempt: str) -> str:
    """What lets whoever does this attempt at a job send updates at all: their bodies are large, and nobody else's is
    read."""
    return _signature(secret, "updates", job_id, attempt)


def _signature(secret: str, purpose: str, job_id: str, attempt: str) -> str:
    said = f"{purpose} {job_id} {attempt}".encode("utf-8", "replace")
    return hmac.new(secret.encode(), said, hashlib.sha256).hexdigest()


def _same(good: str, sent: str) -> bool:
    return hmac.compare_digest(good.encode(), sent.encode("utf-8", "replace"))


class Updates:
    """What workers elsewhere have to say."""

    def __init__(self, store: JobStore, secret: str) -> None:
        self._store = store
        self._secret = secret
        self._signer = signer(secret)

    def check_sender(self, job_id: str, attempt: str, signature: str) -> None:
        """Whether an update is worth reading. Raises ParleyError (unauthorized)."""
        good = updates_signature(self._secret, job_id, attempt)
        if not _same(good, signature):
            raise ParleyError("Send updates to the updates_url of the job.", code="unauthorized")

    async def take(self, body: bytes, headers: Mapping[str, str]) -> Job:
        """One update; the job after it, so that a worker sees when it may stop.

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
                message = str(error.get("message") or "The worker elsewhere failed.")[:500]  # type: ignore[union-attr]
                await self._store.fail(job, str(error.get("code") or "stt_failed")[:64], message)  # type: ignore[union-attr]
            case _:
                raise Refused("status: processing, completed or failed.", code="bad_parameter")
        return await self._store.get(job.id)

    async def check_file(self, job_id: str, attempt: str, signature: str) -> Job:
        """The job whose file may be had. Raises ParleyError (unauthorized), with the same answer whether the signature
        is wrong, the attempt is over, or there is no such job: a stranger learns nothing of ids."""
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

    def _verified(self, body: bytes, headers: Mapping[str, str]) -> Any:
        try:
            return encodable_json(self._signer.verify(body, dict(headers)))
        except (WebhookVerificationError, ValueError, RecursionError):
            raise ParleyError("The signature is missing or wrong (Standard Webhooks).", code="unauthorized") from None

    async def _progress(self, job: Job, update: dict[str, Any]) -> None:
        done_s, duration_s = _seconds(update.get("done_s")), _seconds(update.get("duration_s"))
        progress = min(0.99, done_s / duration_s) if duration_s else 0.0
        await self._store.update(job, progress=progress, done_s=done_s, duration_s=duration_s or None)

    async def _complete(self, job: Job, result: Any) -> None:
        try:
            segments = _segments(result["segments"])
            language = result.get("language")
            duration_s = _seconds(result["duration"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Refused("result: an object with duration, language and segments.", code="bad_parameter") from None
        engine = _engine_of(job.options.model_id)
        body = store_form(
            segments, language=str(language)[:10] if language else None, duration_s=duration_s, engine=engine
        )
        await self._store.complete(job, key_of(job.sha256 or "", job.options, engine), body, duration_s)


def _seconds(value: Any) -> float:
    ok = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e7
    return float(value) if ok else 0.0


def _probability(value: Any) -> float:
    """1 where none is told. Raises TypeError, ValueError."""
    return 1.0 if value is None else float(value)


def _segments(told: Any) -> list[Segment]:
    """Raises KeyError, TypeError, ValueError, AttributeError for what is none."""
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

"""Execution of a job under any queue: fetch its file, transcribe it, store the result."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import IO, Protocol

from jobs import database, metrics
from jobs.addresses import Reachable
from jobs.errors import FetchFailed, Refused
from jobs.fetch import fetch
from jobs.files import FileStore
from jobs.job import Job
from jobs.result import key_of, store_form
from jobs.store import JobStore
from pipeline.errors import BadInput, EngineUnavailable, Overloaded, ParleyError, StorageError, StorageFull
from pipeline.settings import Settings
from pipeline.stt import Segment
from pipeline.support.background import background
from pipeline.support.encodable import encodable
from pipeline.telemetry import tracing
from pipeline.transcripts.long_files import Finished, Progress
from pipeline.transcripts.subtitles import joined
from pipeline.transcripts.transcriber import Transcriber
from pipeline.transcripts.transcription import Transcription
from pipeline.workers.caller import Urgency, calling

log = logging.getLogger(__name__)

TELL_S = 0.5
"""Minimum interval between updates of a job's progress in the database, in seconds."""
BEAT_S = 0.5
"""Interval in seconds at which a job worker checks its lease. A job that is cancelled elsewhere stops within this."""
SILENT_S = 20.0
"""Seconds without a heartbeat after which a job worker counts as gone and its job is free."""
RETRY_S = 5.0
"""Delay between the first failure and the second attempt, in seconds; doubles each time."""
MAX_RETRY_S = 3600.0
ATTEMPTS = 3
"""Maximum number of attempts at a job that fails for a reason that can be temporary."""
PARTIAL_CHARS = 2_000
"""Length of the text so far that a running job shows: its end."""
PROGRESS_S = 900.0
"""Timeout for a job's next progress, in seconds."""
ROOM_RETRIES = 12
"""Factor on RETRY_S for the wait after a full disk, which does not count as an attempt."""
HOPELESS = frozenset({"unsupported_language"})
"""Recognisers' error codes for which a retry is useless."""
HEARD = 0.8
"""Progress of a job after recognition, before its speakers are identified."""


WORDS = {"completed": "completed", "failed": "failed", "again": "needs a retry", "lost": "was given up here"}
"""Outcome of an attempt → its text in the log."""


class Remote(Protocol):
    """A remote worker, whose results reach the table independently of this object."""

    def engine_of(self, model_id: str | None) -> str:
        """Return the engine like a transcriber, but without a check: only the remote worker knows its models."""
        ...

    async def transcribe(self, job: Job) -> None:
        """Wait until the job makes no progress for too long. When the job ends, the caller cancels this.

        Raises FetchFailed, TimeoutError.
        """
        ...


async def engine_of(transcriber: Transcriber, remote: Remote | None, model_id: str | None) -> str:
    """Return the engine that makes a model's results. Raises UnknownModel."""
    return await transcriber.engine_of(model_id) if remote is None else remote.engine_of(model_id)


class Runner:
    """Runs claimed jobs."""

    def __init__(
        self, store: JobStore, files: FileStore, transcriber: Transcriber, settings: Settings,
        changed: Callable[[str], None], remote: Remote | None = None,
    ) -> None:  # fmt: skip
        """changed: called with the ID of a changed job. remote: a remote worker that transcribes instead."""
        self._store = store
        self._files = files
        self._transcriber = transcriber
        self._settings = settings
        self._changed = changed
        self._remote = remote
        self._rule = Reachable(settings.url_allow)

    async def run(self, job: Job) -> float | None:
        """Run a job until it has ended, needs a retry, or has lost its lease.

        Return the seconds until it is due again, or None if it is not. On cancellation, release the job.
        """
        began, outcome = time.monotonic(), "lost"
        try:
            outcome, due_in_s = await self._attempt(job)
            return due_in_s
        except asyncio.CancelledError:
            # If a client has cancelled the job, its lease is already lost, and this has no effect.
            await asyncio.shield(self._store.release(job))
            raise
        finally:
            seconds = time.monotonic() - began
            metrics.ended(outcome, seconds)
            log.info("job %s %s after %.1f s", job.id, WORDS[outcome], seconds)
            self._changed(job.id)

    async def _attempt(self, job: Job) -> tuple[str, float | None]:
        """Return the outcome (one of `jobs.metrics.OUTCOMES`), and the seconds until the job is due again."""
        try:
            async with background(self._traced(job)) as working, background(self._beat(job)) as beating:
                await asyncio.wait([working, beating], return_when=asyncio.FIRST_COMPLETED)
            if working.cancelled():
                return "lost", None
            working.result()
            return "completed", None
        except Overloaded as error:
            in_s = float(error.retry_after_s)
            await self._store.again(job, error.code, error.message, in_s=in_s, counted=False)
            return "again", in_s
        except BadInput as error:
            return await self._fail(job, error.code, error.message)
        except EngineUnavailable as error:
            if error.code == StorageFull.code:
                return await self._for_room(job, error)
            return await self._fail(job, error.code, error.full_message)
        except StorageError as error:
            if error.setting == database.SETTING:
                raise  # does not count as an attempt: a sweep queues the unchanged job again
            return await self._for_room(job, error)
        except ParleyError as error:
            if error.code not in HOPELESS:
                return await self._again(job, error.code, error.message)
            return await self._fail(job, error.code, error.message)
        except Exception:
            log.exception("job %s failed", job.id)
            return await self._again(job, "internal", "Something went wrong inside the service.")

    async def _fail(self, job: Job, code: str, message: str) -> tuple[str, None]:
        log.info("job %s: %s: %s", job.id, code, message)
        await self._store.fail(job, code, message)
        return "failed", None

    async def _again(self, job: Job, code: str, message: str) -> tuple[str, float | None]:
        if job.attempts >= ATTEMPTS:
            return await self._fail(job, code, message)
        in_s = min(MAX_RETRY_S, RETRY_S * 2.0 ** (job.attempts - 1))
        log.info("job %s: %s: %s Retry in %g s.", job.id, code, message, in_s)
        await self._store.again(job, code, message, in_s=in_s)
        return "again", in_s

    async def _for_room(self, job: Job, error: ParleyError) -> tuple[str, float]:
        """Schedule a retry for a time when the disk may have space."""
        in_s = ROOM_RETRIES * RETRY_S
        log.warning("job %s: %s Retry in %g s.", job.id, error.message, in_s)
        await self._store.again(job, error.code, error.message, in_s=in_s, counted=False)
        return "again", in_s

    async def _beat(self, job: Job) -> None:
        """Renew the heartbeat until the lease is lost, or until it cannot be confirmed for SILENT_S."""
        heard = time.monotonic()
        while time.monotonic() - heard < SILENT_S:
            try:
                if not await self._store.beat(job):
                    return
                heard = time.monotonic()
            except StorageError:  # already logged
                pass
            except Exception as error:  # the database may be unavailable for a moment
                log.warning("job %s: its heartbeat cannot be written: %s", job.id, type(error).__name__)
            await asyncio.sleep(BEAT_S)

    async def _traced(self, job: Job) -> None:
        span = tracing.span("job", {"parley.job": job.id, "parley.attempt": job.attempts}, within=job.trace)
        with span, calling(account=job.owner, urgency=Urgency.IDLE if job.background else None):
            try:
                await self._work(job)
            except FileNotFoundError:
                raise Refused("This job's file no longer exists; send it again.", code="file_missing") from None
            except TimeoutError:
                raise FetchFailed(f"The job made no progress for {PROGRESS_S:g} s.", code="timeout") from None

    async def _work(self, job: Job) -> None:
        if job.sha256 is None:
            job = await self._fetched(job)
        assert job.sha256 is not None  # noqa: S101  # fetched just now
        engine = await engine_of(self._transcriber, self._remote, job.options.model_id)
        key = key_of(job.sha256, job.options, engine)
        known = await self._store.result(key)
        if known is not None:
            told = await asyncio.to_thread(json.loads, known)
            await self._store.complete(job, key, known, told["duration"])
            return
        if self._remote is not None:
            await self._remote.transcribe(job)
            return
        await self._transcriber.check(job.options.request().refining)
        file = await asyncio.to_thread(self._files.open, job.sha256)
        try:
            found = await self._heard(job, file)
        finally:
            file.close()
        body = await asyncio.to_thread(
            store_form, found.segments, language=found.language, duration_s=found.duration_s, engine=engine
        )
        await self._store.complete(job, key, body, found.duration_s)

    async def _heard(self, job: Job, file: IO[bytes]) -> Transcription:
        """Transcribe a file."""
        wanted = job.options.request()
        share = HEARD if wanted.refining.wanted else 1.0
        told, silence_s, partial = 0.0, PROGRESS_S, ""
        loop = asyncio.get_running_loop()
        async with (
            asyncio.timeout(silence_s) as deadline,
            aclosing(self._transcriber.events(file, wanted)) as events,
        ):
            async for event in events:
                deadline.reschedule(loop.time() + silence_s)
                match event:
                    case Progress() if time.monotonic() - told >= TELL_S:
                        told = time.monotonic()
                        await self._tell(job, event, share, partial)
                    case Segment():
                        partial = joined((partial, event.text))[-PARTIAL_CHARS:]
                    case Finished():
                        # Refining reports no progress, but takes less time than the recording's duration.
                        deadline.reschedule(loop.time() + max(silence_s, event.duration_s))
                    case Transcription():
                        return event
                    case _:
                        pass
        raise AssertionError("the last event is the transcript")

    async def _tell(self, job: Job, at: Progress, share: float, partial: str) -> None:
        # Progress reaches 1 only with the result.
        progress = share * min(0.99, at.done_s / at.total_s) if at.total_s else 0.0
        await self._store.update(
            job, progress=progress, done_s=at.done_s, duration_s=at.total_s, partial=encodable(partial) or None
        )
        self._changed(job.id)

    async def _fetched(self, job: Job) -> Job:
        if job.source_url is None:
            raise Refused("This job has neither a file nor a URL.", code="file_missing")
        async with self._files.receive() as incoming:
            name = await fetch(job.source_url, incoming, self._rule)
            stored = await incoming.commit()
        filename = job.filename if name is None else name
        await self._store.update(job, sha256=stored.sha256, size_bytes=stored.size_bytes, filename=filename)
        return replace(job, sha256=stored.sha256, size_bytes=stored.size_bytes, filename=filename)

"""The jobs of a deployment: the interface for endpoints. `jobs.opening` opens it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from jobs.addresses import Reachable, host_of, port_of
from jobs.change_signal import Notice, Notices
from jobs.documents import Documents, Saved
from jobs.editing import Operation
from jobs.errors import FetchFailed, JobNotFound, NotPossible
from jobs.files import FileStore
from jobs.folders.folder import Folder
from jobs.folders.rows import Recorder
from jobs.insights.prompts import PROMPTS
from jobs.insights.rows import InsightStore
from jobs.janitor import Janitor
from jobs.job import Job, Options, Submission
from jobs.listing import Page, list_jobs, numbers, tags_of
from jobs.outbox import Outbox
from jobs.queue import Queue
from jobs.remote_worker import RemoteWorker, Updates
from jobs.result import download, key_of
from jobs.run import engine_of
from jobs.sound import Sound
from jobs.states import ALLOWED, Status
from jobs.store import JobStore
from jobs.transcript_library.search import Hits, search
from jobs.turns import Turns
from jobs.voiceprints import Voiceprints
from jobs.watching import Watching
from jobs.webhooks import Webhooks
from pipeline.settings import Settings
from pipeline.transcripts.subtitles import PLAIN, Layout
from pipeline.transcripts.transcriber import Transcriber

MAX_RENDERING = 2
"""Maximum number of transcripts that are converted to slow formats at a time, one of each owner; others wait."""
SLOW_FORMATS = ("pdf", "docx", "srt", "vtt", "ttml", "txt")
"""Formats that can take seconds for a long transcript: documents, and those whose lines are broken for a layout."""
MAX_UNPACKING = 2
"""Maximum number of archives that are unpacked at a time; others wait."""


class Jobs:
    """The interface of jobs for all endpoints, one per process; open it with `jobs.opening.open_jobs`."""

    def __init__(
        self, settings: Settings, store: JobStore, files: FileStore, queue: Queue, transcriber: Transcriber,
        remote: RemoteWorker | None, notices: Notices, outbox: Outbox, webhooks: Webhooks, janitor: Janitor,
        updates: Updates, watching: Watching, documents: Documents, sound: Sound, insights_due: Notice,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.files = files
        self.unpacking = asyncio.Semaphore(MAX_UNPACKING)
        """Held while an archive is unpacked, which occupies one of the shared threads."""
        self.rendering = Turns(MAX_RENDERING, "downloads")
        """Turns at converting a transcript to a slow format, which takes seconds in one of the shared threads."""
        self.insights = InsightStore(store.database)
        self.insight_prompts = PROMPTS
        """The deployment's instruction for each kind."""
        self.insights_due = insights_due
        """Told of new insights, and of changes of jobs."""
        self.reachable = Reachable(settings.url_allow)
        self.outbox = outbox
        self.janitor = janitor
        self.documents = documents
        self.sound = sound
        self.voiceprints = Voiceprints(store.database, documents, sound, transcriber.refiners)
        self._updates = updates
        self._watching = watching
        self._store = store
        self._queue = queue
        self._transcriber = transcriber
        self._remote = remote
        self._notices = notices
        self._webhooks = webhooks
        self.folders: Sequence[Folder] = ()
        """The watched folders."""
        self.relay_added: Callable[[], None] = lambda: None
        """Tells the other processes of the service that jobs were queued."""

    @property
    def here(self) -> bool:
        """Whether jobs run on this machine alone; elsewhere other engines can be installed."""
        return self._remote is None and self.settings.job_queue != "procrastinate"

    async def submit(
        self, submissions: Sequence[Submission], *, key: str | None = None, also: Recorder | None = None
    ) -> list[Job]:
        """Create a job for each submission, all or none. key: an Idempotency-Key together with its sender. also: called
        in the same transaction.

        Raises Refused, KeyReused, Overloaded.
        """
        for one in submissions:
            if one.webhook_url:
                self.reachable.check(one.webhook_url)
            if one.source_url is not None:
                await self._check_source(one.source_url)
        cached = [await self._result_key(one) for one in submissions]
        made, new = await self._store.submit(submissions, cached=cached, key=key, also=also)
        if new:
            await self._queue.added([job for job in made if job.status is Status.QUEUED])
            self.relay_added()
            if any(job.final for job in made):
                self._webhooks.added.tell()
                self.insights_due.tell()
        return made

    async def _check_source(self, url: str) -> None:
        built = self.reachable.check(url)
        with contextlib.suppress(FetchFailed):  # the name may be found when the job begins
            await self.reachable.look_up(host_of(built), port_of(built))

    async def check_options(self, options: Options) -> None:
        """Check that a job can have these options. Raises UnknownModel, which lists the available models; BadInput
        (unsupported_language) if the model lacks the language; and EngineUnavailable if speakers are requested and no
        engine for them runs here."""
        await engine_of(self._transcriber, self._remote, options.model_id)
        if self.here:
            await self._transcriber.check_language(options.request())
            if options.diarize:
                await self._transcriber.refiners.probe_speakers()

    async def _result_key(self, one: Submission) -> str | None:
        if one.sha256 is None:
            return None
        engine = await engine_of(self._transcriber, self._remote, one.options.model_id)
        return key_of(one.sha256, one.options, engine)

    async def get(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        return await self._store.get(job_id)

    async def body(self, job: Job) -> str:
        """Return the result with all edits, JSON from `jobs.result.store_form`. Raises NotPossible (no_result)."""
        body = await self.stored_result(job)
        if body is None:
            raise NotPossible(f"The job does not have a result; it is {job.status.value}.", code="no_result")
        return body

    async def stored_result(self, job: Job) -> str | None:
        """Return the result with all edits, JSON from `jobs.result.store_form`, or None without a result."""
        return await self.documents.body(job)

    async def rendered(self, job: Job, kind: str, layout: Layout = PLAIN) -> str | bytes:
        """Return the transcript of a job in one of `jobs.result.FORMATS`. Raises NotPossible (no_result), BadInput
        (pdf_font_missing), Overloaded."""

        async def converted() -> str | bytes:
            body = await self.body(job)
            return await asyncio.to_thread(
                download, body, kind, job.speakers, layout, title=job.stem, created_at=job.created_at
            )

        return await (self.rendering.run(job.owner, converted) if kind in SLOW_FORMATS else converted())

    async def list(self, **wanted: Any) -> Page:
        """Call `jobs.listing.list_jobs`."""
        return await list_jobs(self._store.database, **wanted)

    async def numbers(self, owner: str | None = None) -> dict[Status, int]:
        """Return the number of jobs in each state. owner: only that caller's jobs."""
        return await numbers(self._store.database, owner)

    async def check(self) -> None:
        """Check that jobs can be accepted. Raises StorageError."""
        await self._store.database.check()

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job at once; its job worker stops within a second. Raises JobNotFound, NotPossible."""
        job = await self._store.cancel(job_id)
        await self._queue.cancelled(job)
        self.changed(job_id)
        return job

    async def retry(self, job_id: str) -> Job:
        """Queue a failed, expired or cancelled job again. Raises JobNotFound, NotPossible, and as `check_options` does:
        the deployment can have changed since the job was submitted."""
        job = await self._store.get(job_id)
        if Status.QUEUED in ALLOWED[job.status] and job.final:
            await self.check_options(job.options)
        job = await self._store.retry(job_id)
        await self._queue.added([job])
        self.relay_added()
        self.changed(job_id)
        return job

    async def name_speakers(self, job: Job, names: Mapping[str, str], *, author: str) -> Job:
        """Set the names of the speakers: a new version of the transcript if there is one. Raises JobNotFound,
        VersionConflict, Overloaded."""
        if job.result_key is None:
            named = await self._store.name_speakers(job.id, names)
        else:
            await self.documents.name_speakers(job, names, author=author)
            named = await self._store.get(job.id)
        self._notices.tell(job.id)
        return named

    async def edit(self, job: Job, version: int, operations: Sequence[Operation], *, author: str) -> Saved:
        """Call `Documents.edit`."""
        saved = await self.documents.edit(job, version, operations, author=author)
        self._notices.tell(job.id)
        return saved

    async def restore(self, job: Job, version: int, wanted: int, *, author: str) -> Saved:
        """Call `Documents.restore`."""
        saved = await self.documents.restore(job, version, wanted, author=author)
        self._notices.tell(job.id)
        return saved

    async def again(self, job: Job, options: Options, *, owner: str) -> Job:
        """Create a job of the same recording with other options. Raises JobNotFound without its file, and as `submit`
        does."""
        there = job.sha256 is not None and await asyncio.to_thread(self.files.path(job.sha256).is_file)
        if not there and (job.sha256 is not None or job.source_url is None):
            raise JobNotFound("The file of this job does not exist.")
        url = job.source_url if job.sha256 is None else None
        [made] = await self.submit(
            [Submission(job.filename, options, job.sha256, job.size_bytes, url, job.session_id, owner=owner)]
        )
        return made

    async def arrange(
        self, job_id: str, *, filename: str | None = None, tags: Sequence[str] | None = None, pinned: bool | None = None
    ) -> Job:
        """Change the name, the tags or the pin of a job; None leaves them. Raises JobNotFound."""
        job = await self._store.arrange(job_id, filename=filename, tags=tags, pinned=pinned)
        self._notices.tell(job_id)
        return job

    async def search(self, query: str, **wanted: Any) -> Hits:
        """Call `jobs.transcript_library.search.search`."""
        return await search(self._store.database, query, **wanted)

    async def tags(self, owner: str | None) -> dict[str, int]:
        """Call `jobs.listing.tags_of`."""
        return await tags_of(self._store.database, owner)

    async def get_all(self, job_ids: Sequence[str], owner: str | None) -> Sequence[Job]:
        """Return those of these jobs that exist, in this order. owner: only that caller's jobs."""
        return await self._store.get_all(job_ids, owner)

    async def delete(self, job_id: str) -> None:
        """Remove a job in any state. The next cleaning removes its file and result unless another job uses them.

        Raises JobNotFound.
        """
        stopped = await self._store.delete(job_id)
        if stopped is not None:
            await self._queue.cancelled(stopped)
        self.changed(job_id)

    def check_sender(self, job_id: str, attempt: str, signature: str) -> None:
        """Check the sender of an update before reading it. Raises the errors of `jobs.remote_worker.Updates`."""
        self._updates.check_sender(job_id, attempt, signature)

    async def updated(self, body: bytes, headers: Mapping[str, str]) -> Job:
        """Apply a remote worker's update; return the changed job. Raises the errors of `jobs.remote_worker.Updates`."""
        job = await self._updates.take(body, headers)
        self.changed(job.id)
        return job

    async def file_for(self, job_id: str, attempt: str, signature: str) -> Job:
        """Return the job whose file a remote worker may download. Raises the errors of `jobs.remote_worker.Updates`."""
        return await self._updates.check_file(job_id, attempt, signature)

    async def redeliver(self, job_id: str, delivery_id: str) -> None:
        """Restart a delivery to a webhook. Raises JobNotFound."""
        await self.outbox.redeliver(job_id, delivery_id)
        self._webhooks.added.tell()

    def watch(self, job_id: str, *, silent_s: float) -> AsyncGenerator[Job | None, None]:
        """Call `Watching.watch`."""
        return self._watching.watch(job_id, silent_s=silent_s)

    def stop_watching(self) -> None:
        """End all watches of jobs when the service stops."""
        self._watching.stop()

    async def stop_working(self) -> None:
        """Stop running jobs. Running jobs return to the queue, for the next start or another process."""
        await self._queue.stop()

    def changed(self, job_id: str) -> None:
        """Signal a change of this job."""
        self._notices.tell(job_id)
        self._webhooks.added.tell()
        self.insights_due.tell()

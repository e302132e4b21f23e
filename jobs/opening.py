"""Opening the jobs of a deployment: the database, the queue and the background tasks, opened and closed together."""

import asyncio
import functools
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from jobs.addresses import Reachable
from jobs.cache import open_cache
from jobs.change_signal import Notice, Notices
from jobs.database import Database, open_database
from jobs.documents import Documents
from jobs.errors import Refused
from jobs.files import FileStore
from jobs.folders.configured import configured
from jobs.folders.folder import Doors, Folder
from jobs.folders.rows import Recorder
from jobs.folders.watcher import Watcher
from jobs.insights.prompts import kinds_after, read_prompts
from jobs.janitor import Janitor
from jobs.job import Submission
from jobs.other_processes import join_others
from jobs.outbox import Outbox
from jobs.queue import Queue
from jobs.queue.local import LocalQueue
from jobs.remote_worker import RemoteWorker, Updates
from jobs.run import Runner
from jobs.service import Jobs
from jobs.sound import Sound
from jobs.store import JobStore
from jobs.transcript_library.backlog import Backlog
from jobs.watching import Watching
from jobs.webhooks import Webhooks, secret_of
from pipeline.errors import ConfigError
from pipeline.settings import Settings
from pipeline.support.json_types import JsonObject
from pipeline.transcripts.subtitles import READABLE
from pipeline.transcripts.transcriber import Transcriber

MAX_JOBS = 100_000
"""Maximum number of waiting jobs; further ones are refused at once. One takes a few KB in the database."""


@asynccontextmanager
async def open_jobs(settings: Settings, transcriber: Transcriber) -> AsyncIterator[Jobs]:
    """Open the jobs: migrate the database, recover interrupted jobs and start the background tasks. Raises
    ConfigError."""
    _check_webhook(settings)
    places = configured(settings)
    prompts = await asyncio.to_thread(read_prompts, settings.insights_file)
    files = await asyncio.to_thread(FileStore, settings.upload_dir, settings.max_file_size)
    async with AsyncExitStack() as stack:
        stack.callback(files.close)
        secret = await asyncio.to_thread(secret_of, settings)
        database = await stack.enter_async_context(open_database(settings.database_url))
        cache = await stack.enter_async_context(open_cache(settings.redis_url))
        store = JobStore(
            database, max_waiting=MAX_JOBS, webhook_url=settings.webhook_url, cache=cache,
            after=kinds_after(settings.after_transcription),
        )  # fmt: skip
        documents = Documents(store)
        notices, insights_due, outbox = Notices(), Notice(), Outbox(database)

        async def describe(job_id: str) -> JsonObject:
            job = await store.get(job_id)
            told: JsonObject = {"job_id": job.id, "filename": job.filename, "session_id": job.session_id}
            if job.error_code:
                told["error"] = {"code": job.error_code, "message": job.error_message}
            if (body := await documents.body(job)) is not None:
                result = await asyncio.to_thread(json.loads, body)
                told |= {name: result[name] for name in ("text", "language", "duration")}
            return told

        async def trace_of(job_id: str) -> str | None:
            return (await store.get(job_id)).trace

        webhooks = Webhooks(outbox, settings, secret, describe, trace_of)

        def changed(job_id: str) -> None:
            notices.tell(job_id)
            webhooks.added.tell()
            insights_due.tell()

        remote = RemoteWorker(store, settings, secret) if settings.modal_webhook_url else None
        runner = Runner(store, files, transcriber, settings, changed, remote)
        queue = _queue(settings, store, runner)
        janitor = Janitor(database, files, settings)
        watching = Watching(store, notices)
        backlog = Backlog(database, settings.upload_dir / "search.lock")
        async with queue.open(), asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in (webhooks.run(), janitor.run(), watching.run(), backlog.run())]
            try:
                opened = Jobs(
                    settings,
                    store,
                    files,
                    queue,
                    transcriber,
                    remote,
                    notices,
                    outbox,
                    webhooks,
                    janitor,
                    Updates(store, secret),
                    watching,
                    documents,
                    Sound(database, files, settings.max_file_seconds),
                    insights_due,
                )
                opened.relay_added = join_others(notices, queue)
                opened.insight_prompts = prompts
                opened.folders = [Folder(place, _doors(opened, database)) for place in places]
                tasks += [group.create_task(Watcher(folder).run()) for folder in opened.folders]
                yield opened
            finally:
                for task in tasks:
                    task.cancel()


def _doors(jobs: Jobs, database: Database) -> Doors:
    """Return what watched folders need."""

    async def submit(one: Submission, record: Recorder) -> None:
        await jobs.submit([one], also=record)

    return Doors(database, jobs.files, jobs.check_options, submit, functools.partial(jobs.rendered, layout=READABLE))


def _check_webhook(settings: Settings) -> None:
    """Raises ConfigError for an unusable WEBHOOK_URL."""
    if settings.webhook_url:
        try:
            Reachable(settings.url_allow).check(settings.webhook_url)
        except Refused as refused:
            raise ConfigError(f"WEBHOOK_URL: {refused.message}") from None


def _queue(settings: Settings, store: JobStore, runner: Runner) -> Queue:
    if settings.job_queue != "procrastinate":
        return LocalQueue(store, runner, workers=settings.job_workers, lock=settings.upload_dir / "queue.lock")
    if store.database.is_sqlite:
        raise ConfigError("JOB_QUEUE=procrastinate needs PostgreSQL; see DATABASE_URL.")
    from jobs.queue.procrastinate import ProcrastinateQueue  # an extra

    return ProcrastinateQueue(store, runner, database_url=settings.database_url, workers=settings.job_workers)

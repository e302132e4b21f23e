"""`python main.py worker`: do the jobs that services take in, here or on other machines (JOB_QUEUE=procrastinate)."""

import asyncio
import signal

from commands.start import load_settings, progress_bar, run
from pipeline import tracing
from pipeline.assistant import open_stt
from pipeline.errors import ConfigError
from pipeline.refining import open_refiners
from pipeline.settings import Settings


def worker() -> None:
    """Do transcription jobs, beside the services that take them in."""
    settings = load_settings()
    with tracing.exporting():
        run(settings, _work(settings))


async def _work(settings: Settings) -> None:
    from jobs.run import Resident
    from jobs.service import open_jobs

    if settings.job_queue != "procrastinate":
        raise ConfigError("A worker needs JOB_QUEUE=procrastinate, and DATABASE_URL and UPLOAD_DIR of the service.")
    if not settings.job_workers:
        raise ConfigError("A worker with JOB_WORKERS=0 would do nothing.")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with progress_bar() as report, open_refiners(settings) as refiners, open_stt(settings, report) as hears:
        transcriber = Resident(hears.engine, f"{hears.info.engine}: {hears.info.model}", refiners)
        async with open_jobs(settings, transcriber):
            print(f"parley: {settings.job_workers} at a time, heard by {transcriber.engine}", flush=True)
            await stop.wait()

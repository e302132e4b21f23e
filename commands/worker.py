"""`python main.py worker`: do the jobs that services take in, here or on other machines (JOB_QUEUE=procrastinate)."""

import asyncio
import logging
import signal

from commands.start import leave, leave_within, load_settings, progress_bar, run
from pipeline import tracing
from pipeline.assistant import open_stt
from pipeline.errors import ConfigError
from pipeline.exposing import exposed
from pipeline.refining import open_refiners
from pipeline.settings import Settings
from pipeline.stt.recognisers import open_recognisers
from pipeline.workers.hardware import detect

END_S = 5.0
"""What a worker does when it is asked to stop has so long to end in order, in seconds."""


def worker() -> None:
    """Do transcription jobs, beside the services that take them in."""
    settings = load_settings()
    with tracing.exporting():
        run(settings, _work(settings), level=logging.INFO, ends=True)
    leave()


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
    hardware = await asyncio.to_thread(detect)
    async with (
        progress_bar() as report,
        open_refiners(settings) as refiners,
        open_stt(settings, report) as hears,
        open_recognisers(settings, hears, hardware) as recognisers,
        exposed(settings, lambda: (hears.now,)),
        open_jobs(settings, Resident(recognisers, refiners)),
    ):
        heard_by = f"{hears.info.engine}: {hears.info.model}"
        print(f"parley: {settings.job_workers} at a time, heard by {heard_by}", flush=True)
        await stop.wait()
        leave_within(END_S)

"""`python main.py worker`: run the jobs of services, here or on other machines (JOB_QUEUE=procrastinate)."""

import asyncio
import logging
import signal
from typing import Annotated

import typer

from commands.start import leave, leave_within, load_settings, progress_bar, run
from commands.unknown_settings import warn_of_unknown
from pipeline.assistant import open_stt
from pipeline.errors import ConfigError
from pipeline.settings import Settings
from pipeline.telemetry import tracing
from pipeline.telemetry.prometheus import exposed
from pipeline.transcripts.transcriber import open_transcriber

END_S = 5.0
"""Seconds for the shutdown after a worker was asked to stop."""


MetricsOption = Annotated[
    str,
    typer.Option(
        metavar="HOST:PORT",
        help="Address on which to serve metrics for Prometheus, to every client that reaches it. Default: none.",
    ),
]


def worker(metrics: MetricsOption = "") -> None:
    """Run transcription jobs for the services that accept them."""
    settings = load_settings()
    with tracing.exporting():
        run(settings, _work(settings, metrics), level=logging.INFO, ends=True)
    leave()


async def _work(settings: Settings, metrics: str) -> None:
    from jobs.opening import open_jobs

    warn_of_unknown()
    if settings.job_queue != "procrastinate":
        raise ConfigError("A job worker needs JOB_QUEUE=procrastinate, and the service's DATABASE_URL and UPLOAD_DIR.")
    if not settings.job_workers:
        raise ConfigError("A job worker needs JOB_WORKERS of 1 or more.")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with (
        progress_bar() as report,
        open_stt(settings, report) as hears,
        open_transcriber(settings, hears) as transcriber,
        exposed(metrics, lambda: (hears.now,)),
        open_jobs(settings, transcriber),
    ):
        heard_by = f"{hears.info.engine}: {hears.info.model}"
        print(f"parley: {settings.job_workers} jobs at a time, transcribed by {heard_by}", flush=True)
        await stop.wait()
        leave_within(END_S)

"""`GET /metrics`: what Prometheus is told. What happens is counted in `pipeline.observing`; how things stand is looked
up here when it is asked."""

import asyncio
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.requests import Request
from fastapi.responses import Response
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.concurrency import run_in_threadpool

from jobs.states import Status
from pipeline.exposing import Collected, engine_metrics, gauge
from server.access import Budgets, require_key

router = APIRouter(tags=["health"], dependencies=[Depends(require_key)])


@router.get(
    "/metrics",
    summary="What Prometheus asks for",
    response_class=Response,
    responses={200: {"description": "The metrics.", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """In Prometheus' text format."""
    text = await exposition(request.app)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, "Cache-Control": "no-store"})


async def exposition(app: FastAPI) -> bytes:
    """All instruments of the process, and the state of this service."""
    state = app.state
    try:
        jobs = await state.jobs.numbers()
    except Exception:  # the database is away; the rest is what one wants to know then
        jobs = None
    here = CollectorRegistry(auto_describe=False)
    found = [*_service(state), *engine_metrics(state.assistant.engines), *_jobs(jobs)]
    here.register(Collected(lambda: found))
    return await run_in_threadpool(lambda: generate_latest(REGISTRY) + generate_latest(here))


def _service(state: Any) -> Iterator[Metric]:
    settings = state.assistant.settings
    yield gauge("parley_sessions", "Conversations that are open.", state.access.places.taken)
    yield gauge("parley_sessions_max", "Conversations that may be open: MAX_SESSIONS.", settings.max_sessions)
    yield gauge("parley_requests_running", "Requests and WebSockets that are served.", state.draining.running)
    yield gauge(
        "parley_recordings_running",
        "Recordings that are transcribed for a request.",
        state.access.budgets.recordings.taken,
    )
    budgets: Budgets = state.access.budgets
    yield gauge("parley_uploads_running", "Requests with files, and recordings in pieces.", budgets.uploads.taken)
    yield gauge("parley_event_streams", "Streams of events of jobs that are open.", budgets.streams.taken)
    yield gauge(
        "parley_held_bytes", "Of messages, texts and sound that wait: see MAX_WAITING_BYTES.", budgets.memory.held
    )
    yield gauge("parley_tasks", "Tasks of the event loop: what grows for ever is a leak.", len(asyncio.all_tasks()))
    yield gauge("parley_draining", "1 while the service is being stopped.", state.draining.begun.is_set())
    yield gauge("parley_started_seconds", "When the service started, in seconds since 1970.", state.started)


def _jobs(numbers: dict[Status, int] | None) -> Iterator[Metric]:
    yield gauge("parley_jobs_readable", "0 while the table of jobs cannot be read.", numbers is not None)
    if numbers is not None:
        jobs = GaugeMetricFamily("parley_jobs", "Jobs in the table.", labels=["state"])
        for status, number in numbers.items():
            jobs.add_metric([status.value], number)
        yield jobs

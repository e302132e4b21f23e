"""`GET /metrics`: what Prometheus is told. What happens is counted in `pipeline.observing`; how things stand is looked
up here when it is asked."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.requests import Request
from fastapi.responses import Response
from prometheus_client import REGISTRY, CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.concurrency import run_in_threadpool

from jobs.states import Status
from pipeline.engines import EngineInfo
from server.access import require_key

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series for each series, that nobody asks for
router = APIRouter(tags=["health"], dependencies=[Depends(require_key)])

CALLS = ("waiting", "running")
REPLICAS = ("loaded", "unloaded")


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
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
    here.register(_Collected([*_service(state), *_models(state.assistant.engines), *_jobs(jobs)]))
    return await run_in_threadpool(lambda: generate_latest(REGISTRY) + generate_latest(here))


class _Collected:
    """A collector of what is known already."""

    def __init__(self, found: Sequence[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        yield from self._found


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _service(state: Any) -> Iterator[Metric]:
    settings = state.assistant.settings
    yield _gauge("parley_sessions", "Conversations that are open.", state.access.places.taken)
    yield _gauge("parley_sessions_max", "Conversations that may be open: MAX_SESSIONS.", settings.max_sessions)
    yield _gauge("parley_requests_running", "Requests and WebSockets that are served.", state.draining.running)
    yield _gauge("parley_recordings_running", "Recordings that are transcribed for a request.", state.files.taken)
    yield _gauge("parley_tasks", "Tasks of the event loop: what grows for ever is a leak.", len(asyncio.all_tasks()))
    yield _gauge("parley_draining", "1 while the service is being stopped.", state.draining.begun.is_set())
    yield _gauge("parley_started_seconds", "When the service started, in seconds since 1970.", state.started)


def _models(engines: Sequence[EngineInfo]) -> Iterator[Metric]:
    about = GaugeMetricFamily(
        "parley_engine", "What each stage runs on.", labels=["stage", "engine", "model", "device"]
    )
    calls = GaugeMetricFamily("parley_model_calls", "Calls at a local model.", labels=["stage", "state"])
    replicas = GaugeMetricFamily("parley_model_replicas", "Copies of a local model.", labels=["stage", "state"])
    restarts = CounterMetricFamily(
        "parley_model_restarts", "How often a local model was lost and started again.", labels=["stage"]
    )
    for info in engines:
        about.add_metric([info.stage, info.engine, info.model, info.device], 1)
        if (load := info.load) is not None:
            for state, number in zip(CALLS, (load.waiting, load.running), strict=True):
                calls.add_metric([info.stage, state], number)
            for state, number in zip(REPLICAS, (load.loaded, load.replicas - load.loaded), strict=True):
                replicas.add_metric([info.stage, state], number)
            restarts.add_metric([info.stage], load.restarts)
    yield from (about, calls, replicas, restarts)


def _jobs(numbers: dict[Status, int] | None) -> Iterator[Metric]:
    yield _gauge("parley_jobs_readable", "0 while the table of jobs cannot be read.", numbers is not None)
    if numbers is not None:
        jobs = GaugeMetricFamily("parley_jobs", "Jobs in the table.", labels=["state"])
        for status, number in numbers.items():
            jobs.add_metric([status.value], number)
        yield jobs

"""`GET /metrics`, for Prometheus. `pipeline.telemetry.metrics` counts events; this module reads the current state."""

from collections.abc import Iterator

from fastapi import APIRouter, Depends
from fastapi.requests import Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.concurrency import run_in_threadpool

from jobs.states import Status
from pipeline.telemetry.prometheus import Collected, engine_metrics, gauge
from server.access import require_key
from server.ops.numbers import Numbers, instruments, of_service
from server.state import State, state_of

router = APIRouter(tags=["health"], dependencies=[Depends(require_key)])


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"description": "The metrics.", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    text = await exposition(state_of(request))
    return Response(text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, "Cache-Control": "no-store"})


async def exposition(state: State) -> bytes:
    """Render all instruments and the state of this service, with several processes those of all of them."""
    try:
        jobs = await state.jobs.numbers()
    except Exception:  # the database is unavailable; the other metrics are needed most then
        jobs = None
    here = CollectorRegistry(auto_describe=False)
    found = [*_service(state, await of_service(state)), *engine_metrics(state.assistant.engines), *_jobs(jobs)]
    here.register(Collected(lambda: found))
    return await run_in_threadpool(lambda: generate_latest(instruments()) + generate_latest(here))


def _service(state: State, numbers: Numbers) -> Iterator[Metric]:
    settings, budgets = state.assistant.settings, state.access.budgets
    yield gauge("parley_processes", "Processes that serve connections: PROCESSES.", numbers.sums["processes"])
    yield gauge("parley_sessions", "Open conversations.", state.access.slots.total)
    yield gauge("parley_sessions_max", "Limit of open conversations: MAX_SESSIONS.", settings.max_sessions)
    yield gauge("parley_requests_running", "Requests and WebSockets being served.", numbers.sums["requests"])
    yield gauge("parley_recordings_running", "Recordings being transcribed for a request.", budgets.recordings.total)
    yield gauge("parley_uploads_running", "Uploads in progress, as forms or over a WebSocket.", budgets.uploads.total)
    yield gauge("parley_event_streams", "Open event streams of jobs.", budgets.streams.total)
    yield gauge(
        "parley_held_bytes",
        "Bytes of waiting messages, texts and sound: at most 256 MiB, or an eighth of the memory.",
        numbers.sums["held_bytes"],
    )
    yield gauge("parley_tasks", "Tasks of the event loop; steady growth means a leak.", numbers.sums["tasks"])
    yield gauge("parley_draining", "1 while the service is stopping.", state.draining.begun.is_set())
    yield gauge("parley_started_seconds", "Start time of the service in Unix seconds.", state.started)


def _jobs(numbers: dict[Status, int] | None) -> Iterator[Metric]:
    yield gauge("parley_jobs_readable", "0 if the jobs table cannot be read.", numbers is not None)
    if numbers is not None:
        jobs = GaugeMetricFamily("parley_jobs", "Jobs in the jobs table by state.", labels=["state"])
        for status, number in numbers.items():
            jobs.add_metric([status.value], number)
        yield jobs

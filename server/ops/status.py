"""`GET /status`: state of the service, for the page's Status tab and for operators with the admin permission."""

import time

from fastapi import APIRouter, Depends, Request

from jobs.service import Jobs
from pipeline.telemetry.metrics import Ended
from server.access import require_key
from server.openapi import ResponseModel, like
from server.ops.health import ENGINE, HARDWARE, Health, details, phase
from server.ops.numbers import of_service
from server.state import state_of

router = APIRouter(tags=["health"], dependencies=[Depends(require_key)])
TURN: dict[str, object] = {
    "id": "5f0c1d2e3a4b5c6d", "session": "4c1e", "kind": "live", "at": 1795195800.5, "outcome": "completed",
    "code": None, "timings_ms": {"transcript": 180.0, "first_token": 320.0, "first_audio": 510.0},
}  # fmt: skip


class Taken(ResponseModel):
    """Slots in use, and their limit."""

    open: int
    most: int


class StatusResponse(Health):
    """State and load of the service, with its latest turns."""

    model_config = like(
        {
            "status": "ok", "now": 1795195801.0, "started": 1795190000, "sessions": {"open": 1, "most": 50},
            "recordings": {"open": 0, "most": 4}, "engines": [ENGINE], **HARDWARE,
            "jobs": {"queued": 0, "running": 0, "completed": 1, "failed": 0, "cancelled": 0, "expired": 0},
            "turns": [TURN],
        }
    )  # fmt: skip

    now: float
    """Unix time."""
    started: float
    sessions: Taken
    recordings: Taken
    """Recordings being transcribed for a request."""
    jobs: dict[str, int] | None
    """Number of jobs in each state; null: the jobs table cannot be read."""
    turns: list[Ended]


@router.get("/status", summary="State and load", response_model_exclude_unset=True)
async def status(request: Request) -> StatusResponse:
    """Return conversations, engines, hardware, jobs by state, and the timings of the last hundred turns, without their
    texts."""
    state = state_of(request)
    settings = state.assistant.settings
    return StatusResponse(
        status=phase(request),
        now=time.time(),
        started=state.started,
        sessions=Taken(open=state.access.slots.total, most=settings.max_sessions),
        recordings=Taken(open=state.access.budgets.recordings.total, most=settings.max_files),
        **await details(request),
        jobs=await _jobs(state.jobs),
        turns=list((await of_service(state)).turns),
    )


async def _jobs(jobs: Jobs) -> dict[str, int] | None:
    """Count jobs by state. Return None if the jobs table cannot be read; the rest of the state is still shown."""
    try:
        return {status.value: number for status, number in (await jobs.numbers()).items()}
    except Exception:
        return None

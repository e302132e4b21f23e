"""`GET /status`: how the service is doing, for the page's Status tab and for people with the right admin."""

import time
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends, Request

from jobs.service import Jobs
from pipeline.observing import Ended, recent
from server.access import require_key
from server.documents import Answer, answers, like
from server.health import ENGINE, HARDWARE, Health, engines, hardware, state

router = APIRouter(tags=["health"], dependencies=[Depends(require_key)])
TURN: dict[str, Any] = {
    "id": "5f0c1d2e3a4b5c6d", "session": "4c1e", "kind": "live", "at": 1795195800.5, "outcome": "completed",
    "code": None, "timings_ms": {"transcript": 180.0, "first_token": 320.0, "first_audio": 510.0},
}  # fmt: skip


class Taken(Answer):
    """How many of how many."""

    open: int
    most: int


class StatusAnswer(Health):
    """How the service is doing."""

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
    """That are being transcribed for a request."""
    jobs: dict[str, int] | None
    """By state; null: the table cannot be read."""
    turns: list[Ended]


@router.get("/status", summary="How is the service doing?", response_model=None, responses=answers(StatusAnswer))
async def status(request: Request) -> dict[str, Any]:
    """Conversations, engines, hardware, jobs by state, and the last hundred turns with their timings: never their
    words."""
    app = request.app.state
    return {
        "status": state(request),
        "now": time.time(),
        "started": app.started,
        "sessions": {"open": app.access.places.taken, "most": app.assistant.settings.max_sessions},
        "recordings": {"open": app.access.budgets.recordings.taken, "most": app.assistant.settings.max_files},
        "engines": engines(request),
        **hardware(request),
        "jobs": await _jobs(app.jobs),
        "turns": [asdict(turn) for turn in recent],
    }


async def _jobs(jobs: Jobs) -> dict[str, int] | None:
    """None: the table cannot be read, which is worth seeing together with the rest."""
    try:
        return {status.value: number for status, number in (await jobs.numbers()).items()}
    except Exception:
        return None

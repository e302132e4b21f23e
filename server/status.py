"""`GET /status`: how the service is doing, for the page's Status tab and for people with the right admin."""

import time
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends, Request

from jobs.service import Jobs
from pipeline.observing import recent
from server.access import require_key
from server.health import engines, hardware, state

router = APIRouter(tags=["health"], dependencies=[Depends(require_key)])


@router.get("/status")
async def status(request: Request) -> dict[str, Any]:
    """Conversations, engines, hardware, jobs by state, and the last hundred turns with their timings: never their
    words."""
    app = request.app.state
    return {
        "status": state(request),
        "now": time.time(),
        "started": app.started,
        "sessions": {"open": app.access.places.taken, "most": app.assistant.settings.max_sessions},
        "recordings": {"open": app.files.taken, "most": app.assistant.settings.max_files},
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

"""`/recordings`: the turns that RECORD keeps, by session; and their erasure."""

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends, Request, WebSocket

from pipeline.assistant import Assistant
from pipeline.recording import Kept, Recordings
from pipeline.storing import storing
from server.access import require_key
from server.documents import Answer, answers, errors, like

router = APIRouter(tags=["recordings"], dependencies=[Depends(require_key)])

NO = ("0", "false", "no")


class RecordingsAnswer(Answer):
    """What is kept."""

    model_config = like({"sessions": [{"session": "4c1e", "turns": 3, "bytes": 812_000, "last_at": 1795195800.5}]})

    sessions: list[Kept]


@router.get(
    "/recordings",
    summary="Conversations that are kept",
    response_model=None,
    responses={**answers(RecordingsAnswer), **errors(401, 403, form="plain")},
)
async def listed(request: Request) -> dict[str, Any]:
    """A session at a time, the newest first."""
    with storing("RECORDINGS_DIR"):
        kept = await asyncio.to_thread(lambda: list(_recordings(request).list()))
    return {"sessions": [asdict(one) for one in sorted(kept, key=lambda one: -one.last_at)]}


@router.delete(
    "/recordings/{session}",
    summary="Erase what is kept of a conversation",
    status_code=204,
    responses=errors(400, 401, 403, form="plain"),
)
async def erase(request: Request, session: str) -> None:
    """Remove all that is kept of a session, if anything is, and keep nothing more of it. Whoever may talk may do this
    who knows the session's id, which only its client and the logs do."""
    with storing("RECORDINGS_DIR"):
        await asyncio.to_thread(_recordings(request).erase, session)


def _recordings(request: Request) -> Recordings:
    assistant: Assistant = request.app.state.assistant
    return Recordings(assistant.settings.recordings_dir)


def agreed(socket: WebSocket) -> bool:
    """Whether the client does not mind to be recorded: `?record=0` says that it does."""
    return socket.query_params.get("record", "").lower() not in NO


async def told(assistant: Assistant, session: str, recorded: bool) -> list[tuple[bytes, bytes]]:
    """Headers of a handshake: by which id the conversation is logged, and whether it is recorded. Who knows the id can
    erase it."""
    if recorded and assistant.recorder is not None:
        await assistant.recorder.begin(session)
    return [(b"x-session-id", session.encode()), (b"x-recorded", b"true" if recorded else b"false")]

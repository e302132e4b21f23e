"""`/recordings`: list and erase the conversations that RECORD keeps."""

import asyncio

from fastapi import APIRouter, Depends, Request
from starlette.requests import HTTPConnection

from pipeline.assistant import Assistant
from pipeline.conversation.kept_turns import Kept, Recordings
from pipeline.support.storage_errors import storing
from server.access import require_key
from server.openapi import ResponseModel, errors, like
from server.state import state_of

router = APIRouter(tags=["recordings"], dependencies=[Depends(require_key)])

NO = ("0", "false", "no")


class RecordingsResponse(ResponseModel):
    """The kept conversations."""

    model_config = like({"sessions": [{"session": "4c1e", "turns": 3, "bytes": 812_000, "last_at": 1795195800.5}]})

    sessions: list[Kept]


@router.get(
    "/recordings",
    summary="List kept conversations",
    responses=errors(401, 403, form="plain"),
)
async def listed(request: Request) -> RecordingsResponse:
    """List kept conversations by session, newest first."""
    with storing("RECORDINGS_DIR"):
        kept = await asyncio.to_thread(lambda: list(_recordings(request).list()))
    return RecordingsResponse(sessions=sorted(kept, key=lambda one: -one.last_at))


@router.delete(
    "/recordings/{session}",
    summary="Erase a kept conversation",
    status_code=204,
    responses=errors(400, 401, 403, form="plain"),
)
async def erase(request: Request, session: str) -> None:
    """Erase everything kept of a session, and stop keeping it. This needs the permission to talk and the session's id,
    which only its client and the logs contain."""
    with storing("RECORDINGS_DIR"):
        await asyncio.to_thread(_recordings(request).erase, session)


def _recordings(request: Request) -> Recordings:
    assistant = state_of(request).assistant
    return Recordings(assistant.settings.recordings_dir)


def agreed(connection: HTTPConnection) -> bool:
    """Whether the client allows keeping the conversation: `?record=0` forbids it."""
    return connection.query_params.get("record", "").lower() not in NO


async def told(assistant: Assistant, session: str, recorded: bool) -> list[tuple[bytes, bytes]]:
    """Return headers for the handshake: the id of the session, with which the client can erase the conversation, and
    whether the conversation is kept."""
    if recorded and assistant.recorder is not None:
        await assistant.recorder.begin(session)
    return [(b"x-session-id", session.encode()), (b"x-recorded", b"true" if recorded else b"false")]

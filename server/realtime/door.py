"""The route `/v1/realtime`: who may come in, and how a refusal is said."""

import asyncio
import importlib
import json
import sys
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, WebSocket
from starlette.responses import JSONResponse

from pipeline.assistant import Assistant
from server.access import Access
from server.realtime.errors import error_event

if TYPE_CHECKING:
    from server.realtime.connection import Connection

router = APIRouter()
SUBPROTOCOL = "realtime"
DEFAULT_MODEL = "gpt-realtime"
"""What a session without `?model=` calls itself."""
MAX_MODEL_CHARS = 200


@router.websocket("/v1/realtime")
async def realtime(socket: WebSocket) -> None:
    """One session."""
    access: Access = socket.app.state.access
    assistant: Assistant = socket.app.state.assistant
    if not access.has_key(socket):
        await _deny(socket, 401, "invalid_api_key", "Send a key: Authorization: Bearer KEY.")
        return
    if not access.good_origin(socket):
        await _deny(socket, 403, "forbidden_origin", "Pages of this origin may not connect; see ALLOWED_ORIGINS.")
        return
    query = socket.query_params
    if "call_id" in query:
        await _deny(socket, 400, "invalid_value", "There are no telephone calls here.")
        return
    offered = socket.scope.get("subprotocols") or []
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    if access.full:
        # Told in the protocol's own words: clients cannot read the body of a refused handshake.
        told = error_event("All sessions are taken; try again soon.", "session_limit_reached")
        await socket.send_text(json.dumps({"event_id": "event_last", **told}))
        await socket.close(1008, "session_limit_reached")
        return
    with access.counted():
        connection = await _connection_class()
        await connection(
            socket,
            assistant,
            model=query.get("model", DEFAULT_MODEL)[:MAX_MODEL_CHARS],
            transcription=query.get("intent") == "transcription",
        ).run()


async def _connection_class() -> "type[Connection]":
    """Imported with the first session: the `openai` package's types take most of a second, and not everybody wants
    them. In a thread: others go on talking."""
    name = "server.realtime.connection"
    # A module that is just being imported by another session's thread is there, and is not complete.
    found: type[Connection] | None = getattr(sys.modules.get(name), "Connection", None)
    return found or (await asyncio.to_thread(importlib.import_module, name)).Connection


async def _deny(socket: WebSocket, status: int, code: str, message: str) -> None:
    body: dict[str, Any] = {"error": {"type": "invalid_request_error", "code": code, "message": message, "param": None}}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    await socket.send_denial_response(JSONResponse(body, status, headers))

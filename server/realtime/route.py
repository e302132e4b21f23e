"""The route `/v1/realtime`."""

import asyncio
import importlib
import sys
from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends, WebSocket

from pipeline.errors import BadInput
from server.access import bound_session, require_key
from server.errors import answer
from server.ops.kept_conversations import agreed, told
from server.state import state_of

if TYPE_CHECKING:
    from server.realtime.connection import Connection

router = APIRouter(dependencies=[Depends(require_key)])
SUBPROTOCOL = "realtime"
DEFAULT_MODEL = "gpt-realtime"
"""The model name of a session without `?model=`."""
MAX_MODEL_CHARS = 200
TRUE = ("1", "true", "yes")


@router.websocket("/v1/realtime")
async def realtime(socket: WebSocket) -> None:
    """Run one session."""
    assistant = state_of(socket).assistant
    query = socket.query_params
    if "call_id" in query:
        error = BadInput("Telephone calls are not supported.", code="invalid_value")
        await socket.send_denial_response(answer(socket, error))
        return
    offered = socket.scope.get("subprotocols") or []
    bound = bound_session(socket)
    make = await _connection_class()
    connection = make(
        socket,
        assistant,
        model=query.get("model", "").strip()[:MAX_MODEL_CHARS] or DEFAULT_MODEL,
        transcription=bound.get("type", query.get("intent")) == "transcription",
        record=agreed(socket),
        timings=query.get("timings", "").lower() in TRUE,
    )
    if bound:
        try:
            connection.begin_with(bound)
        except BadInput as error:  # its voice or its tools have gone since the secret was made
            await socket.send_denial_response(answer(socket, error))
            return
    recorded = agreed(socket) and assistant.recorder is not None
    about = await told(assistant, connection.session_id, recorded)
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None, about)
    await connection.run()


async def _connection_class() -> "type[Connection]":
    """Return `Connection`, imported with the first session: importing the `openai` package's types takes most of a
    second, and not every deployment needs them. The import runs in a thread so as not to block other conversations."""
    name = "server.realtime.connection"
    # A module that another session's thread is importing is in `sys.modules`, but incomplete.
    found: type[Connection] | None = getattr(sys.modules.get(name), "Connection", None)
    return found or (await asyncio.to_thread(importlib.import_module, name)).Connection

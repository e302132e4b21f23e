"""The route `/v1/realtime`."""

import asyncio
import importlib
import sys
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, WebSocket

from pipeline.errors import BadInput
from server.access import bound_session, require_key
from server.errors import error_response
from server.ops.kept_conversations import agreed, told
from server.state import state_of

if TYPE_CHECKING:
    from server.realtime.connection import Connection

router = APIRouter(dependencies=[Depends(require_key)])
SUBPROTOCOL = "realtime"
DEFAULT_MODEL = "gpt-realtime"
"""The model name of a session without `?model=`."""
MAX_MODEL_CHARS = 200
BEGINNING = ("persona", "llm_model", "temperature")
"""Query parameters of `Assistant.conversation_options`; `session.update` has the other wishes."""
TRUE = ("1", "true", "yes")


@router.websocket("/v1/realtime")
async def realtime(socket: WebSocket) -> None:
    """Run one session."""
    assistant = state_of(socket).assistant
    query = socket.query_params
    if "call_id" in query:
        error = BadInput("Telephone calls are not supported.", code="invalid_value")
        await socket.send_denial_response(error_response(socket, error))
        return
    offered = socket.scope.get("subprotocols") or []
    bound = bound_session(socket)
    make = await imported("server.realtime.connection", "Connection")
    try:
        conversation_options = await assistant.conversation_options(
            {name: query[name] for name in BEGINNING if name in query}
        )
        connection: Connection = make(
            socket,
            assistant,
            model=query.get("model", "").strip()[:MAX_MODEL_CHARS] or DEFAULT_MODEL,
            transcription=bound.get("type", query.get("intent")) == "transcription",
            record=agreed(socket),
            timings=query.get("timings", "").lower() in TRUE,
            speaker_lock=query.get("speaker_lock"),
            conversation_options=conversation_options,
        )
        if bound:
            connection.begin_with(bound)
    except BadInput as error:  # or the secret's voice or tools have gone since it was made
        await socket.send_denial_response(error_response(socket, error))
        return
    recorded = agreed(socket) and assistant.recorder is not None
    about = await told(assistant, connection.session_id, recorded)
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None, about)
    await connection.run()


async def imported(module: str, name: str) -> Any:
    """Return a class of a module that is imported with the first session: importing the `openai` package's types takes
    most of a second, and not every deployment needs them. The import runs in a thread so as not to block other
    conversations."""
    # A module that another session's thread is importing is in `sys.modules`, but incomplete.
    found = getattr(sys.modules.get(module), name, None)
    return found or getattr(await asyncio.to_thread(importlib.import_module, module), name)

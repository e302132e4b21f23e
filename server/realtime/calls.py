"""The routes `/v1/realtime/calls`."""

import asyncio
import importlib
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.websockets import WebSocket

from pipeline.errors import BadInput
from pipeline.support.json_types import JsonObject
from server.access import require_key
from server.access.rules import SMALL
from server.http.multipart import read_form
from server.openapi import errors
from server.realtime.route import DEFAULT_MODEL, MAX_MODEL_CHARS
from server.state import state_of
from server.webrtc.opening import SDP, open_call

if TYPE_CHECKING:  # aiortc is imported with the first call
    from server.realtime.call_connection import CallConnection
    from server.webrtc.tracks import Tracks

router = APIRouter(prefix="/v1/realtime/calls", tags=["realtime"], dependencies=[Depends(require_key)])


@router.post(
    "",
    summary="Open a Realtime session over WebRTC",
    status_code=201,
    response_class=Response,
    responses={
        201: {"description": "The SDP answer.", "content": {SDP: {"schema": {"type": "string"}}}},
        **errors(400, 401, 403, 429, 503),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                SDP: {"schema": {"type": "string"}},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["sdp"],
                        "properties": {"sdp": {"type": "string"}, "session": {"type": "string", "description": "JSON"}},
                    },
                },
            },
        },
    },
)
async def call(
    request: Request,
    model: Annotated[str, Query(max_length=MAX_MODEL_CHARS)] = "",
    speaker_lock: Annotated[str | None, Query(description="Hear one voice only: docs/turn-taking.md.")] = None,
    persona: Annotated[str, Query(max_length=60, description="Id of a persona (`/personas`).")] = "",
    llm_model: Annotated[str, Query(max_length=MAX_MODEL_CHARS, description="A model of `/llm-models`.")] = "",
    temperature: Annotated[
        float | None, Query(ge=0, le=2, description="By default that of the persona, or 0.7.")
    ] = None,
) -> Response:
    """Open a session over WebRTC: send the SDP offer, as `application/sdp` or as the form fields `sdp` and `session`;
    the response is the SDP answer, and its `Location` names the call."""
    sdp, session = await _sent(request)
    module = await asyncio.to_thread(importlib.import_module, "server.realtime.call_connection")
    wishes: JsonObject = {"persona": persona}
    if llm_model:
        wishes["llm_model"] = llm_model
    if temperature is not None:
        wishes["temperature"] = temperature
    conversation_options = await state_of(request).assistant.conversation_options(wishes)

    def session_on(socket: WebSocket, tracks: "Tracks") -> "CallConnection":
        made: CallConnection = module.connection(
            request, socket, tracks,
            model=model.strip() or DEFAULT_MODEL, session=session, speaker_lock=speaker_lock,
            conversation_options=conversation_options,
        )  # fmt: skip
        return made

    return await open_call(request, sdp, session_on)


@router.post(
    "/{call_id}/hangup",
    summary="End a call",
    response_class=Response,
    responses={
        200: {"description": "The call is ending.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **errors(401, 403, 404),
    },
)
async def hang_up(request: Request, call_id: str) -> Response:
    """End a call. Only the caller that opened it may."""
    await state_of(request).calls.hang_up(call_id, request)
    return PlainTextResponse("")


async def _sent(request: Request) -> tuple[str, str | None]:
    """Return the offer, and the session's configuration as JSON. Raises BadInput."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == SDP:
        return (await request.body()).decode("utf-8", "replace"), None
    if kind != "multipart/form-data":
        raise BadInput(f"Send the SDP offer as {SDP}, or as a form with 'sdp' and 'session'.", code="bad_request")
    fields = dict(await read_form(request, SMALL, _as_field))
    if "sdp" not in fields:
        raise BadInput("Missing required parameter: 'sdp'.", code="missing_required_parameter", param="sdp")
    return fields["sdp"], fields.get("session")


async def _as_field(name: str, filename: str) -> None:
    """Read each part as a field."""

"""The response to a request that opens a call. `aiortc` is imported with the first one."""

import asyncio
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastapi import Request, Response
from starlette.websockets import WebSocket

from server.ops.kept_conversations import agreed, told
from server.state import state_of

if TYPE_CHECKING:
    from server.webrtc.call import CallSession
    from server.webrtc.tracks import Tracks

SDP = "application/sdp"


async def open_call(request: Request, sdp: str, open_session: "Callable[[WebSocket, Tracks], CallSession]") -> Response:
    """Open a call for this offer, and return the response with the answer. open_session: see `Call`. Raises
    ParleyError."""
    module = await asyncio.to_thread(importlib.import_module, "server.webrtc.call")
    offer = module.offer_of(sdp)
    assistant = state_of(request).assistant
    call = module.Call(request, open_session)
    try:
        answer = await call.answer(offer)
        about = await told(assistant, call.session.session_id, agreed(request) and assistant.recorder is not None)
    except BaseException:
        call.hang_up()
        await call.run()  # its session keeps a conversation that the call was to resume
        raise
    state_of(request).calls.start(call)
    headers = {name.decode(): value.decode() for name, value in about}
    return Response(answer, 201, {"Location": f"/v1/realtime/calls/{call.id}", **headers}, media_type=SDP)

"""Methods of OpenAI's clients that this service does not serve, although it serves others of the same resource. Each is
refused with the reason."""

from typing import NoReturn

from fastapi import APIRouter, Depends, Request

from pipeline.errors import BadInput
from server.access import require_key

router = APIRouter(prefix="/v1", dependencies=[Depends(require_key)])

_CHATS = "Chat completions are not stored: keep the response of POST /v1/chat/completions."
_MODELS = (
    "Models cannot be deleted here: the settings of the deployment and its folder MODELS_DIR decide which there are."
)
_SIP = "Calls over SIP are not supported: open calls over WebRTC with POST /v1/realtime/calls."
REASONS = {
    ("GET", "/chat/completions"): _CHATS,
    ("GET", "/chat/completions/{completion_id}"): _CHATS,
    ("POST", "/chat/completions/{completion_id}"): _CHATS,
    ("DELETE", "/chat/completions/{completion_id}"): _CHATS,
    ("GET", "/chat/completions/{completion_id}/messages"): _CHATS,
    ("DELETE", "/models/{model:path}"): _MODELS,
    ("POST", "/realtime/calls/{call_id}/accept"): _SIP,
    ("POST", "/realtime/calls/{call_id}/refer"): _SIP,
    ("POST", "/realtime/calls/{call_id}/reject"): _SIP,
}
"""Method and path → the reason."""


class NotServed(BadInput):
    """The service has no such endpoint."""

    code = "not_found"


def _add(method: str, path: str, reason: str) -> None:
    async def refuse(request: Request) -> NoReturn:
        raise NotServed(reason)

    router.add_api_route(path, refuse, methods=[method], include_in_schema=False, response_model=None)


for (_method, _path), _reason in REASONS.items():
    _add(_method, _path, _reason)

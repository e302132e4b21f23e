"""`POST /page-token`: exchange a page's key for a token that opens WebSockets for a minute."""

from fastapi import APIRouter, Request

from server.access import caller_of
from server.openapi import ResponseModel, errors, like
from server.state import state_of

router = APIRouter(tags=["access"])


class PageToken(ResponseModel):
    """A token and its expiry time."""

    model_config = like({"token": "pt_eyJ0…", "expires_at": 1795195860})

    token: str
    """Send it with a WebSocket as the subprotocol `openai-insecure-api-key.TOKEN`."""
    expires_at: int
    """Unix time. An open conversation continues after it, as long as the key is valid."""


@router.post(
    "/page-token",
    summary="Create a token for a page's WebSockets",
    responses=errors(401, 403, 429, form="plain"),
)
async def page_token(request: Request) -> PageToken:
    """Create a token that opens WebSockets only, with the key's permissions to talk and to transcribe. Reverse proxies
    can log what a browser sends with a WebSocket, and keys must not appear in their logs."""
    token, expires_at = state_of(request).access.page_tokens.make(caller_of(request))
    return PageToken(token=token, expires_at=expires_at)

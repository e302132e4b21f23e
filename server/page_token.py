"""`POST /page-token`: a page's key for a token that its WebSockets can be opened with, for a minute."""

from fastapi import APIRouter, Request

from server.access import Access, caller_of
from server.documents import Answer, errors, like

router = APIRouter(tags=["access"])


class PageToken(Answer):
    """A token, and how long it is good."""

    model_config = like({"token": "pt_eyJ0…", "expires_at": 1795195860})

    token: str
    """Sent with a WebSocket as the subprotocol `openai-insecure-api-key.TOKEN`."""
    expires_at: int
    """Unix time. A conversation that was opened before goes on for as long as its key is good."""


@router.post(
    "/page-token",
    summary="A token for a page's WebSockets",
    responses=errors(401, 403, 429, form="plain"),
)
async def page_token(request: Request) -> PageToken:
    """It has the key's rights to talk and to transcribe, and opens WebSockets only: proxies may write down what a
    browser sends with those, and a key shall not be in their logs."""
    access: Access = request.app.state.access
    token, expires_at = access.page_tokens.make(caller_of(request))
    return PageToken(token=token, expires_at=expires_at)

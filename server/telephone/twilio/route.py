"""The routes `/twilio/…`, for Twilio only: each request is checked by its signature."""

from urllib.parse import parse_qsl
from xml.sax.saxutils import quoteattr

from fastapi import APIRouter, Depends, Request, Response, WebSocket

from pipeline.errors import BadInput, Overloaded, ParleyError
from server.access import caller_of, require_key
from server.errors import BUSY, TWILIO_VOICE, TWIML, error_response
from server.http.websocket_protocol import limit_text
from server.parameters import system_prompt
from server.state import state_of
from server.telephone.twilio.connection import TwilioConnection
from server.telephone.twilio.messages import MAX_MESSAGE_CHARS
from server.telephone.twilio.signature import Fields, check_on, check_signature, public_url, websocket_url

router = APIRouter(dependencies=[Depends(require_key)])
MEDIA = "/twilio/media"
HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
MAX_FIELDS = 200
"""Maximum number of fields in a request of Twilio, which has about thirty."""
PARAMETERS = ("voice", "language", "system")
"""Parameters of `/twilio/voice` that are passed to its stream."""


@router.post(TWILIO_VOICE, include_in_schema=False)
async def voice(request: Request) -> Response:
    """Answer a call: return the TwiML that connects it, or that rejects it if no slot is free."""
    state = state_of(request)
    assistant, query = state.assistant, request.query_params
    check_on(assistant.settings)
    check_signature(request, assistant.settings, await _fields(request))
    assistant.voice(query.get("voice"))
    assistant.recognisers.heard_language(query.get("language"))
    system_prompt(query.get("system"))
    try:
        state.access.slots.check(caller_of(request))
    except Overloaded:
        return _twiml(BUSY)
    url = websocket_url(public_url(request, assistant.settings)) + MEDIA
    given = (
        f"<Parameter name={quoteattr(name)} value={quoteattr(query[name])}/>" for name in PARAMETERS if name in query
    )
    stream = f"<Stream url={quoteattr(url)}>{''.join(given)}</Stream>"
    return _twiml(f"{HEAD}<Response><Connect>{stream}</Connect></Response>")


@router.websocket(MEDIA)
async def media(socket: WebSocket) -> None:
    """Hold a call."""
    assistant = state_of(socket).assistant
    try:
        check_signature(socket, assistant.settings)
    except ParleyError as error:
        await socket.send_denial_response(error_response(socket, error))
        return
    limit_text(socket.scope, MAX_MESSAGE_CHARS)
    await socket.accept()
    await TwilioConnection(socket, assistant).run()


async def _fields(request: Request) -> Fields:
    """Return the fields of the form. Raises BadInput."""
    body = (await request.body()).decode("utf-8", "replace")
    try:
        return parse_qsl(body, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise BadInput(f"The form has more than {MAX_FIELDS} fields.", code="bad_request") from None


def _twiml(text: str) -> Response:
    return Response(text, media_type=TWIML)

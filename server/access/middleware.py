"""The access middleware: rejects a request before it reaches a route and before its body is read."""

from contextlib import ExitStack

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from pipeline.errors import BadInput, ParleyError
from pipeline.workers.caller import calling
from server.access.access import Access, is_there
from server.access.bodies import Bounded, check_encoding
from server.access.callers import SCOPE
from server.access.limits import HELD
from server.access.responses import Counted
from server.access.revocation import SCOPE as STAY
from server.access.revocation import Stay
from server.access.rules import SOCKET, Open, rule_for
from server.access.work_pace import Charge
from server.errors import error_response


class AccessMiddleware:
    """Checks keys, origins, rates and permissions; reserves a slot for each WebSocket before accepting it; limits
    bodies."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        rule = rule_for(scope["path"], scope.get("method", SOCKET))
        charge: Charge | None = None
        with ExitStack() as stack:
            try:
                caller = scope[SCOPE] = await self._access.admit(connection, rule)
                scope[STAY] = Stay(self._access, caller, rule)
                scope[HELD] = stack.enter_context(self._access.budgets.memory.share(caller))
                if scope["type"] == "websocket":
                    if not is_there(connection):  # the framework would close it without a reason
                        raise ParleyError("There is no WebSocket at this path.", code="not_found")
                    stack.enter_context(self._access.budgets.conversations.one(caller))
                    stack.enter_context(self._access.work.conversation(caller))
                else:
                    check_encoding(scope)
                    bounded = Bounded(scope, receive, rule)
                    bounded.check_claim()
                    if rule.files and scope["method"] == "POST":
                        stack.enter_context(self._access.budgets.uploads.one(caller))
                    receive = bounded
                    if rule.needed is not Open.ALL:  # what everybody may read is constant or small
                        send = Counted(scope, receive, send, _refuse)
                        charge = await self._access.work.turn(caller, scope["method"], self._access.rates.delay_refusal)
            except ParleyError as error:
                await _refuse(error, scope, receive, send)
                return
            except HTTPException as error:
                await _refuse(BadInput(str(error.detail), code="file_too_large"), scope, receive, send)
                return
            with calling(account=caller.account):
                work = self._app(scope, receive, send)
                await (work if charge is None else charge.run(work))


async def _refuse(error: ParleyError, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the error in the format of the API that the path belongs to, for a WebSocket as the handshake's response."""
    response = error_response(HTTPConnection(scope), error)
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
        return
    await response(scope, receive, send)

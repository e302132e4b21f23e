"""Who may come in: keys, origins, and how many conversations at a time."""

import hmac
import ipaddress
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

from fastapi import Request, WebSocket
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response

from pipeline.errors import ConfigError, ParleyError
from pipeline.settings import Settings

KEY_PROTOCOL = "openai-insecure-api-key."
"""A browser can send no header with a WebSocket, but subprotocols: this one, followed by the key, is no protocol."""


class Access:
    """The rules of one deployment, and the count of its open conversations."""

    def __init__(self, settings: Settings) -> None:
        self._keys = [key.strip().encode() for key in settings.api_keys.split(",") if key.strip()]
        self._jwt_secret = settings.jwt_secret
        self._origins = {origin.strip().rstrip("/") for origin in settings.allowed_origins.split(",") if origin.strip()}
        self._max_sessions = settings.max_sessions
        self.sessions = 0
        """Conversations that are open now."""

    def has_key(self, connection: HTTPConnection) -> bool:
        """Whether the caller has sent a key or a JWT, or none is needed."""
        if not self.wants_keys:
            return True
        scheme, _, sent = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            sent = connection.headers.get("x-api-key", "") or _key_among_protocols(connection)
        # All are compared, each in constant time: how long it takes says nothing.
        matches = [hmac.compare_digest(sent.strip().encode(), key) for key in self._keys]
        return any(matches) or (bool(self._jwt_secret) and _is_valid_jwt(sent.strip(), self._jwt_secret))

    @property
    def wants_keys(self) -> bool:
        """Whether only those may come in who have a key."""
        return bool(self._keys or self._jwt_secret)

    def good_origin(self, connection: HTTPConnection) -> bool:
        """Whether a browser's page may connect: one from this address, or an allowed one. Programs send no Origin."""
        origin = connection.headers.get("origin")
        if origin is None or origin in self._origins or "*" in self._origins:
            return True
        try:
            page = urlsplit(origin)
        except ValueError:
            return False
        if page.netloc != connection.headers.get("host"):
            return False
        # A name may be made to point here after its page was loaded (DNS rebinding); an address cannot. Keys protect
        # from that, too: a foreign page does not have one.
        return self.wants_keys or _is_address(page.hostname or "")

    @property
    def full(self) -> bool:
        """Whether all conversations are taken."""
        return self.sessions >= self._max_sessions

    @contextmanager
    def counted(self) -> Iterator[None]:
        """A conversation, counted while it lives."""
        self.sessions += 1
        try:
            yield
        finally:
            self.sessions -= 1

    def refusal(self, connection: HTTPConnection) -> Response | None:
        """What a caller is answered who may not open a conversation; None: welcome."""
        if not self.has_key(connection):
            return refuse(401, "unauthorized", "Send a key: Authorization: Bearer KEY.", {"WWW-Authenticate": "Bearer"})
        if not self.good_origin(connection):
            return refuse(403, "forbidden_origin", "Pages of this origin may not connect; see ALLOWED_ORIGINS.")
        if self.full:
            return refuse(503, "overloaded", "All conversations are taken; try again soon.", {"Retry-After": "5"})
        return None


def _is_valid_jwt(token: str, secret: str) -> bool:
    """Whether this token was signed with the secret (HMAC) and has not expired. One without `exp` is none: it could
    never be taken back."""
    import jwt  # imported here: most deployments have no JWTs

    try:
        jwt.decode(
            token, secret, algorithms=["HS256", "HS384", "HS512"], options={"require": ["exp"], "verify_aud": False}
        )
    except jwt.InvalidTokenError:
        return False
    return True


def _key_among_protocols(connection: HTTPConnection) -> str:
    for protocol in connection.scope.get("subprotocols", ()):
        if protocol.startswith(KEY_PROTOCOL):
            return str(protocol.removeprefix(KEY_PROTOCOL))
    return ""


def _is_address(host: str) -> bool:
    """Whether this is localhost or an IP address, and no name that somebody's DNS answers for."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def require_key(request: Request) -> None:
    """The check before an ordinary route. Raises ParleyError: unauthorized, forbidden_origin."""
    access: Access = request.app.state.access
    if not access.has_key(request):
        raise ParleyError("Send a key: Authorization: Bearer KEY.", code="unauthorized")
    if not access.good_origin(request):
        raise ParleyError("Pages of this origin may not connect; see ALLOWED_ORIGINS.", code="forbidden_origin")


def refuse(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


@asynccontextmanager
async def admitted(socket: WebSocket) -> AsyncIterator[bool]:
    """Whether this WebSocket may open a conversation: refused before it is accepted, or counted while it lives."""
    access: Access = socket.app.state.access
    refusal = access.refusal(socket)
    if refusal is not None:
        await socket.send_denial_response(refusal)
        yield False
        return
    with access.counted():
        yield True


def check_exposure(settings: Settings) -> None:
    """Raises ConfigError for a service that is open to the network without keys and was not told that it may."""
    if settings.host in ("127.0.0.1", "::1", "localhost") or settings.allow_anonymous:
        return
    if settings.api_keys.strip() or settings.jwt_secret:
        return
    raise ConfigError(
        f"HOST={settings.host} would open the service to the network without keys. Set API_KEYS or JWT_SECRET, or "
        "ALLOW_ANONYMOUS=true if something before it checks who comes in."
    )

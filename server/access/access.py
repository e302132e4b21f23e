"""The access rules of one deployment."""

import time
from dataclasses import replace
from pathlib import Path

from starlette.requests import HTTPConnection
from starlette.routing import Match, Mount

from pipeline.errors import ConfigError, ParleyError
from pipeline.settings import Settings
from server.access.budgets import Budgets
from server.access.callers import ALL, Caller, Permission, address_of
from server.access.client_secrets import SCOPE as SESSION
from server.access.client_secrets import ClientSecrets
from server.access.jwts import Jwts
from server.access.keys import KeyRing
from server.access.origins import Origins
from server.access.page_tokens import PREFIX, PageTokens
from server.access.rates import Rates
from server.access.rules import OTHERS, Open, Rule
from server.access.slots import Slots
from server.access.work_pace import WorkPace
from server.sharing.opening import Shared

KEY_PROTOCOL = "openai-insecure-api-key."
"""Prefix of the subprotocol that carries a key: a browser cannot set headers on a WebSocket, but can offer
subprotocols."""
PAGE_TOKEN_S = 60.0
"""Lifetime of a page's token in seconds: long enough to open a WebSocket, too short to be useful in a log."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Access:
    """Access control. `admit` authenticates and authorises a request; `budgets` counts what admitted callers hold."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigError for invalid settings."""
        self._keys = KeyRing(settings.api_keys, Path(settings.api_keys_file) if settings.api_keys_file else None)
        self._jwts = Jwts(settings)
        self.page_tokens = PageTokens(settings.jwt_secret, PAGE_TOKEN_S)
        self.client_secrets = ClientSecrets()
        self._public = {Open.ALL, Open.LIST} if settings.public_lists else {Open.ALL}
        self.origins = Origins(settings, keys=self.wants_keys)
        self.rates = Rates(settings)
        self.budgets = Budgets(settings)
        self.work = WorkPace()

    @property
    def wants_keys(self) -> bool:
        """Whether callers must have a key."""
        return bool(self._keys) or bool(self._jwts)

    @property
    def slots(self) -> Slots:
        """Slots for conversations."""
        return self.budgets.conversations

    @property
    def sessions(self) -> int:
        """The number of open conversations."""
        return self.slots.total

    async def share(self, shared: Shared) -> None:
        """Share places, rates and tokens with the other processes of the service, from now on."""
        self.budgets.share(shared)
        self.rates.share(shared)
        self.client_secrets.shared = shared
        await shared.share_secret(self.page_tokens.share)

    async def admit(self, connection: HTTPConnection, rule: Rule) -> Caller:
        """Return the caller of a request. Raises ParleyError: unauthorized, forbidden, forbidden_origin,
        forbidden_host; TooOften, with the time to wait; Overloaded when keys cannot be checked now."""
        anonymous = Caller("", frozenset(), kind="anonymous", address=address_of(connection))
        if rule.needed in self._public:
            await self.rates.count_open(anonymous, health=rule.path.startswith("/health"))
            return await self._visitor(connection, anonymous)
        if rule.needed is Open.SIGNED:
            await self.rates.count(anonymous)
            return anonymous
        self.origins.check(connection)
        caller = await self.identify(connection)
        await self.rates.count(caller or anonymous, refused=caller is None)
        if caller is None:
            raise ParleyError("Send a key: Authorization: Bearer KEY.", code="unauthorized")
        right = None if isinstance(rule.needed, Open) else rule.needed
        if not caller.may(right) and (rule is not OTHERS or is_there(connection)):
            raise Forbidden(str(right))
        return caller

    async def identify(self, connection: HTTPConnection) -> Caller | None:
        """Return the caller whose key a request carries, or None without a valid key. If the deployment does not
        require keys, every caller has all permissions. Raises Overloaded when a JWT cannot be checked now."""
        address = address_of(connection)
        sent = _sent(connection)
        secret = await self.client_secrets.look_up(sent, connection.scope["path"])
        if secret is not None:
            connection.scope[SESSION] = secret.session
        if not self.wants_keys:
            return Caller("", ALL, kind="anonymous", address=address)
        if secret is not None:
            return secret.caller.at(address) if self.holds(secret.caller, Permission.TALK) else None
        caller = self._keys.find(sent)
        if caller is None and sent.startswith(PREFIX) and connection.scope["type"] == "websocket":
            caller = self._of_page(sent)
        if caller is None:
            caller = await self._jwts.find(sent)
        return caller.at(address) if caller else None

    def _of_page(self, token: str) -> Caller | None:
        """Return the caller of the page with this token, or None for an invalid token or one whose key was removed."""
        caller = self.page_tokens.find(token)
        if caller is None or caller.kind != "key":
            return caller
        marked = (key.sha256 for key in self._keys.named(caller.name))
        proof = next((one for one in marked if self.page_tokens.mark(one) == caller.proof), None)
        return None if proof is None else replace(caller, proof=proof)

    def holds(self, caller: Caller, needed: Permission | None) -> bool:
        """Whether this caller's credential is still valid and grants the permission `needed`. The signature of a JWT is
        not checked again: a JWT is valid until it expires."""
        if time.time() >= caller.until:
            return False
        if caller.kind != "key":
            return True
        keys = (key for key in self._keys.named(caller.name) if key.sha256 == caller.proof)
        return any(replace(caller, permissions=key.permissions).may(needed) for key in keys)

    async def _visitor(self, connection: HTTPConnection, anonymous: Caller) -> Caller:
        """Return the caller of a public path: the owner of a valid key, or else the anonymous caller."""
        try:
            self.origins.check(connection)
            return await self.identify(connection) or anonymous
        except ParleyError:
            return anonymous

    async def close(self) -> None:
        """Release the rate limits' storage."""
        await self.rates.close()


class Forbidden(ParleyError):
    """A valid key that lacks the permission `right`."""

    code = "forbidden"

    def __init__(self, right: str) -> None:
        super().__init__(f"This key lacks the '{right}' permission.")
        self.right = right


def is_there(connection: HTTPConnection) -> bool:
    """Whether there is such a route. Authenticated callers get 404 for a path that does not exist."""
    app = connection.scope.get("app")
    if app is None:
        return True
    # Mounts are folders of files, which match any connection and do not serve WebSockets.
    asked = (route for route in app.routes if connection.scope["type"] == "http" or not isinstance(route, Mount))
    return any(route.matches(dict(connection.scope))[0] is not Match.NONE for route in asked)


def _sent(connection: HTTPConnection) -> str:
    """Return the key that was sent, or ""."""
    scheme, _, sent = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        sent = connection.headers.get("x-api-key", "")
        if not sent:
            protocols = connection.scope.get("subprotocols", ())
            found = (one.removeprefix(KEY_PROTOCOL) for one in protocols if one.startswith(KEY_PROTOCOL))
            sent = next(found, "")
    # Starlette decodes headers as Latin-1; clients send UTF-8.
    return sent.strip().encode("latin-1", "replace").decode("utf-8", "replace")


def check_exposure(settings: Settings) -> None:
    """Check keys, limits and exposure before models are loaded. Raises ConfigError for invalid keys or limits, and for
    a service that is open to the network without keys unless ALLOW_ANONYMOUS permits it."""
    access = Access(settings)
    # Ask `Access`, not the settings: only `Access` knows how it interprets them.
    if access.wants_keys or settings.host in LOOPBACK or settings.allow_anonymous:
        return
    raise ConfigError(
        f"HOST={settings.host} would open the service to the network without keys. Set API_KEYS, API_KEYS_FILE, "
        "JWT_SECRET or JWT_JWKS_URL, or ALLOW_ANONYMOUS=true if a reverse proxy authenticates callers."
    )

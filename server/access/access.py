"""The rules of one deployment, and whom they let in."""

import time
from dataclasses import replace
from pathlib import Path

from starlette.requests import HTTPConnection
from starlette.routing import Match, Mount

from pipeline.errors import ConfigError, ParleyError
from pipeline.settings import Settings
from server.access.budgets import Budgets
from server.access.callers import ALL, Caller, Right, address_of
from server.access.jwts import Jwts
from server.access.keys import KeyRing
from server.access.origins import Origins
from server.access.page_tokens import PREFIX, PageTokens
from server.access.places import Places
from server.access.rates import Rates
from server.access.rights import OTHERS, Open, Rule

KEY_PROTOCOL = "openai-insecure-api-key."
"""A browser can send no header with a WebSocket, but subprotocols: this one, followed by the key, is no protocol."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Access:
    """Who may come in. `admit` decides about a request, `budgets` counts what those who are in hold."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigError for settings that make no sense."""
        self._keys = KeyRing(settings.api_keys, Path(settings.api_keys_file) if settings.api_keys_file else None)
        self._jwts = Jwts(settings)
        self.page_tokens = PageTokens(settings.jwt_secret, settings.page_token_s)
        self.origins = Origins(settings, keys=self.wants_keys)
        self.rates = Rates(settings)
        self.budgets = Budgets(settings)
        self.body_timeout_s = settings.body_timeout_s

    @property
    def wants_keys(self) -> bool:
        """Whether only those may come in who have a key."""
        return bool(self._keys) or bool(self._jwts)

    @property
    def places(self) -> Places:
        """Of conversations."""
        return self.budgets.conversations

    @property
    def sessions(self) -> int:
        """Conversations that are open now."""
        return self.places.taken

    async def admit(self, connection: HTTPConnection, rule: Rule) -> Caller:
        """Whoever calls. Raises ParleyError: unauthorized, forbidden, forbidden_origin, forbidden_host; TooOften, with
        when to come back; Overloaded when keys cannot be checked now."""
        nobody = Caller("", frozenset(), kind="anonymous", address=address_of(connection))
        if rule.needed is Open.ALL:
            await self.rates.count_open(nobody, health=rule.path.startswith("/health"))
            return await self._visitor(connection, nobody)
        if rule.needed is Open.SIGNED:
            await self.rates.count(nobody)
            return nobody
        self.origins.check(connection)
        caller = await self.identify(connection)
        await self.rates.count(caller or nobody, refused=caller is None)
        if caller is None:
            raise ParleyError("Send a key: Authorization: Bearer KEY.", code="unauthorized")
        right = None if rule.needed is Open.ANY_KEY else rule.needed
        if not caller.may(right) and (rule is not OTHERS or is_there(connection)):
            raise Forbidden(str(right))
        return caller

    async def identify(self, connection: HTTPConnection) -> Caller | None:
        """Whose key was sent with a request; None without a good one. Where none is needed everybody may do
        everything. Raises Overloaded when a JWT cannot be checked now."""
        address = address_of(connection)
        if not self.wants_keys:
            return Caller("", ALL, kind="anonymous", address=address)
        sent = _sent(connection)
        caller = self._keys.find(sent)
        if caller is None and sent.startswith(PREFIX) and connection.scope["type"] == "websocket":
            caller = self._of_page(sent)
        if caller is None:
            caller = await self._jwts.find(sent)
        return caller.at(address) if caller else None

    def _of_page(self, token: str) -> Caller | None:
        """Whose page has this token; None when its key was removed meanwhile, too."""
        caller = self.page_tokens.find(token)
        if caller is None or caller.kind != "key":
            return caller
        marked = (key.sha256 for key in self._keys.named(caller.name))
        proof = next((one for one in marked if self.page_tokens.mark(one) == caller.proof), None)
        return None if proof is None else replace(caller, proof=proof)

    def holds(self, caller: Caller, needed: Right | None) -> bool:
        """Whether what let this caller in still would, to somewhere that asks for this right. Signatures of JWTs are
        not asked for again: they end when they say that they do."""
        if time.time() >= caller.until:
            return False
        if caller.kind != "key":
            return True
        keys = (key for key in self._keys.named(caller.name) if key.sha256 == caller.proof)
        return any(replace(caller, rights=key.rights).may(needed) for key in keys)

    async def _visitor(self, connection: HTTPConnection, nobody: Caller) -> Caller:
        """Somebody whom everything is shown that is for everybody, and more with a key."""
        try:
            self.origins.check(connection)
            return await self.identify(connection) or nobody
        except ParleyError:
            return nobody

    async def close(self) -> None:
        """The service ends."""
        await self.rates.close()


class Forbidden(ParleyError):
    """A known key, without the right. `right`: which."""

    code = "forbidden"

    def __init__(self, right: str) -> None:
        super().__init__(f"This key has not the right {right}.")
        self.right = right


def is_there(connection: HTTPConnection) -> bool:
    """Whether there is such a route: who has a key is told when there is none."""
    app = connection.scope.get("app")
    if app is None:
        return True
    # What is mounted are folders of files, which match any connection and serve no WebSocket.
    asked = (route for route in app.routes if connection.scope["type"] == "http" or not isinstance(route, Mount))
    return any(route.matches(dict(connection.scope))[0] is not Match.NONE for route in asked)


def _sent(connection: HTTPConnection) -> str:
    """What was sent as a key; "" for nothing."""
    scheme, _, sent = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        sent = connection.headers.get("x-api-key", "")
        if not sent:
            protocols = connection.scope.get("subprotocols", ())
            found = (one.removeprefix(KEY_PROTOCOL) for one in protocols if one.startswith(KEY_PROTOCOL))
            sent = next(found, "")
    # Headers are bytes, which are read as Latin-1 here and which everybody means as UTF-8.
    return sent.strip().encode("latin-1", "replace").decode("utf-8", "replace")


def check_exposure(settings: Settings) -> None:
    """Raises ConfigError for a service that is open to the network without keys and was not told that it may, and for
    keys and limits that make no sense: before models are loaded."""
    access = Access(settings)
    # Asked of what stands at the door, not of the settings: only it knows what it makes of them.
    if access.wants_keys or settings.host in LOOPBACK or settings.allow_anonymous:
        return
    raise ConfigError(
        f"HOST={settings.host} would open the service to the network without keys. Set API_KEYS, API_KEYS_FILE, "
        "JWT_SECRET or JWT_JWKS_URL, or ALLOW_ANONYMOUS=true if something before it checks who comes in."
    )

"""Ephemeral keys of the Realtime API: a server makes one with its key, and a browser opens sessions with it.

A secret opens Realtime sessions of one kind only, any number until it expires, each with the configuration that it was
made for. A session continues after that, and ends with the key that the secret was made with.
"""

import asyncio
import hashlib
import json
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from starlette.requests import HTTPConnection

from pipeline.errors import Overloaded
from pipeline.support.json_types import JsonObject
from server.access.callers import Caller, Permission, permissions_of
from server.sharing.values import Values

log = logging.getLogger(__name__)

PREFIX = "ek_"
CONVERSATIONS = ("/v1/realtime", "/v1/realtime/calls", "/v1/realtime/calls/")
"""Paths that accept a secret for conversations; with a slash at the end, also those below."""
TRANSLATIONS = ("/v1/realtime/translations",)
"""Paths that accept a secret for translations."""
VALUE_CHARS = 43
"""Length of a secret after the prefix."""
SCOPE = "parley.session"
"""Key in an ASGI scope under which the configuration of the secret's sessions is stored."""
MOST, MOST_OF_ONE = 10_000, 1_000
"""Maximum number of valid secrets, in total and of one caller."""
SHARED_PREFIX = "secret:"
"""Beginning of the keys of secrets among the shared values."""
SHARED_S = 0.5
"""Timeout for the other processes' secrets, in seconds."""
MOST_CHARS_OF_ONE = 4_000_000
"""Maximum length of the configurations of one caller's valid secrets together."""


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """The permission of a secret."""

    caller: Caller
    """The caller that has made it, with the permission to talk only."""
    text: str
    """Configuration of its sessions as JSON, as in `session.update`; an empty object: the default."""
    expires_at: float
    """Unix time."""
    paths: tuple[str, ...]
    """Paths that accept it."""

    @property
    def session(self) -> JsonObject:
        """Configuration of its sessions."""
        session: JsonObject = json.loads(self.text)
        return session


class ClientSecrets:
    """The valid secrets."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.shared: Values | None = None
        """The secrets of all processes of the service; None: there is only this one."""
        self._known: dict[str, ClientSecret] = {}

    def make(
        self, caller: Caller, session: JsonObject, seconds: float, paths: tuple[str, ...] = CONVERSATIONS
    ) -> tuple[str, int]:
        """Return a new secret, and its expiry in Unix time: never later than the caller's own. Raises Overloaded."""
        text = self.check_room(caller, session)
        value = PREFIX + secrets.token_urlsafe(32)
        expires_at = min(self._clock() + seconds, caller.until)
        own = replace(caller, permissions=frozenset({Permission.TALK}), address="")
        self._known[value] = ClientSecret(own, text, expires_at, paths)
        return value, int(expires_at)

    def check_room(self, caller: Caller, session: JsonObject) -> str:
        """Return a configuration as text. Raises Overloaded if a secret with it is one too many. Call it before the
        configuration is checked, which takes several times as long."""
        self._forget_expired()
        of_one = [secret for secret in self._known.values() if secret.caller.counted_as == caller.counted_as]
        text = json.dumps(session, separators=(",", ":"))
        chars = len(text) + sum(len(secret.text) for secret in of_one)
        if len(self._known) >= MOST or len(of_one) >= MOST_OF_ONE or chars > MOST_CHARS_OF_ONE:
            raise Overloaded("Too many client secrets are valid; retry when some have expired.", retry_after_s=60.0)
        return text

    def find(self, value: str, path: str) -> ClientSecret | None:
        """Return what a secret permits at this path; None if it is unknown, expired, or for other paths."""
        secret = self._known.get(value)
        if secret is None or self._clock() >= secret.expires_at:
            return None
        return secret if _fits(path, secret.paths) else None

    async def tell(self, value: str) -> None:
        """Make a new secret valid in all processes of the service."""
        if self.shared is None:
            return
        made = self._known[value]
        told = {**asdict(made), "caller": {**asdict(made.caller), "permissions": sorted(made.caller.permissions)}}
        try:
            async with asyncio.timeout(SHARED_S):
                await self.shared.put(_key(value), json.dumps(told), max(0.0, made.expires_at - self._clock()))
        except Exception as error:  # of Redis, which have many types
            log.warning("a client secret is valid in this process only: %s", type(error).__name__)

    async def look_up(self, value: str, path: str) -> ClientSecret | None:
        """Do the same as `find`, for the secrets of all processes of the service."""
        # Anyone can send a secret, before requests are counted: ask the others only where it would be of use.
        useful = value not in self._known and _plausible(value) and _fits(path, CONVERSATIONS + TRANSLATIONS)
        if self.shared is not None and useful:
            with suppress(Exception):
                async with asyncio.timeout(SHARED_S):
                    told = await self.shared.get(_key(value))
                if told is not None:
                    self._forget_expired()
                    self._known[value] = _read(json.loads(told))
        return self.find(value, path)

    def _forget_expired(self) -> None:
        now = self._clock()
        self._known = {value: secret for value, secret in self._known.items() if secret.expires_at > now}


def _plausible(value: str) -> bool:
    return value.startswith(PREFIX) and len(value) == len(PREFIX) + VALUE_CHARS


def _fits(path: str, paths: tuple[str, ...]) -> bool:
    return any(path.startswith(one) if one.endswith("/") else path == one for one in paths)


def _key(value: str) -> str:
    """Return the key of a secret among the shared values, which do not reveal it."""
    return SHARED_PREFIX + hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()


def _read(told: dict[str, Any]) -> ClientSecret:
    caller = Caller(**{**told["caller"], "permissions": permissions_of(told["caller"]["permissions"])})
    return ClientSecret(caller, told["text"], told["expires_at"], tuple(told["paths"]))


def bound_session(connection: HTTPConnection) -> JsonObject:
    """Return the configuration of the secret that opened a connection; empty without one."""
    session: JsonObject = connection.scope.get(SCOPE, {})
    return session

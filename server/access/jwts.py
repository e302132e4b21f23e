"""JWTs as keys: signed with JWT_SECRET, or with a key that JWT_JWKS_URL publishes.

Which algorithm a token may have is decided by the kind of key, never by the token: HMAC with the secret, a signature
with a published key and with that key's own algorithm. So a public key can never be taken for a shared secret.
"""

import asyncio
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import jwt

from pipeline.errors import Overloaded
from pipeline.settings import Settings
from server.access.callers import USE, Caller, Right, rights_of

log = logging.getLogger(__name__)

HMAC = ("HS256", "HS384", "HS512")
SIGNED = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
MAX_TOKEN_CHARS = 8192
MAX_NAME_CHARS = 64
MADE = "~"
"""Names that are no subjects as they are begin with it."""

FETCH_S = 5.0
"""The key set has so long to come."""
FRESH_S = 600.0
"""It is fetched again after so long, behind the back of whoever calls."""
AGAIN_S = 30.0
"""But not sooner than this for a key that it does not have: anybody can name one."""
STALE_S = 86_400.0
"""While it cannot be fetched, the last one is good for so long."""
MAX_SET_BYTES = 262_144
MAX_SET_KEYS = 64


class Jwts:
    """The tokens that one deployment takes."""

    def __init__(self, settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """transport: another way to the key set than the network."""
        self._secret = settings.jwt_secret
        self._issuer = settings.jwt_issuer or None
        self._audience = settings.jwt_audience or None
        self._set = KeySet(settings.jwt_jwks_url, transport) if settings.jwt_jwks_url else None

    def __bool__(self) -> bool:
        """Whether JWTs are taken at all."""
        return bool(self._secret) or self._set is not None

    async def find(self, token: str) -> Caller | None:
        """Whose token this is; None when it is none of ours, not yet or no longer good. Raises Overloaded when only a
        key set could tell that was never fetched."""
        if not self or token.count(".") != 2 or len(token) > MAX_TOKEN_CHARS:
            return None
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") in HMAC and self._secret:
                return self._caller(self._claims(token, self._secret, HMAC))
            if header.get("alg") in SIGNED and self._set is not None:
                key = await self._set.key(header.get("kid"))
                if key is not None and key.algorithm_name in SIGNED:
                    return self._caller(self._claims(token, key, [key.algorithm_name]))
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            return None
        return None

    def _claims(self, token: str, key: Any, algorithms: Any) -> dict[str, Any]:
        # One without `exp` is none: it could never be taken back.
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=list(algorithms),
            issuer=self._issuer,
            audience=self._audience,
            options={"require": ["exp"], "verify_aud": self._audience is not None},
        )
        return claims

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        issuer = None if self._issuer else claims.get("iss")
        name = _name(claims.get("sub"), issuer)
        return Caller(name, _rights(claims), kind="jwt", until=_expiry(claims["exp"]))


def _name(subject: Any, issuer: Any) -> str:
    """Another one for each subject of each issuer: jobs and limits are told apart by it. Tokens without a subject are
    all of one caller. issuer: of the token, where JWT_ISSUER does not say which it is.

    A subject that could be taken for a name made here (it begins with MADE), or that is no name (long, not printable,
    of an issuer of its own), is named by its SHA-256; no two have the same one.
    """
    if subject is None and issuer is None:
        return MADE
    plain = isinstance(subject, str) and 0 < len(subject) <= MAX_NAME_CHARS and subject.isprintable()
    if plain and issuer is None and not subject.startswith(MADE):
        return str(subject)
    told = json.dumps([subject, issuer], ensure_ascii=False).encode("utf-8", "surrogatepass")
    return MADE + hashlib.sha256(told).hexdigest()


def _expiry(told: Any) -> float:
    """Of `exp`, which PyJWT has found good."""
    try:
        return float(told)
    except OverflowError:
        return math.inf


def _rights(claims: Mapping[str, Any]) -> frozenset[Right]:
    """Those of `scope` (RFC 8693: a text of words), `scp` or `scopes`; a token that says nothing of rights may use the
    service and not change it."""
    for name in ("scope", "scp", "scopes"):
        if name in claims:
            told = claims[name]
            words = told.split() if isinstance(told, str) else told if isinstance(told, list) else []
            return rights_of(word for word in words if isinstance(word, str))
    return USE


class KeySet:
    """The public keys at an address, kept and fetched again."""

    def __init__(
        self,
        url: str,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._transport = transport
        self._clock = clock
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, kid: Any) -> jwt.PyJWK | None:
        """The key of this id; a token without one means the only key there is. Raises Overloaded while there are no
        keys at all."""
        if not isinstance(kid, str | None):
            return None
        age_s = self._clock() - self._fetched_at if self._fetched_at is not None else STALE_S
        if age_s >= STALE_S:
            self._keys = {}
        if not self._keys or (self._find(kid) is None and self._may_try()):
            await self._fetch()
        elif age_s >= FRESH_S and self._may_try():
            self._begin()  # this caller does not wait for it
        if not self._keys:
            raise Overloaded("Tokens cannot be checked now; try again soon.", retry_after_s=AGAIN_S)
        return self._find(kid)

    def _find(self, kid: str | None) -> jwt.PyJWK | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    def _may_try(self) -> bool:
        return self._tried_at is None or self._clock() - self._tried_at >= AGAIN_S

    async def _fetch(self) -> None:
        """Fetch it, or wait for whoever does; not again at once where it has just failed."""
        if self._fetching is None and not self._may_try():
            return
        await asyncio.shield(self._begin())

    def _begin(self) -> asyncio.Task[None]:
        if self._fetching is None:
            self._tried_at = self._clock()
            self._fetching = asyncio.create_task(self._load())
            self._fetching.add_done_callback(self._done)
        return self._fetching

    def _done(self, task: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _load(self) -> None:
        try:
            async with asyncio.timeout(FETCH_S):
                keys = _parse(await self._download())
        except (httpx.HTTPError, ValueError, TimeoutError, RecursionError) as error:
            log.warning("JWT_JWKS_URL cannot be fetched: %s", type(error).__name__)
            return
        self._keys, self._fetched_at = keys, self._clock()

    async def _download(self) -> bytes:
        """Raises HTTPError, ValueError. Redirects are not followed: the address was chosen, where it leads was not."""
        async with (
            httpx.AsyncClient(transport=self._transport, timeout=FETCH_S) as client,
            client.stream("GET", self._url, headers={"Accept": "application/json"}) as response,
        ):
            if response.status_code != 200:
                raise ValueError(f"status {response.status_code}")
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > MAX_SET_BYTES:
                    raise ValueError("too large")
            return bytes(body)


def _parse(body: bytes) -> dict[str | None, jwt.PyJWK]:
    """Keys that sign, by their ids; symmetric ones are no public keys. Raises ValueError when there are none."""
    told = json.loads(body)
    entries = told.get("keys") if isinstance(told, dict) else None
    found: dict[str | None, jwt.PyJWK] = {}
    for entry in entries[:MAX_SET_KEYS] if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or entry.get("kty") == "oct" or entry.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(entry)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
            continue  # of a kind that is not known here: the others count
        if key.algorithm_name in SIGNED:
            kid = entry.get("kid")
            found[kid if isinstance(kid, str) else None] = key
    if not found:
        raise ValueError("no keys")
    return found

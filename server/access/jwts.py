"""JWTs as keys: signed with JWT_SECRET, or with a key that JWT_JWKS_URL publishes.

The kind of key decides which algorithm a token may use, never the token: HMAC with the secret, or a published key with
that key's own algorithm. So a public key can never be used as a shared secret.
"""

import asyncio
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import httpx
import jwt

from pipeline.errors import Overloaded
from pipeline.settings import Settings
from server.access.callers import USE, Caller, Permission, permissions_of

log = logging.getLogger(__name__)

HMAC = ("HS256", "HS384", "HS512")
SIGNED = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
MAX_TOKEN_CHARS = 8192
MAX_NAME_CHARS = 64
MADE = "~"
"""Prefix of callers' names that are made here and are not a token's subject."""

FETCH_S = 5.0
"""Timeout for fetching the key set, in seconds."""
FRESH_S = 600.0
"""Age in seconds after which the key set is fetched again in the background."""
AGAIN_S = 30.0
"""Seconds between fetches for a key that is not in the set: any caller can name an unknown key."""
STALE_S = 86_400.0
"""Seconds for which the last key set stays valid while it cannot be fetched."""
MAX_SET_BYTES = 262_144
MAX_SET_KEYS = 64
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""Errors of parsers for a malformed key set."""


class Jwts:
    """Verification of the JWTs that one deployment accepts."""

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.jwt_secret
        self._issuer = settings.jwt_issuer or None
        self._audience = settings.jwt_audience or None
        self._set = KeySet(settings.jwt_jwks_url) if settings.jwt_jwks_url else None

    def __bool__(self) -> bool:
        """Whether JWTs are accepted at all."""
        return bool(self._secret) or self._set is not None

    async def find(self, token: str) -> Caller | None:
        """Return the caller of this token, or None if it is invalid, not valid yet or expired. Raises Overloaded when
        that depends on a key set that was never fetched."""
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

    def _claims(self, token: str, key: str | jwt.PyJWK, algorithms: Iterable[str]) -> Mapping[str, object]:
        # `exp` is required: a token without it could never be revoked.
        claims: Mapping[str, object] = jwt.decode(
            token,
            key,
            algorithms=list(algorithms),
            issuer=self._issuer,
            audience=self._audience,
            options={"require": ["exp"], "verify_aud": self._audience is not None},
        )
        return claims

    def _caller(self, claims: Mapping[str, object]) -> Caller:
        issuer = None if self._issuer else claims.get("iss")
        name = _name(claims.get("sub"), issuer)
        return Caller(name, _rights(claims), kind="jwt", until=_expiry(claims["exp"]))


def _name(subject: object, issuer: object) -> str:
    """Return the caller's name, which is unique for each subject of each issuer and identifies the caller for jobs and
    limits. All tokens without a subject belong to one caller. issuer: the token's issuer, unless JWT_ISSUER fixes it.

    The name is the SHA-256 of a subject that could be mistaken for a name made here (it begins with MADE) or that is
    unsuitable as a name (long, not printable, or with an issuer); these hashes are unique.
    """
    if subject is None and issuer is None:
        return MADE
    if isinstance(subject, str) and issuer is None and _suits(subject):
        return subject
    told = json.dumps([subject, issuer], ensure_ascii=False).encode("utf-8", "surrogatepass")
    return MADE + hashlib.sha256(told).hexdigest()


def _suits(subject: str) -> bool:
    return 0 < len(subject) <= MAX_NAME_CHARS and subject.isprintable() and not subject.startswith(MADE)


def _expiry(told: Any) -> float:
    """Return the time of `exp`, which PyJWT has validated."""
    try:
        return float(told)
    except OverflowError:
        return math.inf


def _rights(claims: Mapping[str, object]) -> frozenset[Permission]:
    """Return the permissions of `scope` (RFC 8693: words in one string), `scp` or `scopes`. A token without any of
    these claims may use the service but not change it."""
    for name in ("scope", "scp", "scopes"):
        if name in claims:
            told = claims[name]
            words = told.split() if isinstance(told, str) else told if isinstance(told, list) else []
            return permissions_of(word for word in words if isinstance(word, str))
    return USE


class KeySet:
    """The public keys at a URL, cached and refreshed."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = JwksClient(url, cache_jwk_set=False)
        self._clock = clock
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, kid: object) -> jwt.PyJWK | None:
        """Return the key with this ID; a token without an ID means the only key in the set. Raises Overloaded while
        there are no keys at all."""
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
            raise Overloaded("Tokens cannot be checked now; retry soon.", retry_after_s=AGAIN_S)
        return self._find(kid)

    def _find(self, kid: str | None) -> jwt.PyJWK | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    def _may_try(self) -> bool:
        return self._tried_at is None or self._clock() - self._tried_at >= AGAIN_S

    async def _fetch(self) -> None:
        """Fetch the key set, or wait for the fetch in progress. Do nothing just after a failed fetch."""
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
                keys = _signing(await asyncio.to_thread(self._client.get_jwk_set))
        except (httpx.HTTPError, jwt.PyJWTError, *MALFORMED, TimeoutError) as error:
            log.warning("JWT_JWKS_URL cannot be fetched: %s", type(error).__name__)
            return
        self._keys, self._fetched_at = keys, self._clock()


class JwksClient(jwt.PyJWKClient):
    """PyJWT's client, which limits neither the size of a response nor its total time, nor the number of keys."""

    def fetch_data(self) -> object:
        """Return the set as JSON. Blocks. Does not follow redirects: the operator chose this URL, not their targets."""
        deadline = time.monotonic() + FETCH_S
        body = bytearray()
        with httpx.stream("GET", self.uri, headers={"Accept": "application/json"}, timeout=FETCH_S) as response:
            if response.status_code != 200:
                raise ValueError(f"status {response.status_code}")
            for part in response.iter_bytes():
                body += part
                if len(body) > MAX_SET_BYTES:
                    raise ValueError("too large")
                if time.monotonic() > deadline:
                    raise TimeoutError
        entries = json.loads(body)["keys"][:MAX_SET_KEYS]
        # PyJWT skips keys that it cannot use, but fails at some algorithms: "none", or a list.
        return {"keys": [one for one in entries if isinstance(one, dict) and one.get("alg") in (None, "", *SIGNED)]}


def _signing(found: jwt.PyJWKSet) -> dict[str | None, jwt.PyJWK]:
    """Return the signing keys by their IDs, without symmetric keys, which are not public. Raises ValueError for an
    empty result."""
    keys = [key for key in found if key.algorithm_name in SIGNED and key.public_key_use in ("sig", None)]
    if not keys:
        raise ValueError("no keys")
    return {key.key_id if isinstance(key.key_id, str) else None: key for key in keys}

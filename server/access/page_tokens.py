"""Short-lived tokens for a page's WebSockets: a browser sends its credential in a header that reverse proxies often
log, and a key would stay in those logs forever.

A token is `pt_`, its content in base64 and a signature. It is valid for WebSockets only, and expires no later than the
key that it was made with.
"""

import base64
import hashlib
import hmac
import json
import math
import secrets
import time
from collections.abc import Callable
from typing import Any

from server.access.callers import Caller, Permission, permissions_of

PREFIX = "pt_"
CONTEXT = b"parley page token 2"
"""Signature context. Change its number whenever the content of tokens changes, so that older tokens are rejected."""


class PageTokens:
    """Makes and verifies page tokens."""

    def __init__(self, shared_secret: str, seconds: float, clock: Callable[[], float] = time.time) -> None:
        """shared_secret: lets several services verify each other's tokens; without it, each verifies only its own."""
        self._key = (
            hmac.digest(shared_secret.encode(), CONTEXT, hashlib.sha256) if shared_secret else secrets.token_bytes(32)
        )
        self._alone = not shared_secret
        self.seconds = seconds
        self._clock = clock

    def share(self, secret: bytes) -> None:
        """Verify the tokens of other processes, too, which have the same random secret. Without effect with a secret
        from the settings."""
        if self._alone:
            self._key = hmac.digest(secret, CONTEXT, hashlib.sha256)

    def make(self, caller: Caller) -> tuple[str, int]:
        """Return a token for this caller's sockets, without the admin permission, and its expiry in Unix time."""
        expires_at = int(min(self._clock() + self.seconds, caller.until))
        permissions = [right for right in (Permission.TALK, Permission.TRANSCRIBE) if caller.may(right)]
        until = caller.until if math.isfinite(caller.until) else None
        content = [caller.name, permissions, caller.kind, expires_at, until, self.mark(caller.proof)]
        told = _encoded(json.dumps(content).encode())
        return f"{PREFIX}{told}.{_encoded(self._sign(told))}", expires_at

    def find(self, token: str) -> Caller | None:
        """Return the token's caller, with `kind`, `until` and a mark in `proof` from the key that it was made with;
        None for a foreign or expired token."""
        told, _, signature = token.removeprefix(PREFIX).partition(".")
        if not token.startswith(PREFIX) or not hmac.compare_digest(
            signature.encode("utf-8", "replace"), _encoded(self._sign(told)).encode()
        ):
            return None
        content: list[Any] = json.loads(base64.urlsafe_b64decode(told + "=" * (-len(told) % 4)))
        name, permissions, kind, expires_at, until, mark = content
        if self._clock() >= expires_at:
            return None
        return Caller(
            name, permissions_of(permissions), kind=kind, until=math.inf if until is None else until, proof=mark
        )

    def mark(self, proof: str) -> str:
        """Return a value that identifies a key in a token without revealing the key; "" without a key."""
        return hmac.digest(self._key, proof.encode(), hashlib.sha256).hex()[:16] if proof else ""

    def _sign(self, told: str) -> bytes:
        return hmac.digest(self._key, told.encode("utf-8", "replace"), hashlib.sha256)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")

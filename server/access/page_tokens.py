"""Short-lived tokens for the sockets of a page: what a browser sends with a WebSocket is a header that proxies like to
write down, and a key would stay in their logs for ever.

A token is `pt_`, its content in base64 and a signature; good for WebSockets only, and no longer than the key it was
made with.
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

from server.access.callers import Caller, Right, rights_of

PREFIX = "pt_"
CONTEXT = b"parley page token 2"
"""Another number where a token has other contents: those of the version before are not understood then."""


class PageTokens:
    """Makes tokens, and knows its own again."""

    def __init__(self, shared_secret: str, seconds: float, clock: Callable[[], float] = time.time) -> None:
        """shared_secret: lets several services know each other's tokens; without it, each its own."""
        self._key = (
            hmac.digest(shared_secret.encode(), CONTEXT, hashlib.sha256) if shared_secret else secrets.token_bytes(32)
        )
        self.seconds = seconds
        self._clock = clock

    def make(self, caller: Caller) -> tuple[str, int]:
        """A token for this caller's sockets, without the right to change things; and when it expires, in Unix time."""
        expires_at = int(min(self._clock() + self.seconds, caller.until))
        rights = [right for right in (Right.TALK, Right.TRANSCRIBE) if caller.may(right)]
        until = caller.until if math.isfinite(caller.until) else None
        content = [caller.name, rights, caller.kind, expires_at, until, self.mark(caller.proof)]
        told = _encoded(json.dumps(content).encode())
        return f"{PREFIX}{told}.{_encoded(self._sign(told))}", expires_at

    def find(self, token: str) -> Caller | None:
        """Whose it is; `kind`, `until` and the mark in `proof` are those of the key it was made with. None for one that
        is not ours, or expired."""
        told, _, signature = token.removeprefix(PREFIX).partition(".")
        if not token.startswith(PREFIX) or not hmac.compare_digest(
            signature.encode("utf-8", "replace"), _encoded(self._sign(told)).encode()
        ):
            return None
        content: list[Any] = json.loads(base64.urlsafe_b64decode(told + "=" * (-len(told) % 4)))
        name, rights, kind, expires_at, until, mark = content
        if self._clock() >= expires_at:
            return None
        return Caller(name, rights_of(rights), kind=kind, until=math.inf if until is None else until, proof=mark)

    def mark(self, proof: str) -> str:
        """By which a token names its key, and from which nobody can guess it; "" for none."""
        return hmac.digest(self._key, proof.encode(), hashlib.sha256).hex()[:16] if proof else ""

    def _sign(self, told: str) -> bytes:
        return hmac.digest(self._key, told.encode("utf-8", "replace"), hashlib.sha256)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")

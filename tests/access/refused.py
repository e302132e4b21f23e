"""Invalid credentials for every route, used by `tests/access/test_routes.py` and `bench/refusals.py`."""

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jwt

from server.access.callers import USE, Caller
from server.access.page_tokens import PageTokens
from server.access.rules import Open, rule_for
from tests.access.calls import SECRET, Route

OPEN = {
    "/", "/ui", "/web", "/web/anything", "/health", "/health/live", "/health/ready",
    "/openapi.json", "/docs", "/docs/anything", "/docs/oauth2-redirect", "/redoc",
    # Reads nothing and leads to /ui: a phone shares without a key.
    "/share",
    "/api/v1/webhooks/transcription", "/api/v1/webhooks/transcription/{job_id}/file", "/twilio/voice", "/twilio/media",
}  # fmt: skip
"""Routes that need no key: the public ones, two for remote workers and two for Twilio, which sign their requests. A
comment must say why when you add one.
"""
TALKS, TRANSCRIBES, ADMIN = "talks-" + "a" * 40, "transcribes-" + "b" * 40, "admin-" + "c" * 40
API_KEYS = f"anna:talk:{TALKS},tess:transcribe:{TRANSCRIBES},root:admin:{ADMIN}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """Headers of one request, and the status that must be sent in reply."""

    kind: str
    headers: dict[str, str]
    status: int


def _part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def attempts(route: Route) -> Iterator[Attempt]:
    """Yield every attempt that this route must refuse."""
    soon = time.time() + 60
    good = jwt.encode({"exp": soon, "scope": "talk transcribe admin"}, SECRET, "HS256")
    header, payload, signature = good.split(".")
    yield Attempt("no key", {}, 401)
    for key in ("wrong", TALKS[:-1], TALKS + "x", "anna", f"anna:talk:{TALKS}", "parley_" + "A" * 43):
        yield Attempt("wrong key", _bearer(key), 401)
    for value in ("", "Bearer", "Bearer ", f"Basic {TALKS}", TALKS, f"Bearer {TALKS},{TALKS}", f"Bearer {'x' * 9000}"):
        yield Attempt("malformed", {"Authorization": value}, 401)
    for token in ("..", f"{header}.{payload}.", f"{header}.{payload}.{signature[::-1]}", "a.b.c", "pt_.", "pt_x.y"):
        yield Attempt("malformed", _bearer(token), 401)
    yield Attempt("malformed", _bearer(f"{_part({'alg': 'none', 'typ': 'JWT'})}.{payload}."), 401)
    yield Attempt("malformed", _bearer(jwt.encode({"exp": soon}, SECRET[::-1], "HS256")), 401)
    yield Attempt("malformed", _bearer(jwt.encode({"sub": "for ever"}, SECRET, "HS256")), 401)
    yield Attempt("expired", _bearer(jwt.encode({"exp": time.time() - 1, "scope": "admin"}, SECRET, "HS256")), 401)
    yield Attempt("expired", _bearer(jwt.encode({"exp": soon, "nbf": soon, "scope": "admin"}, SECRET, "HS256")), 401)
    caller = PageTokens(SECRET, -1)
    yield Attempt("expired", _bearer(_page_token(caller)), 401)
    if route.method == "WEBSOCKET":
        for key in ("", "wrong", TALKS[:-1]):
            protocols = {"Sec-WebSocket-Protocol": f"parley, openai-insecure-api-key.{key}"}
            yield Attempt("wrong key", protocols, 401)
    else:
        yield Attempt("wrong scope", _bearer(_page_token(PageTokens(SECRET, 60))), 401)  # only for sockets
    needed = rule_for(route.example, route.method).needed
    if not isinstance(needed, Open):
        for right, key in (("talk", TALKS), ("transcribe", TRANSCRIBES)):
            if right != needed:
                yield Attempt("wrong scope", _bearer(key), 403)
        claims: tuple[dict[str, Any], ...] = (
            {"scope": ""},
            {"scope": "openid email"},
            {"scp": []},
            {"scopes": 7},
            {"scope": None},
        )
        for claim in claims:
            token = jwt.encode({"exp": soon, **claim}, SECRET, "HS256")
            yield Attempt("wrong scope", _bearer(token), 403)


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _page_token(tokens: PageTokens) -> str:
    return tokens.make(Caller("anna", USE))[0]

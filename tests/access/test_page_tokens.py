"""Tokens for the sockets of pages."""

import time
from pathlib import Path
from typing import Any

import jwt
from starlette.requests import HTTPConnection

from pipeline.settings import Settings
from server.access import Access, AccessMiddleware, Caller, Permission
from server.access.callers import ALL, SCOPE, USE
from server.access.jwts import Jwts
from server.access.keys import KeyFile
from server.access.page_tokens import PageTokens
from tests.access.calls import SECRET, Route, call, scope


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_token_works_for_a_minute_without_admin_permission() -> None:
    clock = Clock()
    tokens = PageTokens("", 60, clock)
    token, expires_at = tokens.make(Caller("anna", ALL))
    assert expires_at == 1060
    assert tokens.find(token) == Caller("anna", USE)
    assert PageTokens("", 60, clock).find(token) is None, "another service's token"
    ben = Caller("ben", frozenset({Permission.TALK}), kind="jwt", until=2000.0)
    talk, _ = tokens.make(ben)
    assert tokens.find(talk) == ben
    for bad in ("", "pt_", token[:-1], token + "A", token[3:], "pt_" + token, talk.replace("pt_", "pt_A"), "pt_é.é",
                token.rpartition(".")[0] + "." + talk.rpartition(".")[2]):  # fmt: skip
        assert tokens.find(bad) is None, bad
    clock.now = 1060
    assert tokens.find(token) is None


async def test_a_token_expires_with_the_jwt_it_was_made_with() -> None:
    jwts = Jwts(Settings(jwt_secret=SECRET))
    soon = int(time.time()) + 20
    caller = await jwts.find(jwt.encode({"exp": soon, "sub": "ben"}, SECRET, "HS256"))
    assert caller is not None
    _, expires_at = PageTokens(SECRET, 3600).make(caller.at("192.0.2.7"))
    assert expires_at == soon
    endless = await jwts.find(jwt.encode({"exp": 10**400}, SECRET, "HS256"))
    assert endless is not None
    assert PageTokens(SECRET, 60).make(endless)[1] <= time.time() + 60


def test_services_that_share_a_secret_accept_each_others_tokens() -> None:
    token, _ = PageTokens(SECRET, 60).make(Caller("anna", USE))
    assert PageTokens(SECRET, 60).find(token) == Caller("anna", USE)
    assert PageTokens(SECRET[::-1], 60).find(token) is None


async def test_a_token_opens_only_sockets_and_ends_with_its_key(tmp_path: Path) -> None:
    seen: list[Caller] = []

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope[SCOPE])

    keys = KeyFile(tmp_path / "keys")
    key = keys.add("anna", frozenset({Permission.TALK}))
    access = Access(Settings(api_keys_file=str(tmp_path / "keys")))
    anna = await access.identify(HTTPConnection(scope(Route("POST", "/page-token"), {"X-API-Key": key})))
    assert anna is not None
    token, _ = access.page_tokens.make(anna)
    middleware = AccessMiddleware(inside, access)
    protocols = {"Sec-WebSocket-Protocol": f"parley, openai-insecure-api-key.{token}"}
    await middleware(scope(Route("WEBSOCKET", "/ws"), protocols), None, None)  # type: ignore[arg-type]
    assert seen.pop().name == "anna"
    assert (await call(middleware, scope(Route("WEBSOCKET", "/api/v1/streaming"), protocols))).status == 403
    for method, path in (("GET", "/v1/models"), ("POST", "/page-token"), ("POST", "/ws")):
        for headers in ({"Authorization": f"Bearer {token}"}, protocols):
            assert (await call(middleware, scope(Route(method, path), headers))).status == 401
    keys.remove("anna")
    keys.add("anna", frozenset({Permission.TALK}))  # another key with the same name
    access._keys._looked_at -= 2  # a moment later
    assert (await call(middleware, scope(Route("WEBSOCKET", "/ws"), protocols))).status == 401

"""Every route and socket in the application's route table: only the listed ones are open."""

import json
from collections import Counter
from typing import Any

import pytest
from fastapi import FastAPI

from pipeline.settings import Settings
from server.access import Access, AccessMiddleware, Caller
from server.access.callers import SCOPE
from server.access.rules import OTHERS, Open, rule_for
from server.app import create_app
from tests.access.calls import SECRET, Route, call, every_route, routes, scope
from tests.access.refused import ADMIN, API_KEYS, OPEN, TALKS, TRANSCRIBES, attempts

GUARDED = [route for route in every_route() if route.path not in OPEN]


@pytest.fixture(scope="module")
def locked() -> FastAPI:
    return create_app(Settings(api_keys=API_KEYS, jwt_secret=SECRET, rate_limit=""))


async def test_only_the_listed_routes_are_open(locked: FastAPI) -> None:
    told: Counter[str] = Counter()
    for route in GUARDED:
        for attempt in attempts(route):
            answer = await call(locked, scope(route, attempt.headers))
            assert answer.status == attempt.status, (route, attempt)
            challenge = answer.headers["www-authenticate"]
            assert challenge == "Bearer" if answer.status == 401 else "insufficient_scope" in challenge
            error = json.loads(answer.body)["error"]
            if route.path.startswith("/v1/"):
                assert set(error) == {"message", "type", "param", "code"}
            else:
                assert set(error) == {"code", "message"}
            told[attempt.kind] += 1
    assert len(GUARDED) > 30
    assert sum(route.method == "WEBSOCKET" for route in GUARDED) == 4
    assert min(told.values()) >= len(GUARDED), told


def test_the_listed_routes_exist_and_are_open() -> None:
    there = {route.path for route in every_route()}
    assert {path for path in there if isinstance(rule_for(path, "GET").needed, Open)} >= OPEN & there
    for route in every_route():
        needed = rule_for(route.example, route.method).needed
        assert (needed in (Open.ALL, Open.SIGNED)) == (route.path in OPEN), route


@pytest.mark.parametrize(
    ("asked", "leads_to"),
    [
        ("/queues/", "/queues?limit=1"),
        ("/transcribe", "/transcribe/?limit=1"),
        ("/jobs//", "/jobs?limit=1"),
        ("//queues/", "/queues?limit=1"),
        ("//elsewhere.example/web/..", None),
    ],
)
async def test_a_redirect_stays_on_this_host(locked: FastAPI, asked: str, leads_to: str | None) -> None:
    headers = {"Authorization": f"Bearer {ADMIN}", "Host": "elsewhere.example"}
    answer = await call(locked, {**scope(Route("GET", asked), headers), "query_string": b"limit=1"})
    assert answer.headers.get("location") == leads_to
    assert answer.status == (404 if leads_to is None else 307)


async def test_a_newly_added_route_is_closed() -> None:
    app = create_app(Settings(api_keys=API_KEYS, rate_limit=""))

    @app.get("/new/thing")
    async def new() -> str:
        return "secret"

    @app.websocket("/new/socket")
    async def socket() -> None:
        raise AssertionError

    added = [route for route in routes(app) if route.path.startswith("/new")]
    assert len(added) == 2
    for route in added:
        assert rule_for(route.path, "GET") is OTHERS
        assert (await call(app, scope(route))).status == 401
        assert (await call(app, scope(route, {"Authorization": f"Bearer {TALKS}"}))).status == 403
    for path in ("/new/nothing", "/v1/responses", "/api/v1/webhooks/x"):
        assert (await call(app, scope(Route("POST", path)))).status == 401
        assert (await call(app, scope(Route("POST", path), {"Authorization": f"Bearer {TALKS}"}))).status == 404


@pytest.mark.parametrize("path", ["/wsx", "/v1/nothing", "/jobs/x", "/web/app.js", "/api/v1/webhooks/x", "/ws/"])
async def test_an_unknown_socket_path_is_reported(locked: FastAPI, path: str) -> None:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    answer = await call(locked, scope(Route("WEBSOCKET", path), headers))
    assert answer.status == 404
    assert json.loads(answer.body)["error"]["code"] == "not_found"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"]


async def test_allowed_pages_may_send_other_headers() -> None:
    app = create_app(Settings(api_keys=API_KEYS, allowed_origins="https://example.org"))
    asked = "authorization,content-type,openai-beta,traceparent,x-stainless-lang,x-stainless-os"

    def preflight(origin: str) -> dict[str, str]:
        return {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": asked,
        }

    route = Route("OPTIONS", "/v1/audio/speech")
    answer = await call(app, scope(route, preflight("https://example.org")))
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://example.org")
    assert answer.headers["access-control-allow-headers"] == asked
    assert "access-control-allow-credentials" not in answer.headers
    answer = await call(app, scope(route, preflight("https://evil.example")))
    assert answer.status == 400
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "path", ["//jobs", "/JOBS", "/jobs/../health", "/web/../jobs", "/health/", "/health/x", "/wsx", "/./ws", "/jobs%2f"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "WEBSOCKET"])
async def test_there_is_no_way_around_the_access_check(locked: FastAPI, path: str, method: str) -> None:
    if path.startswith("/web/") and method == "GET":
        return  # the page's files, which are served from one folder only
    assert (await call(locked, scope(Route(method, path)))).status == 401


async def test_each_key_opens_its_routes() -> None:
    seen: list[Caller] = []

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope[SCOPE])

    middleware = AccessMiddleware(inside, Access(Settings(api_keys=API_KEYS, rate_limit="")))
    for route in GUARDED:
        needed = rule_for(route.example, route.method).needed
        for right, key in (("talk", TALKS), ("transcribe", TRANSCRIBES), ("admin", ADMIN)):
            if needed in (Open.ANY_KEY, right) or right == "admin":
                for headers in ({"Authorization": f"bearer  {key} "}, {"X-API-Key": key}):
                    await middleware(scope(route, headers), None, None)  # type: ignore[arg-type]
                    assert seen.pop().name == {"talk": "anna", "transcribe": "tess", "admin": "root"}[right]
    for path in ("/ws", "/v1/realtime", "/v1/realtime/translations"):
        protocols = {"Sec-WebSocket-Protocol": f"realtime, openai-insecure-api-key.{TALKS}"}
        await middleware(scope(Route("WEBSOCKET", path), protocols), None, None)  # type: ignore[arg-type]
        assert seen.pop().name == "anna"


async def test_callers_without_a_key_learn_only_that_the_service_is_alive() -> None:
    app = create_app(Settings(api_keys=API_KEYS))
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        answer = await call(app, scope(Route("GET", "/health"), headers))
        assert answer.status == 200
        assert set(json.loads(answer.body)) == {"status"}
        answer = await call(app, scope(Route("GET", "/"), headers))
        assert set(json.loads(answer.body)) == {"status", "message", "websocket", "docs"}

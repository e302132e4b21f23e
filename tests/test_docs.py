"""Routes named in the documentation, checked against the routes that exist."""

import re
from collections.abc import Iterator

import pytest

from pipeline.settings import HOME
from tests.access.calls import every_route

PAGES = sorted([*HOME.glob("*.md"), *(HOME / "docs").glob("*.md")])
METHODS = {"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "WS"}
ELSEWHERE = re.compile(
    r"/(?:app|tmp|data|etc|var|home|dev|proc|usr|opt|srv|path|run)\b.*|/api/(?:chat|generate|tags|show|pull)\b.*"
    r"|/v1/responses|/v1|/api/v1|/mcp"
)
"""Folders, routes of other services, and common prefixes of routes."""
OWN = re.compile(
    r"/(?:v1|api|ws|jobs|queues|asr|detect-language|transcribe|models|voices|health|metrics|status|docs)\b"
)


def named(text: str) -> Iterator[tuple[str, str]]:
    """Yield method ("" if not given) and path of each route that a page names in code or in a curl command."""
    for code in re.findall(r"`([^`\n]+)`", text):
        found = re.fullmatch(r"(?:([A-Z]+(?:`?, `?[A-Z]+)*) )?(/[^\s`]*)", code.replace("\\|", "|"))
        if found and (found[1] in METHODS or OWN.match(found[2])):
            yield found[1] or "", found[2]
    for path in re.findall(r"https?://(?:localhost|127\.0\.0\.1|HOST)(?::\d+|:PORT)?(/[\w./{}\-]+)", text):
        yield "", path


def there(path: str, routes: set[str]) -> bool:
    """Whether this is a route or, ending in "…", the prefix of a route."""
    plain = re.sub(r"\{[^}]*\}|\b[A-Z][A-Z_]+\b", "x", path.partition("?")[0])
    known = {re.sub(r"\{[^}]*\}", "x", route) for route in routes}
    if plain.endswith("…"):
        return any(route.startswith(plain[:-1].rstrip("/")) for route in known)
    return plain in known or plain.rstrip("/") in known


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_route_named_in_the_docs_exists(page: object) -> None:
    by_method: dict[str, set[str]] = {"": set()}
    for route in every_route():
        for method in ("", {"WEBSOCKET": "WS"}.get(route.method, route.method)):
            by_method.setdefault(method, set()).add(route.path)
    for method, path in named(page.read_text("utf-8")):  # type: ignore[attr-defined]
        if not ELSEWHERE.fullmatch(path):
            assert there(path, by_method.get(method, set())), f"{method} {path}"


def test_the_check_finds_routes_that_do_not_exist() -> None:
    routes = {route.path for route in every_route()}
    assert list(named("`GET /voices`, `/jobs/{id}` and `curl http://localhost:8000/asr?x=1`")) == [
        ("GET", "/voices"),
        ("", "/jobs/{id}"),
        ("", "/asr"),
    ]
    assert not there("/voices", routes)
    assert there("/jobs/{id}", routes)
    assert there("/jobs…", routes)

"""The web pages that may call the service, and the host names that it answers to."""

import pytest
from starlette.requests import HTTPConnection

from pipeline.settings import Settings
from server.access import Access


def allowed(origin: str | None, host: str, sent: dict[str, str] | None = None, **settings: str) -> bool:
    """sent: other headers."""
    headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin else [])
    headers += [(name.encode(), value.encode()) for name, value in (sent or {}).items()]
    origins = Access(Settings(**settings)).origins  # type: ignore[arg-type]
    connection = HTTPConnection({"type": "http", "headers": headers})
    return origins.good_origin(connection) and origins.good_host(connection)


@pytest.mark.parametrize("place", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "192.168.1.7:8000"])
def test_our_own_page_may_connect(place: str) -> None:
    assert allowed(f"http://{place}", place)
    assert allowed(None, place)


def test_a_rebound_host_name_is_refused() -> None:
    """DNS rebinding: the browser sends the attacker's name as Host, and as Origin except with GET."""
    for origin in ("http://evil.example:8000", None):
        assert not allowed(origin, "evil.example:8000")
        assert allowed(origin, "evil.example:8000", api_keys="secret")
    assert allowed("http://voice.example", "voice.example", allowed_origins="http://voice.example")
    assert allowed(None, "voice.example", allowed_origins="http://voice.example")
    assert allowed("http://voice.example", "voice.example", api_keys="secret")


@pytest.mark.parametrize("host", ["parley:8000", "api", "parley.local", "parley.default.svc.cluster.local:80", ""])
def test_programs_may_use_names_that_strangers_cannot_register(host: str) -> None:
    assert allowed(None, host)
    assert not allowed("http://elsewhere.example", host)


@pytest.mark.parametrize(
    "host", ["[::1", "a.b]:c", "evil.example.", "localhost.evil.example", "127.0.0.1.evil.example"]
)
def test_unusual_hosts_are_refused(host: str) -> None:
    assert not allowed(None, host)


PAGE_HEADERS = [
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    {"sec-fetch-site": ""},
    {"referer": "http://parley.local:8000/"},
    {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"},
    {"user-agent": "curl/8", "sec-fetch-site": "same-origin"},
]
"""Headers that browsers send with a page's requests. Over plain HTTP, Chrome sends only the last two."""
REBOUND = [
    "parley.local",
    "a.b.internal:8000",
    "nas.home.arpa",
    "parley:8000",
    "PARLEY.LOCAL",
    "x.local",
    "",
    "2130706433",
]


@pytest.mark.parametrize("sent", PAGE_HEADERS, ids=str)
@pytest.mark.parametrize("host", REBOUND)
def test_a_page_may_not_read_through_a_name_that_a_network_can_set(host: str, sent: dict[str, str]) -> None:
    assert allowed(None, host)
    assert not allowed(None, host, sent)
    assert not allowed(f"http://{host}", host, sent)
    assert allowed(None, host, sent, api_keys="secret")


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "192.168.1.7:8000", "[::1]:8000", "[FE80::1]"])
@pytest.mark.parametrize("sent", PAGE_HEADERS, ids=str)
def test_a_page_may_read_through_an_address(host: str, sent: dict[str, str]) -> None:
    assert allowed(None, host, sent)


def test_an_allowed_name_serves_its_page() -> None:
    same = {"sec-fetch-site": "same-origin", "user-agent": "Mozilla/5.0"}
    for host in ("parley.local:8000", "Parley.Local:8000"):
        assert allowed(None, host, same, allowed_origins="http://parley.local:8000")
    # A proxy that calls us by its own name for us, and a page that is allowed.
    page = {"referer": "https://voice.example/", **same}
    assert allowed("https://voice.example", "parley:8000", same, allowed_origins="https://voice.example")
    assert allowed(None, "parley:8000", page, allowed_origins="https://voice.example")
    assert not allowed(None, "parley:8000", same, allowed_origins="https://voice.example")
    assert not allowed(
        None, "parley:8000", {"referer": "https://voice.example.evil/"}, allowed_origins="https://voice.example"
    )


def test_typed_addresses_are_not_pages_and_other_headers_are_ignored() -> None:
    assert allowed(None, "parley.local", {"sec-fetch-site": "none", "user-agent": "Mozilla/5.0"})
    for name in ("x-forwarded-host", "forwarded", "x-host"):
        assert not allowed(None, "evil.example", {name: "localhost"})
        assert allowed(None, "localhost", {name: "evil.example"})
    assert not allowed(None, "localhost", {"host": "evil.example"}), "two names"
    assert not allowed(None, "evil.example", {"host": "localhost"}), "two names"

"""Which web pages may call, and by which names the service answers."""

import pytest
from starlette.requests import HTTPConnection

from pipeline.settings import Settings
from server.access import Access


def allowed(origin: str | None, host: str, **settings: str) -> bool:
    headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin else [])
    origins = Access(Settings(**settings)).origins  # type: ignore[arg-type]
    connection = HTTPConnection({"type": "http", "headers": headers})
    return origins.good_origin(connection) and origins.good_host(connection)


@pytest.mark.parametrize("place", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "192.168.1.7:8000"])
def test_our_own_page_may_connect(place: str) -> None:
    assert allowed(f"http://{place}", place)
    assert allowed(None, place)


def test_a_name_that_was_made_to_point_here_may_not() -> None:
    """DNS rebinding: the browser sends the attacker's name as Host, and as Origin where it sends one: not with GET."""
    for origin in ("http://evil.example:8000", None):
        assert not allowed(origin, "evil.example:8000")
        assert allowed(origin, "evil.example:8000", api_keys="secret")
    assert allowed("http://voice.example", "voice.example", allowed_origins="http://voice.example")
    assert allowed(None, "voice.example", allowed_origins="http://voice.example")
    assert allowed("http://voice.example", "voice.example", api_keys="secret")


@pytest.mark.parametrize("host", ["parley:8000", "api", "parley.local", "parley.default.svc.cluster.local:80", ""])
def test_programs_may_use_names_that_no_stranger_can_have(host: str) -> None:
    assert allowed(None, host)
    assert not allowed("http://elsewhere.example", host)


@pytest.mark.parametrize(
    "host", ["[::1", "a.b]:c", "evil.example.", "localhost.evil.example", "127.0.0.1.evil.example"]
)
def test_odd_hosts_are_strangers(host: str) -> None:
    assert not allowed(None, host)

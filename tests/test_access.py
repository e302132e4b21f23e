"""Which web pages may connect when no keys are set."""

import pytest
from starlette.requests import HTTPConnection

from pipeline.settings import Settings
from server.access import Access


def allowed(origin: str, host: str, **settings: str) -> bool:
    headers = [(b"origin", origin.encode()), (b"host", host.encode())]
    return Access(Settings(**settings)).good_origin(HTTPConnection({"type": "http", "headers": headers}))  # type: ignore[arg-type]


@pytest.mark.parametrize("place", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "192.168.1.7:8000"])
def test_our_own_page_may_connect(place: str) -> None:
    assert allowed(f"http://{place}", place)


def test_a_name_that_was_made_to_point_here_may_not() -> None:
    """DNS rebinding: the browser sends the attacker's name as Origin and as Host."""
    assert not allowed("http://evil.example:8000", "evil.example:8000")
    assert allowed("http://voice.example", "voice.example", allowed_origins="http://voice.example")
    assert allowed("http://voice.example", "voice.example", api_keys="secret")

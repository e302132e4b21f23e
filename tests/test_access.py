"""Which web pages may connect when no keys are set, and what is a key."""

import time

import jwt
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


SECRET = "0123456789abcdef0123456789abcdef"


def admitted(token: str, **settings: str) -> bool:
    headers = [(b"authorization", f"Bearer {token}".encode())]
    return Access(Settings(**settings)).has_key(HTTPConnection({"type": "http", "headers": headers}))  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ["HS256", "HS512"])
def test_a_jwt_is_a_key_until_it_expires(algorithm: str) -> None:
    good = jwt.encode({"exp": time.time() + 60, "sub": "anna", "aud": "parley"}, SECRET, algorithm)
    assert admitted(good, jwt_secret=SECRET)
    assert admitted(good, jwt_secret=SECRET, api_keys="other")
    assert admitted("other", jwt_secret=SECRET, api_keys="other")
    assert not admitted(good, api_keys="other")


def test_what_is_no_good_jwt_is_no_key() -> None:
    soon = {"exp": time.time() + 60}
    header, payload, signature = jwt.encode(soon, SECRET, "HS256").split(".")
    for bad in (
        "",
        "nonsense",
        jwt.encode({"exp": time.time() - 1}, SECRET, "HS256"),
        jwt.encode({**soon, "nbf": time.time() + 30}, SECRET, "HS256"),
        jwt.encode({"sub": "for ever"}, SECRET, "HS256"),
        jwt.encode(soon, SECRET[::-1], "HS256"),
        jwt.encode(soon, "", "none"),
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature[::-1]}",
    ):
        assert not admitted(bad, jwt_secret=SECRET), bad


def test_a_secret_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(ValueError, match="32 characters"):
        Settings(jwt_secret="short")

"""JWTs signed with the secret or with published keys, and tokens that are not valid JWTs."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI
from fastapi.responses import RedirectResponse, Response

from pipeline.errors import Overloaded
from pipeline.settings import Settings
from server.access import Permission
from server.access.jwts import AGAIN_S, FRESH_S, MADE, MAX_SET_BYTES, STALE_S, Jwts, KeySet
from tests.access.calls import SECRET
from tests.servers.running import closed_port, running
from tests.waiting import eventually

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
SOON = time.time() + 86_400


def public(key: Any, kid: str | None, **more: str) -> dict[str, Any]:
    """The public half as a JSON Web Key."""
    algorithm = {"RSAPrivateKey": "RS256", "ECPrivateKey": "ES256", "Ed25519PrivateKey": "EdDSA"}
    kind = next(value for name, value in algorithm.items() if name in type(key).__name__ or name in str(type(key)))
    made = jwt.get_algorithm_by_name(kind).to_jwk(key.public_key(), as_dict=True)
    return {**made, **({"kid": kid} if kid else {}), "use": "sig", **more}


class Login:
    """A login service on a real socket. A test changes which keys it publishes."""

    def __init__(self) -> None:
        self.keys: list[Any] = []
        self.asked = 0
        self.delay_s = 0.0
        self.answer: Response | None = None
        self.url = ""
        self.app = FastAPI()

        @self.app.get("/keys")
        async def keys() -> Response:
            self.asked += 1
            await asyncio.sleep(self.delay_s)
            return self.answer or Response(json.dumps({"keys": self.keys}), media_type="application/json")


@pytest.fixture
async def login() -> AsyncIterator[Login]:
    service = Login()
    async with running(service.app) as address:
        service.url = f"{address}/keys"
        yield service


def jwts(**settings: Any) -> Jwts:
    return Jwts(Settings(**settings))


# --- signed with the secret ---


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_a_jwt_is_a_key_until_it_expires(algorithm: str) -> None:
    good = jwt.encode({"exp": SOON, "sub": "anna", "aud": "parley"}, SECRET, algorithm)
    caller = await jwts(jwt_secret=SECRET).find(good)
    assert caller is not None
    assert (caller.name, caller.kind) == ("anna", "jwt")
    assert caller.permissions == {Permission.TALK, Permission.TRANSCRIBE}, "without scopes: use, but not administration"
    assert await jwts().find(good) is None


async def test_invalid_jwts_are_rejected() -> None:
    soon = {"exp": SOON}
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
        f"{header}.{payload}.{signature}" + "A" * 9000,
        "[" * 3000 + ".." + "",
    ):
        assert await jwts(jwt_secret=SECRET).find(bad) is None, bad[:80]


@pytest.mark.parametrize(
    ("claim", "permissions"),
    [
        ({"scope": "openid talk"}, {"talk"}),
        ({"scp": ["transcribe", "other", 7]}, {"transcribe"}),
        ({"scopes": "admin"}, {"admin"}),
        ({"scope": ""}, set()),
        ({"scope": ["talk", None]}, {"talk"}),
        ({"scope": "talks"}, set()),
        ({"scope": 7}, set()),
        ({"scope": "talk", "scp": "admin"}, {"talk"}),
    ],
)
async def test_permissions_come_from_the_claim(claim: dict[str, Any], permissions: set[str]) -> None:
    caller = await jwts(jwt_secret=SECRET).find(jwt.encode({"exp": SOON, **claim}, SECRET, "HS256"))
    assert caller is not None
    assert caller.permissions == permissions


async def test_issuer_and_audience_are_checked_when_they_are_set() -> None:
    strict = jwts(jwt_secret=SECRET, jwt_issuer="https://login.example", jwt_audience="parley")
    good = {"exp": SOON, "iss": "https://login.example", "aud": ["parley", "other"]}
    assert await strict.find(jwt.encode(good, SECRET, "HS256"))
    for wrong in ({"iss": "https://evil.example"}, {"aud": "other"}, {"iss": None}, {"aud": None}):
        claims = {name: value for name, value in {**good, **wrong}.items() if value is not None}
        assert await strict.find(jwt.encode(claims, SECRET, "HS256")) is None


async def name_of(claims: dict[str, Any], **settings: str) -> str:
    caller = await jwts(jwt_secret=SECRET, **settings).find(jwt.encode({"exp": SOON, **claims}, SECRET, "HS256"))
    assert caller is not None
    return caller.name


async def test_different_subjects_get_different_names() -> None:
    """A subject must not have the name that another subject, or a token without a subject, gets."""
    long = "x" * 100
    before = f"{'x' * 31}~{sha256(long.encode()).hexdigest()[:32]}"  # the name that an earlier version made of `long`
    subjects: list[dict[str, Any]] = [
        {}, {"sub": ""}, {"sub": "jwt"}, {"sub": "anna"}, {"sub": "anna "}, {"sub": "Anna"},
        {"sub": "an\u0000na"}, {"sub": "a\u0301"}, {"sub": "\u00e1"}, {"sub": long}, {"sub": long + "y"},
        {"sub": "key:anna"}, {"sub": before}, {"sub": "x" * 64}, {"sub": "x" * 65}, {"sub": "\ud800"},
        {"sub": "\udc00"}, {"sub": "anna", "iss": "https://a.example"}, {"sub": "anna", "iss": "https://b.example"},
        {"iss": "https://a.example"}, {"sub": '["anna", "https://a.example"]'},
    ]  # fmt: skip
    names = [await name_of(claims) for claims in subjects]
    assert len(set(names)) == len(names), Counter(names).most_common(2)
    # A subject that equals a generated name gets another name.
    again = [await name_of({"sub": name}) for name in names]
    made = [name for name in names if name.startswith(MADE)]
    assert not set(made) & set(again)
    assert all(0 < len(name) <= 65 for name in (*names, *again))


async def test_a_subject_keeps_its_name_when_the_issuer_is_set() -> None:
    issuer = "https://login.example"
    assert await name_of({"sub": "anna", "iss": issuer}, jwt_issuer=issuer) == "anna"
    assert await name_of({"sub": "anna"}) == "anna"


def test_a_guessable_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32 characters"):
        Settings(jwt_secret="short")


# --- signed with published keys ---


async def test_every_kind_of_published_key_is_accepted(login: Login) -> None:
    login.keys = [public(RSA, "r"), public(EC, "e"), public(ED, "d"), public(OTHER, "p", alg="PS256")]
    takes = jwts(jwt_jwks_url=login.url)
    for key, kid, algorithm in ((RSA, "r", "RS256"), (EC, "e", "ES256"), (ED, "d", "EdDSA"), (OTHER, "p", "PS256")):
        token = jwt.encode({"exp": SOON, "scope": "talk"}, key, algorithm, headers={"kid": kid})
        caller = await takes.find(token)
        assert caller is not None, algorithm
        assert caller.permissions == {Permission.TALK}
    assert login.asked == 1


async def test_malformed_published_keys_do_not_hide_the_others(login: Login) -> None:
    login.keys = ["key", {"kty": "RSA", "alg": ["RS256"]}, {"kty": "RSA", "alg": "none"}, {"kty": 5}, public(RSA, "r")]
    token = jwt.encode({"exp": SOON}, RSA, "RS256", headers={"kid": "r"})
    assert await jwts(jwt_jwks_url=login.url).find(token)


async def test_algorithms_are_not_confused(login: Login) -> None:
    """A public key as a secret, `none`, another key's id, a symmetric key in the set, an encryption key."""
    oct_key = {"kty": "oct", "kid": "o", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY", "alg": "HS256"}
    login.keys = [public(RSA, "r"), public(EC, "e"), oct_key, public(OTHER, "enc", use="enc")]
    takes = jwts(jwt_jwks_url=login.url)
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = {"exp": SOON, "scope": "admin"}

    def forged(secret: bytes) -> str:
        from base64 import urlsafe_b64encode as encode
        from hmac import digest

        told = ".".join(
            encode(json.dumps(part).encode()).decode().rstrip("=")
            for part in ({"alg": "HS256", "kid": "r", "typ": "JWT"}, claims)
        )
        return f"{told}.{encode(digest(secret, told.encode(), sha256)).decode().rstrip('=')}"

    for bad in (
        forged(pem),
        forged(json.dumps(login.keys[0]).encode()),
        jwt.encode(claims, "0123456789abcdef0123456789abcdef", "HS256", headers={"kid": "o"}),
        jwt.encode(claims, "", "none", headers={"kid": "r"}),
        jwt.encode(claims, RSA, "RS256", headers={"kid": "e"}),
        jwt.encode(claims, RSA, "RS512", headers={"kid": "r"}),
        jwt.encode(claims, OTHER, "RS256", headers={"kid": "r"}),
        jwt.encode(claims, OTHER, "RS256", headers={"kid": "enc"}),
        jwt.encode(claims, RSA, "RS256"),
        jwt.encode({"exp": time.time() - 1}, RSA, "RS256", headers={"kid": "r"}),
    ):
        assert await takes.find(bad) is None
    both = jwts(jwt_jwks_url=login.url, jwt_secret=SECRET)
    assert await both.find(forged(pem)) is None
    assert await both.find(jwt.encode(claims, SECRET, "HS256"))
    assert await both.find(jwt.encode(claims, RSA, "RS256", headers={"kid": "r"}))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_the_key_set_is_cached_and_fetched_again(login: Login) -> None:
    clock, keys = Clock(), None
    login.keys = [public(RSA, "old")]
    keys = KeySet(login.url, clock=clock)
    assert await keys.key("old")
    assert await keys.key("old")
    assert login.asked == 1
    login.keys = [public(OTHER, "new")]
    assert await keys.key("new") is None, "fetched a moment ago: any caller can name an unknown key"
    assert login.asked == 1
    clock.now += AGAIN_S
    assert await keys.key("new")
    assert await keys.key("old") is None, "revoked"
    clock.now += FRESH_S
    assert await keys.key("new")
    assert keys._fetching, "a request does not wait for a set that is only old"
    await eventually(lambda: not keys._fetching)
    assert login.asked == 3


async def test_during_an_outage_the_last_key_set_is_valid_for_a_day(login: Login) -> None:
    clock = Clock()
    login.keys = [public(RSA, "r")]
    keys = KeySet(login.url, clock=clock)
    assert await keys.key("r")
    for answer in (Response(status_code=500), Response("[" * 100), Response("{}"), Response(" " * MAX_SET_BYTES + "{}"),
                   RedirectResponse("/other")):  # fmt: skip
        login.answer, asked = answer, login.asked
        clock.now += FRESH_S
        assert await keys.key("r")
        await eventually(lambda: not keys._fetching)
        assert login.asked > asked
    clock.now += STALE_S
    with pytest.raises(Overloaded):
        await keys.key("r")


async def test_concurrent_requests_fetch_once_and_time_out(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    login.keys, login.delay_s = [public(RSA, "r")], 0.1
    keys = KeySet(login.url)
    assert all(await asyncio.gather(*(keys.key("r") for _ in range(20))))
    assert login.asked == 1
    monkeypatch.setattr("server.access.jwts.FETCH_S", 0.2)
    login.delay_s = 5
    with pytest.raises(Overloaded) as refused:
        await KeySet(login.url).key("r")
    assert refused.value.retry_after_s > 0
    with pytest.raises(Overloaded):
        await KeySet(f"http://127.0.0.1:{closed_port()}/keys").key("r")

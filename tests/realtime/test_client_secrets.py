"""Ephemeral keys: what they open, with which configuration, and how long."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from pipeline.errors import Overloaded
from server.access.callers import ALL, USE, Caller
from server.access.client_secrets import MOST_OF_ONE, ClientSecrets
from server.access.keys import KeyFile
from tests.server_process import ServerProcess, serving
from tests.webrtc.caller import calling, offered

KEY, OTHER = "a-key-of-thirty-two-characters-01", "a-key-of-thirty-two-characters-02"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("secrets")
    with serving(folder, API_KEYS=f"app:talk:{KEY},files:transcribe:{OTHER}") as server:
        yield server
    assert "Traceback" not in server.text


def made(server: ServerProcess, body: object = None, key: str = KEY) -> httpx.Response:
    return httpx.post(
        f"{server.url}/v1/realtime/client_secrets", json=body or {}, headers={"Authorization": f"Bearer {key}"}
    )


def opened(server: ServerProcess, key: str) -> ClientConnection:
    subprotocols: Any = ["realtime", f"openai-insecure-api-key.{key}"]
    return connect(f"ws://127.0.0.1:{server.port}/v1/realtime", subprotocols=subprotocols)


def first(connection: ClientConnection) -> dict[str, Any]:
    event = json.loads(connection.recv(timeout=20))
    assert event["type"] == "session.created"
    session: dict[str, Any] = event["session"]
    return session


def test_a_secret_of_the_sdk_opens_sessions_with_its_configuration(server: ServerProcess) -> None:
    client = OpenAI(base_url=f"{server.url}/v1", api_key=KEY)
    secret = client.realtime.client_secrets.create(
        expires_after={"anchor": "created_at", "seconds": 60},
        session={"type": "realtime", "instructions": "Speak like a pirate.", "audio": {"output": {"voice": "woman"}}},
    )
    assert secret.value.startswith("ek_")
    assert secret.session.type == "realtime"
    assert secret.session.instructions == "Speak like a pirate."
    for _ in range(2):
        with opened(server, secret.value) as connection:
            session = first(connection)
            assert session["instructions"] == "Speak like a pirate."
            assert session["audio"]["output"]["voice"] == "woman"


def test_a_secret_for_transcription_opens_transcription_sessions(server: ServerProcess) -> None:
    secret = made(server, {"session": {"type": "transcription", "audio": {"input": {"turn_detection": None}}}}).json()
    with opened(server, secret["value"]) as connection:
        assert first(connection)["type"] == "transcription"


async def test_a_secret_opens_calls_over_webrtc(server: ServerProcess) -> None:
    secret = made(server, {"session": {"instructions": "Be brief."}}).json()["value"]
    async with calling(server.url, key=secret) as caller:
        assert caller.events[0]["session"]["instructions"] == "Be brief."


def test_a_secret_opens_nothing_else(server: ServerProcess) -> None:
    secret = made(server).json()["value"]
    headers = {"Authorization": f"Bearer {secret}"}
    for method, path in (
        ("POST", "/v1/realtime/client_secrets"), ("POST", "/v1/audio/speech"), ("GET", "/v1/models"), ("GET", "/jobs"),
        ("GET", "/status"),
    ):  # fmt: skip
        assert httpx.request(method, f"{server.url}{path}", headers=headers).status_code == 401, path
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(f"ws://127.0.0.1:{server.port}/ws", additional_headers=headers),
    ):
        pass
    assert refused.value.response.status_code == 401


def test_only_keys_that_may_talk_make_secrets(server: ServerProcess) -> None:
    assert made(server, key=OTHER).status_code == 403
    assert made(server, key="wrong").status_code == 401
    with pytest.raises(InvalidStatus) as refused, opened(server, "ek_unknown"):
        pass
    assert refused.value.response.status_code == 401


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"expires_after": {"seconds": 9}}, "expires_after"),
        ({"expires_after": {"seconds": 7201}}, "expires_after"),
        ({"expires_after": {"anchor": "now", "seconds": 60}}, "expires_after"),
        ({"session": {"type": "other"}}, "session"),
        ({"session": {"type": "realtime", "unknown": 1}}, "unknown"),
        ({"session": {"type": "realtime", "audio": {"output": {"voice": "missing"}}}}, "voice"),
        ({"session": []}, "session"),
    ],
)
def test_bad_wishes_are_refused(server: ServerProcess, body: dict[str, object], told: str) -> None:
    answer = made(server, body)
    assert answer.status_code == 400
    assert told in answer.text


def test_a_revoked_key_ends_its_secrets_and_their_sessions(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys")
    keys.add("admin", ALL)
    key = keys.add("app", USE)
    with serving(tmp_path, API_KEYS_FILE=str(tmp_path / "keys")) as server:
        secret = made(server, key=key).json()["value"]
        with opened(server, secret) as connection:
            first(connection)
            keys.remove("app")
            assert json.loads(connection.recv(timeout=20))["error"]["code"] == "invalid_api_key"
        with pytest.raises(InvalidStatus) as refused, opened(server, secret):
            pass
        assert refused.value.response.status_code == 401


async def test_a_revoked_key_ends_the_calls_of_its_secrets(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys")
    keys.add("admin", ALL)
    key, kept = keys.add("app", USE), keys.add("kept", USE)
    with serving(tmp_path, API_KEYS_FILE=str(tmp_path / "keys")) as server:
        secret, other = (made(server, key=one).json()["value"] for one in (key, kept))
        async with calling(server.url, key=secret) as caller, calling(server.url, key=other) as goes_on:
            keys.remove("app")
            assert (await caller.until("error", seconds=20))["error"]["code"] == "invalid_api_key"
            async with asyncio.timeout(20):
                await caller.ended.wait()
            refused = await offered(server.url, None, key=secret)
            assert refused.status_code == 401
            goes_on.send(type="input_audio_buffer.clear")
            await goes_on.until("input_audio_buffer.cleared")


def test_a_secret_expires_with_its_time_or_its_maker() -> None:
    now = 1000.0
    secrets = ClientSecrets(lambda: now)
    value, expires_at = secrets.make(Caller("app", USE), {}, 60)
    short, until_s = secrets.make(Caller("app", USE, kind="jwt", until=1010.0), {}, 60)
    assert (expires_at, until_s) == (1060, 1010)
    assert secrets.find(value, "/v1/realtime") is not None
    now = 1010.0
    assert secrets.find(short, "/v1/realtime") is None
    now = 1060.0
    assert secrets.find(value, "/v1/realtime") is None


def test_secrets_of_one_caller_are_bounded() -> None:
    now = 1000.0
    secrets = ClientSecrets(lambda: now)
    for _ in range(MOST_OF_ONE):
        secrets.make(Caller("app", ALL), {}, 60)
    with pytest.raises(Overloaded):
        secrets.make(Caller("app", ALL), {}, 60)
    secrets.make(Caller("other", ALL), {}, 60)
    now = 1060.0
    secrets.make(Caller("app", ALL), {}, 60)


def test_configurations_of_one_caller_are_bounded() -> None:
    secrets = ClientSecrets()
    with pytest.raises(Overloaded):
        for _ in range(100):
            secrets.make(Caller("app", ALL), {"instructions": "a" * 100_000}, 60)
    value, _ = secrets.make(Caller("other", ALL), {"instructions": "short"}, 60)
    found = secrets.find(value, "/v1/realtime")
    assert found is not None
    assert found.session == {"instructions": "short"}

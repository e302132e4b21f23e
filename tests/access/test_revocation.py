"""A revoked key ends what it has opened: conversations, dictations, streams. An expired JWT does the same."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import jwt
import pytest
from starlette.requests import HTTPConnection
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from pipeline.settings import Settings
from server.access import Access, Caller, Permission
from server.access.callers import USE
from server.access.keys import KeyFile
from server.access.revocation import Stay
from server.access.rules import rule_for
from tests.access.calls import SECRET, Route, scope
from tests.in_process import in_process
from tests.questions import sample
from tests.server_process import Service
from tests.test_draining import LONGER_QUESTION, SOON_S, comes

WAY = "openai-insecure-api-key."
SOCKET = Route("WEBSOCKET", "/ws")


def stay(path: str, access: Access, caller: Caller) -> Stay:
    """How long a socket stays open that was let in as this caller."""
    return Stay(access, caller, rule_for(path, "WEBSOCKET"))


def end_of(connection: ClientConnection) -> tuple[dict[str, object], int | None]:
    """The last message that is not sound, and the close code."""
    last: dict[str, object] = {}
    try:
        while True:
            message = connection.recv(timeout=SOON_S)
            last = last if isinstance(message, bytes) else json.loads(message)
    except ConnectionClosed as closed:
        return last, closed.rcvd.code if closed.rcvd else None


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyFile:
    return KeyFile(tmp_path_factory.mktemp("keys") / "keys")


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, keys: KeyFile) -> Iterator[Service]:
    keys.add("first", frozenset({Permission.ADMIN}))
    settings = {"API_KEYS_FILE": str(keys._path), "JOB_WORKERS": "0"}  # so that a job waits as long as the test needs
    with in_process(tmp_path_factory.mktemp("locked"), **settings) as running:
        yield running


def known(server: Service, key: str) -> None:
    """Wait until the service has read the key file."""
    deadline = time.monotonic() + SOON_S
    while httpx.get(f"{server.url}/v1/models", headers={"X-API-Key": key}).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_revoked_key_ends_its_connections_and_no_others(locked: Service, keys: KeyFile) -> None:
    lost, kept = keys.add("lost", USE), keys.add("kept", USE)
    for key in (lost, kept):
        known(locked, key)
    address = f"ws://127.0.0.1:{locked.port}"
    headers = {"Authorization": f"Bearer {lost}"}
    with ExitStack() as stack, httpx.Client(base_url=locked.url, headers=headers, timeout=SOON_S) as client:

        def opened(path: str, key: str = lost) -> ClientConnection:
            bearer = {"Authorization": f"Bearer {key}"}
            return stack.enter_context(connect(f"{address}{path}", additional_headers=bearer, max_size=None))

        token = client.post("/page-token").json()["token"]
        of_page = stack.enter_context(connect(f"{address}/ws?stream=1", subprotocols=["parley", WAY + token]))  # type: ignore[list-item]
        ended = [of_page, *map(opened, ("/ws?stream=1&rate=16000", "/ws", "/v1/realtime", "/api/v1/streaming"))]
        talking, whole, streaming = ended[1], ended[2], ended[4]
        comes(talking, "session_started")
        talking.send(json.dumps({"type": "say", "text": LONGER_QUESTION}))
        comes(talking, "speech_started")
        whole.send(sample("hello"))
        assert json.loads(whole.recv(timeout=SOON_S))["transcription"] == "hello"
        streaming.send(sample("hello")[:1000])
        others = opened("/ws?stream=1", kept)
        comes(others, "session_started")
        job = client.post("/jobs", files={"files": ("a.wav", sample("hello"))}).json()["jobs"][0]["job_id"]
        with client.stream("GET", f"/jobs/{job}/events") as events:
            pieces = events.iter_text()
            assert next(pieces).startswith("event: progress")
            keys.remove("lost")
            seen = [end_of(connection) for connection in ended]
            assert "event:" not in "".join(pieces), "no later event of the job is sent"
        assert [code for _, code in seen] == [1008] * 5
        page, live, plain, realtime, dictated = (told for told, _ in seen)
        for told in (page, live):
            assert (told["type"], told["code"]) == ("session_ended", "unauthorized")
        for told in (plain, dictated):
            assert told == {"error": {"code": "unauthorized", "message": "This key is no longer valid."}}
        assert realtime["type"] == "error"
        assert realtime["error"]["code"] == "invalid_api_key"  # type: ignore[index]
        assert client.get("/jobs").status_code == 401
        others.send(json.dumps({"type": "say", "text": "hello"}))
        comes(others, "turn_completed")


def test_a_new_key_with_the_same_name_is_another_key(locked: Service, keys: KeyFile) -> None:
    """This is how a user replaces a lost key."""
    key = keys.add("anna", USE)
    known(locked, key)
    with locked.connect("?stream=1", additional_headers={"X-API-Key": key}) as talking:
        comes(talking, "session_started")
        keys.remove("anna")
        keys.add("anna", USE)
        assert end_of(talking)[1] == 1008


def test_a_rotated_key_keeps_its_jobs_and_loses_only_the_old_secret(locked: Service, keys: KeyFile) -> None:
    old = keys.add("carl", USE)
    known(locked, old)
    files = {"files": ("a.wav", sample("hello"))}
    made = httpx.post(f"{locked.url}/jobs", headers={"X-API-Key": old}, files=files, timeout=SOON_S)
    job = made.json()["jobs"][0]["job_id"]
    new = keys.rotate("carl")
    known(locked, new)
    assert httpx.get(f"{locked.url}/jobs/{job}", headers={"X-API-Key": new}).status_code == 200
    with (
        locked.connect("?stream=1", additional_headers={"X-API-Key": old}) as before,
        locked.connect("?stream=1", additional_headers={"X-API-Key": new}) as after,
    ):
        comes(before, "session_started")
        comes(after, "session_started")
        keys.remove_old("carl")
        assert end_of(before)[1] == 1008
        after.send(json.dumps({"type": "say", "text": "hello"}))
        comes(after, "turn_completed")
    assert httpx.get(f"{locked.url}/jobs/{job}", headers={"X-API-Key": old}).status_code == 401


async def test_two_checks_in_a_row_revoke_a_key_or_a_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.access.revocation.LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("server.access.keys.LOOK_EVERY_S", 0.0)
    file = tmp_path / "keys"
    key = KeyFile(file).add("anna", USE)
    access = Access(Settings(api_keys_file=str(file)))
    caller = access._keys.find(key)
    assert caller is not None
    talks, dictates = stay("/ws", access, caller), stay("/api/v1/streaming", access, caller)
    text = file.read_text()
    for _ in range(3):  # an editor that writes the file in two steps
        file.write_text("")
        assert not talks.over
        file.write_text(text)
        assert not talks.over
    file.write_text(text.replace("talk+transcribe", "transcribe"))
    assert [(talks.over, dictates.over) for _ in range(2)] == [(False, False), (True, False)]
    assert key not in repr(caller)
    assert caller.proof not in repr(caller)


async def test_an_expired_jwt_ends_its_connections_and_those_of_its_page_tokens() -> None:
    access = Access(Settings(jwt_secret=SECRET))
    later = int(time.time()) + 3600
    sent = jwt.encode({"exp": later, "sub": "ben", "scope": "talk"}, SECRET, "HS256")
    caller = await access.identify(HTTPConnection(scope(SOCKET, {"Authorization": f"Bearer {sent}"})))
    assert caller is not None
    token, _ = access.page_tokens.make(caller)
    page = await access.identify(HTTPConnection(scope(SOCKET, {"Sec-WebSocket-Protocol": WAY + token})))
    assert page is not None
    assert caller.until == page.until == later
    assert not stay("/ws", access, page).over
    soon = time.time() + 0.3
    await asyncio.wait_for(stay("/ws", access, replace(page, until=soon)).end(), SOON_S)
    assert time.time() >= soon


async def test_connections_opened_without_a_key_stay_open() -> None:
    access = Access(Settings())
    staying = stay("/ws", access, Caller("", USE, kind="anonymous"))
    assert not staying.ends
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(staying.end(), 0.1)

"""Repeated slashes in a path count as one and do not bypass permissions."""

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from pipeline.settings import Settings
from server.app import create_app
from tests.access.calls import SECRET, Answer, Route, WouldRead, call, every_route, scope
from tests.access.refused import ADMIN, API_KEYS, TALKS, TRANSCRIBES
from tests.clips import hearing, recording
from tests.server_process import Service


@pytest.fixture(scope="module")
def hears(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with hearing(tmp_path_factory.mktemp("paths"), API_KEYS=API_KEYS) as running:
        yield running


@pytest.fixture(scope="module")
def locked() -> FastAPI:
    return create_app(Settings(api_keys=API_KEYS, jwt_secret=SECRET, rate_limit=""))


async def outcome(app: FastAPI, route: Route, key: str) -> Answer | str:
    try:
        return await call(app, scope(route, {"Authorization": f"Bearer {key}"} if key else {}))
    except (WouldRead, AttributeError):  # access was granted: the route runs, but the application was not started
        return "let in"


async def test_repeated_slashes_do_not_change_permissions(locked: FastAPI) -> None:
    """Compare every route with spellings of its path that have more slashes."""
    compared = 0
    for route in every_route():
        if route.path.endswith("/anything") or route.method == "HEAD":
            continue  # static files
        for key in ("", TALKS, TRANSCRIBES):
            plain = await outcome(locked, route, key)
            if not isinstance(plain, Answer) or plain.status not in (401, 403):
                continue
            for other in (f"/{route.path}", route.path.replace("/", "///")):
                told = await outcome(locked, Route(route.method, other), key)
                assert isinstance(told, Answer), other
                assert told.status in (401, 403), other
                compared += 1
    assert compared > 100


@pytest.mark.parametrize("path", ["//jobs", "/%2fjobs", "/%2F%2fstatus", "/./jobs", "//./jobs", "/x/..//jobs", "//ws"])
def test_no_spelling_of_a_path_bypasses_the_key(hears: Service, path: str) -> None:
    with httpx.Client(base_url=hears.url) as client:
        sent = httpx.Request("GET", hears.url)
        sent.url = sent.url.copy_with(raw_path=path.encode())
        assert client.send(sent).status_code == 401
    with pytest.raises(InvalidStatus) as refused, connect(f"ws://127.0.0.1:{hears.port}{path}"):
        pass
    assert refused.value.response.status_code == 401


@pytest.mark.parametrize("path", ["/asr", "//asr", "/%2fasr", "///asr?output=txt"])
def test_upload_to_a_path_with_two_slashes_is_transcribed(hears: Service, path: str) -> None:
    answer = httpx.post(
        hears.url + path,
        files={"audio_file": recording(0)[0]},
        headers={"Authorization": f"Bearer {TRANSCRIBES}"},
        timeout=60,
    )
    assert (answer.status_code, answer.text.strip()) == (200, "what time is it")


def test_websocket_path_with_two_slashes_connects(hears: Service) -> None:
    for path in ("//ws", "//v1//realtime"):
        with connect(
            f"ws://127.0.0.1:{hears.port}{path}", additional_headers={"Authorization": f"Bearer {ADMIN}"}
        ) as socket:
            assert socket.response is not None
            assert socket.response.status_code == 101

"""How fast one caller's messages and uploads are read."""

import base64
import json
import time
from pathlib import Path

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from server.access import limits
from server.access.limits import BURST_BYTES, PACE_BYTES_PER_S, DataPace
from tests.in_process import in_process
from tests.server_process import let_in, refused
from tests.servers.ollama import FakeOllama
from tests.servers.running import running

ANNA, BEN = ("key", "anna"), ("key", "ben")


def sent(pace: DataPace, size: int, caller: tuple[str, str] | None) -> float:
    return pace.sent(size, caller, burst=BURST_BYTES, per_s=PACE_BYTES_PER_S)


def test_a_caller_above_the_pace_waits_and_others_do_not() -> None:
    now = 100.0
    pace = DataPace(lambda: now)
    assert sent(pace, BURST_BYTES, ANNA) == 0
    assert sent(pace, PACE_BYTES_PER_S, ANNA) == 1.0
    assert sent(pace, PACE_BYTES_PER_S, BEN) == 0
    now += 1.0
    assert sent(pace, 0, ANNA) == 0


def test_this_machines_own_callers_have_no_pace() -> None:
    assert sent(DataPace(lambda: 0.0), 100 * BURST_BYTES, None) == 0


def test_the_burst_is_available_again_after_a_pause() -> None:
    now = 0.0
    pace = DataPace(lambda: now)
    sent(pace, 3 * BURST_BYTES, ANNA)
    now += 3 * BURST_BYTES / PACE_BYTES_PER_S
    assert sent(pace, BURST_BYTES, ANNA) == 0


def test_a_paced_connection_is_answered_and_can_end_in_its_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BURST_BYTES", 1 << 14)
    monkeypatch.setattr(limits, "PACE_BYTES_PER_S", 1 << 17)
    with in_process(tmp_path, API_KEYS="key", MAX_SESSIONS="1", IDLE_TIMEOUT_S="3") as server:

        def come() -> ClientConnection:
            return server.connect(additional_headers={"Authorization": "Bearer key"})

        with let_in(come) as connection:
            start = time.monotonic()
            for _ in range(2):
                assert refused(connection, b"x" * (1 << 16)) == "bad_audio"
            assert time.monotonic() - start > 0.3, "the second message waited"
        with let_in(come) as connection:
            connection.send(b"x" * (1 << 16))
            connection.socket.close()  # unread while the pause lasts
        with let_in(come) as connection:
            assert refused(connection, b"x" * (1 << 16)) == "bad_audio"
            with pytest.raises(ConnectionClosed) as closed:
                connection.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000


@pytest.mark.parametrize(
    ("path", "field"), [("/jobs", "files"), ("/v1/audio/transcriptions", "file"), ("/asr", "audio_file")]
)
def test_a_large_upload_waits_and_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, field: str
) -> None:
    monkeypatch.setattr(limits, "BODY_BURST_BYTES", 1 << 18)
    monkeypatch.setattr(limits, "BODY_PACE_BYTES_PER_S", 1 << 18)
    with in_process(tmp_path, API_KEYS=f"anna:transcribe:{ANNAS},ben:transcribe:{BENS}") as server:

        def upload(key: str, size: int) -> float:
            """Return the seconds until a file that is not audio is refused or accepted."""
            began = time.monotonic()
            answer = httpx.post(
                f"{server.url}{path}", headers={"Authorization": f"Bearer {key}"},
                files={field: ("a.mp3", bytes(size))}, data={"model": "whisper-1"}, timeout=60,
            )  # fmt: skip
            assert answer.status_code in (202, 400), answer.text
            return time.monotonic() - began

        assert upload(ANNAS, 3 << 18) > 1.9, "half a megabyte above the burst, at a quarter of a megabyte a second"
        monkeypatch.setattr(limits, "BODY_PACE_BYTES_PER_S", 1)
        upload(BENS, 1 << 16)


ANNAS, BENS = "anna-0123456789abcdefghij", "ben-0123456789abcdefghij"
CONVERSATIONS = [
    ("/ws?stream=1&rate=16000", bytes(32_000), "{}"),
    (
        "/v1/realtime?model=gpt-realtime",
        json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(48_000)).decode()}),
        '{"type": "nothing"}',
    ),
    (
        "/v1/realtime/translations?model=parley",
        json.dumps({"type": "session.input_audio_buffer.append", "audio": base64.b64encode(bytes(48_000)).decode()}),
        '{"type": "nothing"}',
    ),
]
"""(path, message with a second of silence, message that is answered with an error)"""


@pytest.mark.parametrize(("path", "second", "invalid"), CONVERSATIONS)
def test_sound_faster_than_speech_waits_and_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, second: str | bytes, invalid: str
) -> None:
    monkeypatch.setattr(limits, "SOUND_BURST_S", 2.0)
    monkeypatch.setattr(limits, "SOUND_PER_S", 0.1)

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running(FakeOllama().app())) as llm,
        in_process(
            tmp_path, API_KEYS=f"anna:talk:{ANNAS},ben:talk:{BENS}", LLM_ENGINE="ollama", LLAMA_ENDPOINT=llm
        ) as server,
    ):

        def connected(key: str) -> ClientConnection:
            headers = {"Authorization": f"Bearer {key}"}
            return connect(f"ws://127.0.0.1:{server.port}{path}", additional_headers=headers)

        def refusal(connection: ClientConnection, timeout_s: float) -> None:
            while "error" not in json.loads(connection.recv(timeout=timeout_s))["type"]:
                pass

        with connected(ANNAS) as flooding, connected(BENS) as other:
            for _ in range(6):
                flooding.send(second)
            flooding.send(invalid)
            other.send(second)
            other.send(invalid)
            refusal(other, 60)
            with pytest.raises(TimeoutError):
                refusal(flooding, 2)

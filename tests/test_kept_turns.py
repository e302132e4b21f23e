"""Kept conversations: nothing by default, complete turns with RECORD, and permanent erasure."""

import functools
import json
import os
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from pipeline.audio.clip import Clip
from pipeline.audio.decode import decode_blocking
from pipeline.conversation import events
from pipeline.conversation.kept_turns import Recorder, Recordings
from pipeline.errors import BadInput
from pipeline.settings import Settings
from tests import forked
from tests.dialogue import Dialogue, hold
from tests.in_process import in_process
from tests.questions import sample
from tests.server_process import Service, ask, environment
from tests.test_draining import comes
from tests.waiting import until

SESSION = "0123456789abcdef"
QUIET = Clip(np.zeros(1600, np.float32), 16_000)


def kept(folder: Path, turns: int = 1) -> list[Path]:
    """Wait for `turns` complete files and return them. They are written after the replies, and are empty at first."""
    until(lambda: sum(file.stat().st_size > 0 for file in folder.glob("*/*.json")) >= turns)
    return sorted(folder.glob("*/*.json"))


def said(server: Service, query: str = "", text: str = "my name is alice") -> str:
    """Run a live turn; return the session's ID."""
    with server.connect(f"?stream=1&rate=16000{query}") as connection:
        session = str(comes(connection, "session_started")["session"])
        connection.send(json.dumps({"type": "say", "text": text}))
        comes(connection, "turn_completed")
    return session


def test_nothing_is_kept_by_default(tmp_path: Path) -> None:
    assert Settings().record is False
    folder = tmp_path / "recordings"
    with in_process(tmp_path, RECORDINGS_DIR=str(folder)) as server:
        with server.connect() as connection:
            assert connection.response is not None
            assert connection.response.headers["X-Recorded"] == "false"
            ask(connection, sample("hello"))
        said(server)
        assert httpx.get(f"{server.url}/recordings").json() == {"sessions": []}
    assert not folder.exists()


def test_turns_are_kept_until_their_session_is_erased(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    settings = {"RECORD": "true", "RECORDINGS_DIR": str(folder)}
    with in_process(tmp_path, **settings) as server:
        question = sample("hello")
        with server.connect() as connection:
            assert connection.response is not None
            assert connection.response.headers["X-Recorded"] == "true"
            session = connection.response.headers["X-Session-Id"]
            answer = ask(connection, question)
            [file] = kept(folder)
            told = json.loads(file.read_text("utf-8"))
            assert (told["session"], told["turn"]) == (session, file.stem) == (file.parent.name, file.stem)
            assert (told["said"], told["reply"], told["outcome"]) == ("hello", answer.llama, "completed")
            user = decode_blocking(file.with_suffix(".user.wav").read_bytes(), max_seconds=60)
            reply = decode_blocking(file.with_suffix(".reply.wav").read_bytes(), max_seconds=60)
            assert user.seconds == pytest.approx(decode_blocking(question, max_seconds=60).seconds, abs=0.01)
            assert reply.seconds == pytest.approx(answer.speech.seconds, abs=0.01)
            assert {oct(path.stat().st_mode)[-3:] for path in file.parent.iterdir()} == {"600"}
            assert oct(file.parent.stat().st_mode)[-3:] == "700"
            [listed] = httpx.get(f"{server.url}/recordings").json()["sessions"]
            assert (listed["session"], listed["turns"]) == (session, 1)
            assert httpx.delete(f"{server.url}/recordings/{session}").status_code == 204
            assert not file.parent.exists()
            ask(connection, question)  # the same session continues, but is not kept
            other = said(server)
        kept(folder)
        assert [path.name for path in folder.glob("*/") if not path.name.startswith(".")] == [other]
        refusing = said(server, "&record=0")
        assert httpx.delete(f"{server.url}/recordings/{refusing}").status_code == 204
        for number in range(20):  # unknown IDs
            assert httpx.delete(f"{server.url}/recordings/{number:016x}").status_code == 204
        assert [path.name for path in (folder / ".erased").iterdir()] == [session]
        with server.connect("?stream=1&rate=16000") as connection:  # erased before its first turn is kept
            early = str(comes(connection, "session_started")["session"])
            assert httpx.delete(f"{server.url}/recordings/{early}").status_code == 204
            connection.send(json.dumps({"type": "say", "text": "my name is alice"}))
            comes(connection, "turn_completed")
        [listed] = httpx.get(f"{server.url}/recordings").json()["sessions"]
        assert listed["session"] == other
        assert httpx.delete(f"{server.url}/recordings/{session}").status_code == 204
        assert httpx.delete(f"{server.url}/recordings/..%2f..").status_code in (400, 404)
        assert httpx.delete(f"{server.url}/recordings/nothing").status_code == 400
        command = functools.partial(forked.run, "recordings", folder=tmp_path, env=environment(**settings))
        listing = command("list")
        assert listing.stdout.split("\t")[:2] == [other, "1"]
        erased = command("erase", other)
        assert (erased.returncode, erased.stdout, erased.stderr) == (0, "", "")
        again = command("erase", other)
        assert (again.returncode, again.stderr) == (2, "parley: No turns of this session are kept.\n")
    assert {path.name for path in folder.glob("*/")} == {".erased"}
    assert not (folder / refusing).exists()


def test_permissions_to_list_and_to_erase_kept_conversations(tmp_path: Path) -> None:
    with in_process(
        tmp_path,
        RECORDINGS_DIR=str(tmp_path / "kept"),
        API_KEYS="boss:admin:right,guest:talk:some,clerk:transcribe:other",
    ) as server:
        for key, listed, erased in (("", 401, 401), ("some", 403, 204), ("other", 403, 403), ("right", 200, 204)):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            assert httpx.get(f"{server.url}/recordings", headers=headers).status_code == listed
            assert httpx.delete(f"{server.url}/recordings/{SESSION}", headers=headers).status_code == erased


def test_old_kept_conversations_are_removed(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path)
    for session in (SESSION, SESSION[::-1]):
        assert recordings.keep(session, "turn", {}, QUIET, None)
    for session in ("f" * 16, "e" * 16, "d" * 16):
        recordings.begin(session)
    assert recordings.erase("f" * 16)
    assert not recordings.erase("f" * 16)
    recordings.begin("f" * 16)  # continues on another connection
    assert [one.session for one in recordings.list()] == [SESSION, SESSION[::-1]]
    old = time.time() - 31 * 86_400
    for path in [*(tmp_path / SESSION).iterdir(), tmp_path / ".erased" / ("f" * 16), tmp_path / ("e" * 16),
                 tmp_path / SESSION, tmp_path / ".erased"]:  # fmt: skip
        os.utime(path, (old, old))
    assert recordings.sweep(0) == 0
    assert {path.name for path in tmp_path.iterdir()} == {SESSION, SESSION[::-1], "d" * 16, ".erased"}
    assert recordings.sweep(30) == 1
    assert {path.name for path in tmp_path.iterdir()} == {SESSION[::-1], "d" * 16}


@pytest.mark.parametrize("session", ["", "..", "../voices", "0123456789ABCDEF", SESSION + "0", ".erased"])
def test_only_valid_session_ids_can_be_erased(tmp_path: Path, session: str) -> None:
    with pytest.raises(BadInput):
        Recordings(tmp_path).erase(session)


class Now(Recorder):
    """Writes synchronously, because virtual time does not work with threads."""

    def __init__(self, recordings: Recordings) -> None:
        super().__init__(recordings)
        self.disk = recordings

    def write(self, session: str, turn: str, told: dict[str, object], user: Clip | None, reply: list[Clip]) -> None:
        self.disk.keep(session, turn, told, user, Clip.join(reply, reply[0].rate_hz) if reply else None)


def test_interrupted_reply_is_kept_as_far_as_it_was_heard(tmp_path: Path) -> None:
    async def script(d: Dialogue) -> None:
        d.session._recorder = Now(Recordings(tmp_path))
        await d.speak(600)
        await d.silence(460)  # a speculative reply is prepared and discarded
        await d.speak(600)
        await d.until(events.SpeechChunk)
        await d.silence(1000)
        await d.speak(1500)
        await d.until(events.TurnInterrupted)

    d = hold(script, adaptive_endpointing=False)
    [file] = tmp_path.glob("*/*.json")
    told = json.loads(file.read_text("utf-8"))
    [interrupted] = d.of(events.TurnInterrupted)
    assert (told["outcome"], told["reply"]) == ("interrupted", interrupted.heard_text)
    assert decode_blocking(file.with_suffix(".user.wav").read_bytes(), max_seconds=60).seconds > 1.2
    sent = sum(event.clip.seconds for event in d.of(events.SpeechChunk))
    assert decode_blocking(file.with_suffix(".reply.wav").read_bytes(), max_seconds=60).seconds == pytest.approx(
        sent, abs=0.01
    )


async def test_failed_disk_does_not_fail_the_turn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    recorder = Recorder(Recordings(tmp_path / "file"))
    told: list[events.Event] = []
    take = recorder.of(SESSION, QUIET, told.append)
    take(events.TurnStarted("a" * 16))
    take(events.TurnCompleted("Hello.", {}))
    await recorder.close()
    assert len(told) == 2
    assert "not recorded" in caplog.text

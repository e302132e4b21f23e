"""A service with two processes that serve connections (PROCESSES=2), as its users see it."""

import json
import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from pipeline.settings import HOME
from tests import forked
from tests.forked_workers import FRONT
from tests.jobs.conftest import recording
from tests.live_client import ENDS, Live
from tests.questions import sample
from tests.server_process import TURN_S, ServerProcess, ask, command_of, environment, serving
from tests.servers.running import closed_port
from tests.stt.recordings import TRAINED
from tests.waiting import until

T = TypeVar("T")
KEY = "a-key-that-may-do-everything"
AUTH = {"Authorization": f"Bearer {KEY}"}
PLACES = 4
"""Conversations of the key: half of MAX_SESSIONS."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    wyoming = f"tcp://127.0.0.1:{closed_port()}"
    settings = {"PROCESSES": "2", "API_KEYS": f"tests:talk+transcribe+admin:{KEY}", "MAX_SESSIONS": str(2 * PLACES)}
    with serving(tmp_path_factory.mktemp("fronts"), **TRAINED, **settings, WYOMING_URI=wyoming) as running:
        yield running


def fronts(service: ServerProcess) -> list[psutil.Process]:
    return [one for one in service.children() if one.name() == FRONT or "commands.front" in command_of(one)]


def front_of(service: ServerProcess, connection: ClientConnection) -> psutil.Process:
    """Return the process that serves a connection."""
    return front_at(service, connection.socket.getsockname()[1])


def front_at(service: ServerProcess, port: int) -> psutil.Process:
    """Return the process that serves the client at a port."""
    return next(
        front
        for front in fronts(service)
        if any(one.raddr and one.raddr.port == port for one in front.net_connections("tcp"))
    )


def let_in(come: Callable[[], T]) -> T:
    """Retry until a slot is free: the slot of a closed connection is freed a moment after the close."""

    def attempt() -> T | None:
        try:
            return come()
        except InvalidStatus as refused:
            if refused.response.status_code not in (429, 503):
                raise
            return None

    found = until(attempt)
    assert found is not None
    return found


def live(service: ServerProcess, query: str = "rate=16000", headers: dict[str, str] = AUTH) -> Live:
    return let_in(lambda: Live(service, query, additional_headers=headers))


def realtime(service: ServerProcess, secret: str) -> ClientConnection:
    url = f"ws://127.0.0.1:{service.port}/v1/realtime?model=gpt-realtime"
    headers = {"Authorization": f"Bearer {secret}"}
    return let_in(lambda: connect(url, additional_headers=headers, open_timeout=TURN_S))


def test_each_process_answers_with_the_same_models(service: ServerProcess) -> None:
    with ExitStack() as stack:
        opened = [let_in(lambda: service.connect(additional_headers=AUTH)) for _ in range(4)]
        for one in opened:
            stack.enter_context(one)
        serving_them = [front_of(service, one).pid for one in opened]
        assert sorted(map(serving_them.count, set(serving_them))) == [2, 2]
        with ThreadPoolExecutor(len(opened)) as pool:
            answers = list(pool.map(lambda one: ask(one, sample("what_is_two_plus_three")), opened))
    assert all(answer.llama for answer in answers)
    models = [one.name() for one in service.workers()]
    assert len(models) == len(set(models)), models


def test_a_conversation_goes_on_in_the_other_process_after_kill_9(service: ServerProcess) -> None:
    with live(service) as first:
        first.tell("say", text="my name is peter")
        first.until(*ENDS)
        first.tell("say", text="tell me a story")
        heard = first.until("speech_started")
        for _ in range(3):
            first.until("speech_span")
        killed = front_of(service, first.connection)
        killed.kill()
        with pytest.raises(ConnectionClosed):
            while True:
                first.receive()
    assert heard
    with live(service, f"rate=16000&resume={first.started['resume']}") as resumed:
        assert front_of(service, resumed.connection).pid != killed.pid
        assert resumed.started["resumed"]
        said = [one["content"] for one in resumed.started["history"] if one["role"] == "user"]
        assert said[0] == "my name is peter"
        assert said[-1] == "tell me a story"
        partly = resumed.started["history"][-1]
        assert partly["role"] == "assistant"
        assert partly["content"].endswith("…"), "only what was heard"
        resumed.tell("say", text="what is my name")
        assert "Peter" in resumed.until(*ENDS)["reply"]
    until(lambda: _numbers(service)["parley_processes"] == 2, TURN_S)
    assert "another one is started" in service.text


def test_a_conversation_moves_to_another_process_while_it_is_open(service: ServerProcess) -> None:
    """A client that changes its network reconnects before the old connection is lost."""
    with live(service) as old:
        old.tell("say", text="my name is alice")
        old.until(*ENDS)
        token, before = old.started["resume"], front_of(service, old.connection).pid
        with live(service, f"rate=16000&resume={token}") as new:
            assert front_of(service, new.connection).pid != before
            new.tell("say", text="what is my name")
            assert "Alice" in new.until(*ENDS)["reply"]
        assert old.until("session_ended")["code"] == "resumed_elsewhere"


def test_places_of_a_key_are_counted_in_all_processes(service: ServerProcess) -> None:
    with ExitStack() as stack:
        for _ in range(PLACES):
            stack.enter_context(live(service))
        # The other process learns of the last one a moment later.
        assert until(lambda: _refused(service), TURN_S) == 429
        assert _numbers(service)["parley_sessions"] == PLACES
    with live(service):
        pass


def _refused(service: ServerProcess) -> int:
    """Return the status of a refused conversation; 0 if it is accepted."""
    try:
        with Live(service, additional_headers=AUTH):
            return 0
    except InvalidStatus as refused:
        return refused.response.status_code


def test_tokens_are_valid_in_each_process(service: ServerProcess) -> None:
    made = httpx.post(f"{service.url}/v1/realtime/client_secrets", json={}, headers=AUTH).json()["value"]
    page = httpx.post(f"{service.url}/page-token", headers=AUTH).json()["token"]
    with ExitStack() as stack:
        for _ in range(2):
            session = stack.enter_context(realtime(service, made))
            assert json.loads(session.recv(timeout=TURN_S))["type"] == "session.created"
    with ExitStack() as stack:
        for _ in range(2):
            talk = stack.enter_context(live(service, headers={"Authorization": f"Bearer {page}"}))
            assert talk.started["session"]


def test_events_of_a_job_come_from_each_process(service: ServerProcess) -> None:
    with httpx.Client(base_url=service.url, headers=AUTH, timeout=TURN_S) as client:
        job = client.post("/jobs", files={"files": ("a.wav", recording(0))}).json()["jobs"][0]["job_id"]

        def last(_: int) -> dict[str, Any]:
            with (
                httpx.Client(base_url=service.url, headers=AUTH, timeout=TURN_S) as own,
                own.stream("GET", f"/jobs/{job}/events") as events,
            ):
                lines = [line for line in events.iter_lines() if line.startswith("data:")]
            return dict(json.loads(lines[-1].removeprefix("data:")))

        with ThreadPoolExecutor(2) as pool:
            assert {one["status"] for one in pool.map(last, range(2))} == {"completed"}


def test_a_drained_process_lets_its_conversation_go_on_elsewhere(service: ServerProcess) -> None:
    with live(service) as first:
        first.tell("say", text="my name is anna")
        first.until(*ENDS)
        drained = front_of(service, first.connection)
        drained.send_signal(signal.SIGTERM)
        assert first.until("session_ended")["code"] == "draining"
    with live(service, f"rate=16000&resume={first.started['resume']}") as resumed:
        resumed.tell("say", text="what is my name")
        assert "Anna" in resumed.until(*ENDS)["reply"]
    until(lambda: not drained.is_running() and _numbers(service)["parley_processes"] == 2, TURN_S)


def test_sighup_replaces_the_processes_and_the_model_and_cuts_no_turn(tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(HOME / "tests" / "models" / "whisper-tiny-words", tmp_path / name)

    def write(silence_ms: str, model: str) -> None:
        (tmp_path / ".env").write_text(f"SILENCE_MS={silence_ms}\nWHISPER_MODEL={tmp_path / model}\n")

    def ended(talk: Live) -> tuple[str, str]:
        return talk.until(*ENDS)["type"], talk.until("session_ended")["code"]

    write("600", "one")
    settings = {"PROCESSES": "2", "STT_ENGINE": "whisper", "STT_REPLICAS": "1", "DRAIN_SECONDS": "120"}
    with serving(tmp_path, **settings) as service, ExitStack() as stack:
        old = fronts(service)
        [old_model] = [one for one in service.workers() if "whisper" in one.name()]
        talks = [stack.enter_context(live(service, headers={})) for _ in old]
        assert {front_of(service, talk.connection) for talk in talks} == {*old}
        for talk in talks:
            assert talk.started["options"]["silence_ms"] == 600
        write("many", "two")
        service.process.send_signal(signal.SIGHUP)
        until(lambda: "go on with their settings" in service.text)
        assert fronts(service) == old

        for talk in talks:
            talk.tell("say", text="my name is peter")
            talk.until(*ENDS)
            talk.tell("say", text="count to fifteen")
            talk.until("speech_started")
        pool = stack.enter_context(ThreadPoolExecutor(len(talks)))
        ends = [pool.submit(ended, talk) for talk in talks]  # a client that does not read is disconnected
        write("900", "two")
        service.process.send_signal(signal.SIGHUP)
        assert [end.result() for end in ends] == [("turn_completed", "draining")] * len(talks)
        until(lambda: "processes that serve connections are new" in service.text, TURN_S)

        assert len(fronts(service)) == 2
        assert not {*fronts(service)} & {*old}
        for talk in talks:
            with live(service, f"rate=16000&resume={talk.started['resume']}", headers={}) as resumed:
                assert resumed.started["resumed"]
                assert resumed.started["options"]["silence_ms"] == 900
                resumed.tell("say", text="what is my name")
                assert "Peter" in resumed.until(*ENDS)["reply"]
        assert "two (int8)" in {one["model"] for one in httpx.get(f"{service.url}/health").json()["engines"]}
        until(lambda: not old_model.is_running())
        assert "is started" not in service.text, "none has died"


def test_wyoming_is_served_by_one_process(service: ServerProcess) -> None:
    """Its clients open a connection for each request of one conversation."""
    found = re.search(r"Wyoming listens on tcp://127.0.0.1:(\d+)", service.text)
    assert found
    with ExitStack() as stack:
        owners = set()
        for _ in range(3):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", int(found[1])), TURN_S))
            client.sendall(b'{"type": "describe"}\n')
            assert json.loads(client.makefile("rb").readline())["type"] == "info"
            owners.add(front_at(service, client.getsockname()[1]).pid)
        assert len(owners) == 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"MODEL_HOST": "ray"}, "PROCESSES with MODEL_HOST=ray needs RAY_ADDRESS"),
        ({"LEXICON": "/nowhere/words.txt"}, "LEXICON"),
    ],
)
def test_a_start_that_cannot_succeed_ends_with_one_sentence(
    tmp_path: Path, settings: dict[str, str], told: str
) -> None:
    ended = forked.run(folder=tmp_path, env=environment(PROCESSES="2", **settings))
    assert ended.returncode == 2, ended.stderr
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


def _numbers(service: ServerProcess) -> dict[str, float]:
    """Return the metrics without labels."""
    text = httpx.get(f"{service.url}/metrics", headers=AUTH, timeout=TURN_S).text
    return {one.name: one.value for family in text_string_to_metric_families(text) for one in family.samples}

"""Shutdown of a running service: running turns finish, new clients are refused; a second SIGTERM stops immediately."""

import asyncio
import json
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import uvicorn
from openai import AsyncOpenAI
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from jobs.service import Jobs
from pipeline.conversation import events
from pipeline.errors import ParleyError
from server.http.draining import Draining, Leaving
from server.http.shutdown import Stop
from tests import forked, virtual_time
from tests.dialogue import Dialogue, hold
from tests.jobs.conftest import recording
from tests.jobs.test_endpoints import HEARS, SAID, done, slow_recording
from tests.questions import sample
from tests.server_process import ServerProcess, constants, environment, serving
from tests.waiting import left_of, until

LONG_QUESTION = "count to ten"
"""Its reply is some seconds of speech, sent in real time."""
LONGER_QUESTION = "count to thirty"
"""Its reply takes far longer than an immediate shutdown."""
SOON_S = 60.0
"""Generous, because the machine can be busy."""
PATIENT = {"DRAIN_SECONDS": "120"}


@contextmanager
def stoppable(folder: Path, **settings: str) -> Iterator[ServerProcess]:
    """Run a service that the test stops; check that no process is left behind."""
    process = forked.start(folder=folder, env=environment(**settings))
    server = ServerProcess(process=process)
    children: list[psutil.Process] = []
    try:
        server.wait_until_ready()
        children = server.children()
        yield server
        assert process.wait(SOON_S) == 0, server.text
        assert not left_of(children, SOON_S)
        assert "Traceback" not in server.text
        assert "never retrieved" not in server.text
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()


def event(connection: ClientConnection) -> dict[str, Any]:
    """Return the next message that is not audio."""
    while isinstance(message := connection.recv(timeout=SOON_S), bytes):
        pass
    told: dict[str, Any] = json.loads(message)
    return told


def comes(connection: ClientConnection, kind: str) -> dict[str, Any]:
    while (told := event(connection))["type"] != kind:
        pass
    return told


def answering(server: ServerProcess, question: str = LONG_QUESTION) -> ClientConnection:
    """Return a live conversation in the middle of a long reply."""
    connection = server.connect("?stream=1&rate=16000")
    comes(connection, "session_started")
    connection.send(json.dumps({"type": "say", "text": question}))
    comes(connection, "speech_started")
    return connection


def close_code(connection: ClientConnection) -> int | None:
    """Read all messages; return the close code."""
    return the_rest(connection)[1]


def the_rest(connection: ClientConnection) -> tuple[str, int | None]:
    """Return all texts until the connection is closed, and the close code."""
    texts = ""
    try:
        while True:
            if isinstance(message := connection.recv(timeout=SOON_S), str):
                texts += message
    except ConnectionClosed as closed:
        return texts, closed.rcvd.code if closed.rcvd else None


def have_arrived(connection: ClientConnection) -> None:
    """Wait until the service has taken all messages of this connection: the pong comes after them. A response on
    another connection would not tell, because the network keeps no order between connections."""
    assert connection.ping().wait(SOON_S)


def is_cut_off(talking: ClientConnection) -> None:
    """Check that a connection is closed in the middle of its reply, with the reason."""
    texts, code = the_rest(talking)
    assert "turn_completed" not in texts
    assert '"session_ended"' in texts
    assert '"draining"' in texts
    assert code == 1012


@contextmanager
def staying(server: ServerProcess) -> Iterator[None]:
    """Keep an upload running during the block, so that the service drains until the block ends."""
    with connect(f"ws://127.0.0.1:{server.port}/api/v1/streaming?language=en", max_size=None) as sending:
        data = recording(3)
        sending.send(data[:1000])
        have_arrived(sending)
        yield
        sending.send(data[1000:])
        sending.send(json.dumps({"action": "stop"}))
        assert "transcription" in json.loads(sending.recv(timeout=SOON_S))
        assert close_code(sending) == 1012


def is_draining(server: ServerProcess) -> None:
    until(lambda: httpx.get(f"{server.url}/health/ready").status_code == 503)


@pytest.mark.real_time
def test_running_turns_finish_and_new_clients_are_refused(tmp_path: Path) -> None:
    with stoppable(tmp_path, **HEARS, **PATIENT) as server, staying(server):
        ready = httpx.get(f"{server.url}/health/ready")
        assert (ready.status_code, ready.json()) == (200, {"status": "ok"})
        talking, quiet = answering(server), server.connect("?stream=1")
        comes(quiet, "session_started")
        asking = server.connect()
        asking.send(sample("what_is_two_plus_three"))
        have_arrived(asking)
        server.process.send_signal(signal.SIGTERM)
        is_draining(server)
        assert httpx.get(f"{server.url}/health/live").json() == {"status": "ok"}
        assert httpx.get(f"{server.url}/health").json()["status"] == "draining"
        for path in ("/ws", "/ws?stream=1", "/v1/realtime", "/api/v1/streaming"):
            with pytest.raises(InvalidStatus) as refused, connect(f"ws://127.0.0.1:{server.port}{path}"):
                pass
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["Retry-After"] == "5"
        speech = {"model": "tts-1", "input": "Hello.", "voice": "man"}
        answer = httpx.post(f"{server.url}/v1/audio/speech", json=speech)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
        assert answer.headers["Connection"] == "close"
        assert comes(quiet, "session_ended")["code"] == "draining"
        assert close_code(quiet) == 1012
        whole = json.loads(asking.recv(timeout=SOON_S))
        assert whole["transcription"] == "what is two plus three"
        assert isinstance(asking.recv(timeout=SOON_S), bytes)
        assert close_code(asking) == 1012
        completed = comes(talking, "turn_completed")
        assert completed["reply"].endswith("9, 10.")
        assert comes(talking, "session_ended")["code"] == "draining"
        assert close_code(talking) == 1012


@pytest.mark.real_time
async def test_realtime_session_finishes_its_response(tmp_path: Path) -> None:
    with stoppable(tmp_path) as server:
        client = AsyncOpenAI(api_key="none", base_url=f"{server.url}/v1")
        async with client, client.realtime.connect(model="gpt-realtime") as session:
            item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": LONG_QUESTION}]}
            await session.conversation.item.create(item=item)  # type: ignore[arg-type]
            await session.response.create()
            kinds: list[str] = []
            asked_to_stop = False
            with pytest.raises(Exception, match="1012"):
                while True:
                    async with asyncio.timeout(SOON_S):
                        told = json.loads(await session.recv_bytes())
                    kinds.append(told["type"])
                    if told["type"] == "response.output_audio.delta" and not asked_to_stop:
                        asked_to_stop = True
                        server.process.send_signal(signal.SIGTERM)
        assert kinds[-3:] == ["response.done", "rate_limits.updated", "error"]


def test_running_transcription_finishes(tmp_path: Path) -> None:
    with (
        stoppable(tmp_path, **HEARS) as server,
        connect(f"ws://127.0.0.1:{server.port}/api/v1/streaming?language=en", max_size=None) as streaming,
    ):
        streaming.send(recording(3)[:1000])
        have_arrived(streaming)
        server.process.send_signal(signal.SIGTERM)
        is_draining(server)
        streaming.send(recording(3)[1000:])
        streaming.send(json.dumps({"action": "stop"}))
        assert json.loads(streaming.recv(timeout=SOON_S)) == {"transcription": SAID[3]}
        assert close_code(streaming) == 1012


@pytest.mark.real_time
def test_jobs_return_to_the_queue_and_run_after_the_next_start(tmp_path: Path) -> None:
    with (
        stoppable(tmp_path, **HEARS, **PATIENT) as server,
        httpx.Client(base_url=server.url, timeout=SOON_S) as client,
        staying(server),
    ):
        talking = answering(server)
        files = [("files", ("long.flac", slow_recording(count=5))), ("files", ("next.wav", recording(1)))]
        made = client.post("/jobs", files=files, data={"language": "en"}).json()["jobs"]
        jobs = [job["job_id"] for job in made]
        done(client, jobs[0], "processing")
        server.process.send_signal(signal.SIGTERM)
        # Jobs are given back at once: the remaining capacity is for clients that wait for a response.
        done(client, jobs[0], "queued")
        comes(talking, "turn_completed")
    with serving(tmp_path, **HEARS) as again, httpx.Client(base_url=again.url, timeout=SOON_S) as client:
        assert [done(client, job)["status"] for job in jobs] == ["completed", "completed"]


class NoJobs(Jobs):
    """Jobs of a service that has none."""

    def __init__(self) -> None:
        pass

    def stop_watching(self) -> None:
        pass

    async def stop_working(self) -> None:
        pass


def test_connections_are_closed_after_conversations_have_said_why() -> None:
    """uvicorn closes all at once when it stops serving."""

    async def run() -> None:
        server, draining = uvicorn.Server(uvicorn.Config("")), Draining()
        draining.came()
        Stop(server, draining, NoJobs(), drain_s=0.1).handle_signal(signal.SIGTERM, None)
        await draining.cut.wait()
        await asyncio.sleep(0.1)
        assert not server.should_exit
        draining.went()
        await asyncio.sleep(0.1)
        assert server.should_exit

    virtual_time.run(run())


@pytest.mark.real_time
def test_connections_are_cut_off_at_the_drain_deadline(tmp_path: Path) -> None:
    with stoppable(tmp_path, DRAIN_SECONDS="0.5") as server:
        talking = answering(server, LONGER_QUESTION)
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        is_cut_off(talking)
        server.process.wait(SOON_S)
        assert time.monotonic() - start > 0.4
        assert "longer than DRAIN_SECONDS" in server.text


@pytest.mark.real_time
def test_second_signal_stops_the_service_immediately(tmp_path: Path) -> None:
    with stoppable(tmp_path, **PATIENT) as server:
        talking = answering(server, LONGER_QUESTION)
        dictating = connect(f"ws://127.0.0.1:{server.port}/api/v1/streaming")
        dictating.send(b"the beginning of a recording")
        have_arrived(dictating)
        server.process.send_signal(signal.SIGTERM)
        is_draining(server)
        server.process.send_signal(signal.SIGTERM)
        is_cut_off(talking)
        with pytest.raises(ConnectionClosed) as closed:
            dictating.recv(timeout=SOON_S)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1012, Leaving().message)
        server.process.wait(SOON_S)
        assert "Cancel 0" not in server.text


def test_cut_off_requests_are_logged_in_one_line(tmp_path: Path) -> None:
    """The client sees that the response is incomplete."""
    with (
        stoppable(tmp_path, DRAIN_SECONDS="120") as server,
        httpx.Client(base_url=server.url, timeout=SOON_S) as client,
        ThreadPoolExecutor() as threads,
    ):
        # More than the buffers hold, and more than the recogniser can have transcribed by then on any machine.
        speech = {"model": "tts-1", "input": "One more sentence. " * 200, "voice": "man", "response_format": "pcm"}
        upload = {"file": ("a.flac", slow_recording(count=40))}
        whole = threads.submit(client.post, "/v1/audio/transcriptions", files=upload, data={"model": "whisper-1"})
        with client.stream("POST", "/v1/audio/speech", json={**speech, "speed": 0.25}) as stream:
            sound = stream.iter_bytes()
            next(sound)  # do not read further for now
            deadline = time.monotonic() + SOON_S
            while "parley_requests_running 2.0" not in client.get("/metrics").text:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            server.process.send_signal(signal.SIGTERM)
            is_draining(server)
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(SOON_S)
            with pytest.raises(httpx.HTTPError):
                for _ in sound:
                    pass
        with pytest.raises(httpx.HTTPError):
            whole.result(SOON_S)
        assert "Stopping at once: 2 conversations and requests are cut off" in server.text
        assert "Exception in ASGI" not in server.text
        assert "without completing" not in server.text


def test_requests_that_wait_for_their_turn_are_cut_off_without_errors(tmp_path: Path) -> None:
    key = "talk-0123456789abcdefghijk"
    request = f"GET /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    settings = {"API_KEYS": f"one:transcribe:{key}", **constants({"server.http.shutdown:FAREWELL_S": 1})}
    with stoppable(tmp_path, DRAIN_SECONDS="120", **settings) as server, ExitStack() as stack:
        for _ in range(400):  # far above the pace of one key for PACE_WAIT_S
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), SOON_S))
            connection.sendall(request)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(SOON_S)
        assert "/jobs is cut off" in server.text
        assert "Traceback" not in server.text
        assert "without starting" not in server.text


class Stopping(ParleyError):
    code = "stopping"


def test_session_ends_after_the_turn_that_has_begun() -> None:
    async def script(d: Dialogue) -> None:
        await d.speak(600)
        d.session.finish(Stopping("The service stops."))
        assert not d.session.ended.is_set()
        await d.speak(400)
        await d.until(events.TurnCompleted)
        await asyncio.wait_for(d.session.ended.wait(), 1)
        with pytest.raises(Stopping):
            await anext(d.session.events)

    hold(script)


def test_silent_session_ends_immediately() -> None:
    async def script(d: Dialogue) -> None:
        await d.silence(400)
        d.session.finish(Stopping("The service stops."))
        assert d.session.ended.is_set()
        with pytest.raises(Stopping):
            await anext(d.session.events)

    hold(script)

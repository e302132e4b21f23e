"""A service that downloads its language model: what its users get before it is ready."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from websockets.exceptions import InvalidStatus

from pipeline.assistant import open_stt
from pipeline.settings import HOME, Settings
from pipeline.support.progress import Progress, opening
from server.http.starting import Start
from tests.questions import sample
from tests.server_process import END_S, READY_S, ServerProcess, ask, environment, starting
from tests.servers.ollama import FakeOllama, Traps
from tests.servers.running import running

KEY = "a-key-of-the-tests-0123456789"
HTML = {"Accept": "text/html"}
REFUSED = (
    ("POST", "/v1/audio/transcriptions"), ("POST", "/v1/audio/speech"), ("GET", "/v1/models"), ("GET", "/jobs"),
    ("POST", "/asr"), ("GET", "/status"), ("POST", "/page-token"), ("POST", "/share"), ("GET", "/metrics"),
)  # fmt: skip


@dataclass
class Waiting:
    """A service whose start waits in the middle of a download."""

    server: ServerProcess
    ollama: FakeOllama
    goes_on: threading.Event

    def finish(self) -> None:
        self.goes_on.set()
        self.server.wait_until_ready()

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(f"{self.server.url}{path}", headers=headers, timeout=READY_S)

    def at_half(self, **headers: str) -> dict[str, Any]:
        """Wait until half of the model is downloaded; return the response of `/health`."""
        deadline = time.monotonic() + READY_S
        while (told := self.get("/health", **headers).json()).get("loading") != HALF:
            assert time.monotonic() < deadline, told
            time.sleep(0.05)
        return dict(told)


HALF = [{"step": "download", "model": "qwen3", "done": 2000, "total": 4000, "stage": "llm"}]


@contextmanager
def waiting(folder: Path, loads_s: float = 0.0, /, **settings: str) -> Iterator[Waiting]:
    """loads_s: time that loading takes, after the download."""
    goes_on = threading.Event()
    ollama = FakeOllama(models=[], reply="I am here.", traps=Traps(pull_waits=goes_on, load_s=loads_s))
    llm = {"LLM_ENGINE": "ollama", "LLAMA_MODEL": "qwen3", "LLAMA_PULL": "true"}
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running(ollama.app())) as url,
        starting(folder, LLAMA_ENDPOINT=url, **llm, **settings) as server,
    ):
        yield Waiting(server, ollama, goes_on)


def test_the_page_answers_and_the_rest_is_refused_until_it_is_ready(tmp_path: Path) -> None:
    with waiting(tmp_path) as start:
        assert start.at_half() == {"status": "starting", "loading": HALF}
        assert start.get("/health/live").json() == {"status": "ok"}
        for path, status in (("/health", 200), ("/health/live", 200), ("/health/ready", 503)):
            assert httpx.head(f"{start.server.url}{path}", timeout=READY_S).status_code == status, path
        ready = start.get("/health/ready")
        assert (ready.status_code, ready.json(), ready.headers["retry-after"]) == (503, {"status": "starting"}, "5")
        assert start.get("/").json()["status"] == "starting"
        assert "<title>Parley" in start.get("/", **HTML).text
        for path in ("/ui", "/web/app.js", "/openapi.json", "/docs"):
            assert start.get(path).status_code == 200, path
        for method, path in REFUSED:
            told = httpx.request(method, f"{start.server.url}{path}", timeout=READY_S)
            assert (told.status_code, told.headers["retry-after"]) == (503, "5"), path
            assert told.json()["error"]["code"] == "starting", path
        with pytest.raises(InvalidStatus) as refused, start.server.connect():
            pass
        assert refused.value.response.status_code == 503
        assert b"is starting" in (refused.value.response.body or b"")

        start.finish()
        health = start.get("/health").json()
        assert health["status"] == "ok"
        assert "loading" not in health
        assert start.get("/jobs").status_code == 200
        with start.server.connect() as connection:
            assert ask(connection, sample("hello")).llama == "I am here."
        start.server.end()


async def test_each_stage_shows_its_step_until_its_engine_is_open() -> None:
    seen: list[list[Progress]] = []
    start = Start(lambda step: seen.append(start.steps))
    async with open_stt(Settings(_env_file=None, stt_engine="sphinx", model_host="thread"), start.report):  # type: ignore[call-arg]
        assert [[(one.step, one.model, one.stage) for one in steps] for steps in seen] == [
            [("load", "sphinx", "stt")],
            [],
        ]
        assert start.steps == []


def test_a_model_that_is_downloaded_is_then_loaded() -> None:
    start = Start()
    with opening(start.report, "ollama", "llm") as report:
        report(Progress("download", "qwen3", 2000, 4000))
        assert start.steps == [Progress("download", "qwen3", 2000, 4000, stage="llm")]
        report(Progress("download", "qwen3", 4000, 4000))
        assert [(one.step, one.model) for one in start.steps] == [("load", "qwen3")]
    assert start.steps == []


def test_the_progress_is_shown_only_to_callers_with_a_key(tmp_path: Path) -> None:
    with waiting(tmp_path, API_KEYS=f"anna:talk:{KEY}") as start:
        start.at_half(Authorization=f"Bearer {KEY}")
        assert start.get("/health").json() == {"status": "starting"}
        assert start.get("/jobs").status_code == 401


def test_several_processes_show_the_progress_of_their_start(tmp_path: Path) -> None:
    with waiting(tmp_path, PROCESSES="2") as start:
        start.at_half()
        assert start.get("/jobs").status_code == 503
        start.finish()
        assert start.get("/jobs").status_code == 200
        start.server.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_start_at_once(tmp_path: Path, number: int) -> None:
    with waiting(tmp_path) as start:
        start.at_half()
        with httpx.Client(base_url=start.server.url) as keeps_its_connection:
            keeps_its_connection.get("/health")
            start.server.process.send_signal(number)
            assert start.server.process.wait(END_S) == 0, start.server.text
        assert "Traceback" not in start.server.text


def test_a_failed_start_ends_the_service_with_one_sentence(tmp_path: Path) -> None:
    with waiting(tmp_path) as start:
        start.at_half()
        start.ollama.traps.pull_error = "the disk of Ollama is full"
        start.goes_on.set()
        assert start.server.process.wait(END_S) == 2
        assert "the disk of Ollama is full" in start.server.text
        assert "Traceback" not in start.server.text


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_taken_port_ends_the_start_with_one_sentence(tmp_path: Path, processes: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        uri = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with starting(tmp_path, WYOMING_URI=uri, PROCESSES=processes) as server:
            assert server.process.wait(READY_S) == 2, server.text
        assert f"parley: Cannot listen on WYOMING_URI={uri}: " in server.text
        assert "Traceback" not in server.text


AT_THE_END = """
import signal
from commands.progress import StartProgress

stop = StartProgress.stop

def signalled(self):
    StartProgress.stop = stop
    signal.raise_signal(signal.SIGTERM)

StartProgress.stop = signalled
from main import run
run()
"""
"""The service, with a signal between the load of the last model and the announcement."""


def test_a_signal_in_the_last_moment_of_a_start_drains(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END], cwd=tmp_path, env=environment() | {"PYTHONPATH": str(HOME)},
        timeout=READY_S, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Stopping: 0 conversations" in done.stderr
    assert "Traceback" not in done.stderr

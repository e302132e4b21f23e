"""OpenAI's Agents SDK for JavaScript, unmodified, in Chromium: from npm, with an ephemeral key, on another origin."""

import base64
import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from pipeline.audio.clip import encode_wav
from pipeline.settings import HOME
from tests import npm
from tests.browser.conftest import Visit, Visitor, said
from tests.questions import SUM, spoken
from tests.server_process import ServerProcess, serving
from tests.servers.ollama import FakeOllama
from tests.servers.running import running
from tests.stt.recordings import TRAINED

pytestmark = pytest.mark.real_time
KEY = "a-key-of-thirty-two-characters-01"
PACKAGES = ("@openai/agents-realtime@0.20.0", "zod@4", "esbuild@0.28.2")
PROGRAM = HOME / "tests" / "browser" / "agents_sdk.mjs"
LONG = " ".join(["The heron stands at the pond and waits for a small and careless fish."] * 12)
INTERRUPTION = "what time is it in london today please"
SHORT = "It is noon."


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a page with the program, bundled with the SDK. Skips without npm or its packages."""
    folder = tmp_path_factory.mktemp("npm")
    npm.install(folder, *PACKAGES)
    shutil.copy(PROGRAM, folder / "program.mjs")
    site = folder / "site"
    site.mkdir()
    bundle = ["npx", "esbuild", "program.mjs", "--bundle", "--format=iife", f"--outfile={site}/program.js"]
    subprocess.run(bundle, cwd=folder, check=True, capture_output=True, timeout=120)
    (site / "index.html").write_text("<!doctype html><title>SDK</title><script src=program.js></script>")
    with _files(site) as url:
        yield url


@contextmanager
def _files(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://localhost:{server.server_address[1]}"
        finally:
            server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def ollama() -> FakeOllama:
    return FakeOllama()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, page: str, ollama: FakeOllama) -> Iterator[ServerProcess]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running(ollama.app())) as url,
        serving(
            tmp_path_factory.mktemp("sdk"), **TRAINED,
            API_KEYS=KEY, ALLOWED_ORIGINS=page, LLM_ENGINE="ollama", LLAMA_ENDPOINT=url, LLAMA_MODEL="llama3.2",
        ) as server,
    ):  # fmt: skip
        yield server
    assert "Traceback" not in server.text


@pytest.fixture(params=["webrtc", "websocket"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def call(server: ServerProcess, visitor: Visitor, transport: str) -> None:
    """Start the program with an ephemeral key."""
    secrets = f"{server.url}/v1/realtime/client_secrets"
    made = httpx.post(secrets, headers={"Authorization": f"Bearer {KEY}"}, json={}).raise_for_status().json()
    visitor.page.evaluate("([...given]) => talk(...given)", [server.url, made["value"], transport])


def say(visitor: Visitor, words: str) -> None:
    """Speak into the program's microphone."""
    visitor.page.evaluate("wav => say(wav)", base64.b64encode(encode_wav(said(spoken(words)))).decode())


def transcripts(visitor: Visitor, role: str) -> list[str]:
    """Return what this party said, as the SDK's history has it."""
    history = visitor.page.evaluate("seen.history")
    return [
        str(item["content"][0].get("transcript") or "").strip()
        for item in history
        if item["type"] == "message" and item["role"] == role and item["content"]
    ]


def test_a_question_is_answered_after_a_tool_was_called(
    server: ServerProcess, page: str, ollama: FakeOllama, visit: Visit, transport: str
) -> None:
    ollama.calls, ollama.reply = [("get_weather", {"city": "Paris"})], "Take a hat with you."
    visitor = visit(page)
    call(server, visitor, transport)
    say(visitor, SUM)
    visitor.wait(lambda: "Take a hat with you." in transcripts(visitor, "assistant"))
    assert visitor.page.evaluate("seen.cities") == ["Paris"]
    assert transcripts(visitor, "user") == [SUM]
    visitor.until("seen.loudest > 0.02")
    assert visitor.page.evaluate("seen.errors") == []
    visitor.page.evaluate("session.close()")


def test_speech_interrupts_a_reply_and_is_answered(
    server: ServerProcess, page: str, ollama: FakeOllama, visit: Visit, transport: str
) -> None:
    ollama.calls, ollama.reply = [], LONG
    visitor = visit(page)
    call(server, visitor, transport)
    say(visitor, SUM)
    visitor.until("seen.loudest > 0.02")
    ollama.reply = SHORT
    say(visitor, INTERRUPTION)
    visitor.wait(lambda: len(transcripts(visitor, "user")) == 2)
    visitor.wait(lambda: transcripts(visitor, "assistant")[1:] == [SHORT])
    assert visitor.page.evaluate("seen.cancelled") == ["turn_detected"]
    if transport == "webrtc":  # the service stops the sound, and says so
        assert visitor.page.evaluate("seen.kinds.includes('output_audio_buffer.cleared')")
    else:
        assert visitor.page.evaluate("seen.interruptions") >= 1
    assert visitor.page.evaluate("seen.errors") == []
    visitor.page.evaluate("session.close()")

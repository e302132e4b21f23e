"""Parley's application on scripted stages, in a separate process: python -m bench.scripted PORT STAGES (as JSON)."""

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import uvicorn

from pipeline.assistant import Assistant
from pipeline.conversation.turn import Stages
from pipeline.settings import HOME, Settings
from pipeline.voices.catalogue import Voices
from server.app import create_app
from tests.scripted import Running, ScriptedLLM, ScriptedSTT, ScriptedTTS

REPLY = "The heron stands quite still. It waits for a small fish."
FIRST_CLAUSE = "The heron stands quite still."
FAST = {"stt_s": 0.08, "first_token_s": 0.12, "tokens_per_s": 60.0, "first_audio_s": 0.04}
SLOW = {"stt_s": 0.4, "first_token_s": 0.8, "tokens_per_s": 60.0, "first_audio_s": 0.04}


def work_s(stages: dict[str, float]) -> float:
    """Seconds that the stages together need for the first sound of the reply: their critical path."""
    words = len(FIRST_CLAUSE.split())
    return stages["stt_s"] + stages["first_token_s"] + words / stages["tokens_per_s"] + stages["first_audio_s"]


def serve(
    port: int,
    stages: dict[str, float],
    *,
    host: str = "127.0.0.1",
    reply: str = REPLY,
    tts: type[ScriptedTTS] = ScriptedTTS,
) -> None:
    """Serve until it is ended; `/running` reports the running calls, and when the last call ended."""
    settings = Settings(max_sessions=1000, host=host, allow_anonymous=True)
    running = Running()
    scripted = Stages(
        stt=ScriptedSTT(seconds=stages["stt_s"], running=running),
        llm=ScriptedLLM(reply, stages["first_token_s"], stages["tokens_per_s"], running=running),
        tts=tts(first_s=stages["first_audio_s"], running=running),
    )
    app = create_app(settings, Assistant(settings, scripted, Voices.load(settings), lambda: ()))

    @app.get("/running")
    async def tell() -> dict[str, Any]:
        ended = max((call.ended_s for call in running.spans), default=0.0)
        return {"now": running.now, "ended_s": ended, "clock_s": asyncio.get_running_loop().time()}

    uvicorn.run(app, host=host, port=port, ws="websockets-sansio", log_level="warning", server_header=False)


def parley(stages: dict[str, float], port: int) -> list[str]:
    """The command that serves these stages."""
    return [sys.executable, "-m", "bench.scripted", str(port), json.dumps(stages)]


@contextmanager
def process(command: list[str], port: int, host: str = "127.0.0.1") -> Iterator[psutil.Process]:
    """A server that listens on the port while the block runs."""
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(command, cwd=HOME, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 90
            while not listens(port, host):
                if child.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"the server did not start: {log.read()[-2000:].decode()}")
                time.sleep(0.2)
            yield psutil.Process(child.pid)
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def listens(port: int, host: str = "127.0.0.1") -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    serve(int(sys.argv[1]), json.loads(sys.argv[2]))

"""The service with MODEL_HOST=ray, as users run it; and without it, which must not import Ray."""

import subprocess
import sys
from pathlib import Path

import httpx

from pipeline.settings import HOME
from tests.questions import SUM, SUM_ANSWER, spoken
from tests.ray.starting import needs_ray, started
from tests.server_process import ask, environment, killed, serving

OPENS = """
import asyncio, sys
from pipeline.assistant import open_assistant
from pipeline.settings import Settings

async def main():
    async with open_assistant(Settings(_env_file=None)):
        assert not {"ray", "grpc"} & {name.partition(".")[0] for name in sys.modules}

asyncio.run(main())
"""


def test_the_default_imports_no_ray(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OPENS],
        cwd=HOME,
        env=environment(UPLOAD_DIR=str(tmp_path)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@needs_ray
def test_a_turn_runs_on_ray_and_nothing_is_left(tmp_path: Path) -> None:
    with serving(tmp_path, MODEL_HOST="ray", TTS_REPLICAS="2") as server:
        engines = {one["stage"]: one for one in httpx.get(f"{server.url}/health", timeout=60).json()["engines"]}
        assert {stage: one["load"] and one["load"]["host"] for stage, one in engines.items()} == {
            "stt": "ray",
            "llm": None,
            "tts": "ray",
        }
        assert engines["tts"]["load"]["replicas"] == 2
        with server.connect() as connection:
            answer = ask(connection, spoken(SUM))
        assert answer.transcription == SUM
        assert SUM_ANSWER in answer.llama


@needs_ray
def test_the_cluster_ends_when_the_service_is_killed(tmp_path: Path) -> None:
    with killed(tmp_path, MODEL_HOST="ray"):
        pass


@needs_ray
def test_an_existing_cluster_keeps_its_models(tmp_path: Path) -> None:
    token = "a token of this test"
    with started(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token) as cluster:
        used: list[set[int]] = []
        for _ in range(2):
            with serving(tmp_path, MODEL_HOST="ray", RAY_ADDRESS=cluster.address, RAY_AUTH_TOKEN=token) as server:
                with server.connect() as connection:
                    assert SUM_ANSWER in ask(connection, spoken(SUM)).llama
                assert len(server.workers()) == 0
                used.append(cluster.models())
        assert used[0] == used[1] != set()

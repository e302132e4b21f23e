"""The death of the cluster's head, whose state is in a Redis, and of the node of the service."""

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from bench.ray_nodes import cluster
from pipeline.audio.clip import Clip, encode_wav
from pipeline.settings import Settings
from pipeline.workers import EngineSpec, Serving, open_model_host, open_worker
from tests.questions import SUM, SUM_ANSWER, spoken
from tests.ray.starting import needs_ray
from tests.server_process import ServerProcess, ask, killed, serving
from tests.servers.redis_server import needs_redis
from tests.test_fronts import fronts
from tests.waiting import until


@needs_ray
@needs_redis
async def test_calls_go_on_while_the_head_restarts() -> None:
    first, second = (EngineSpec("counter", "tests.workers.engines:Counter", number) for number in (10, 20))
    with cluster(workers=1, durable=True) as there:
        given: dict[str, Any] = {name.lower(): value for name, value in there.settings.items()}
        settings = Settings(_env_file=None, **given)  # type: ignore[call-arg]
        async with open_model_host(settings), open_worker(first, settings, Serving(30.0)) as worker:
            process = await worker.call("pid")
            there.head.send(signal.SIGKILL)
            for _ in range(5):
                assert await worker.call("pid") == process
                await asyncio.sleep(1)
            await asyncio.to_thread(there.head.restart)
            assert await worker.call("pid") == process
            async with open_worker(second, settings, Serving(30.0)) as new:
                assert await new.call("echo", 1) == 1


def ready(server: ServerProcess) -> httpx.Response:
    return httpx.get(f"{server.url}/health/ready", timeout=60)


@needs_ray
@needs_redis
def test_a_service_whose_node_is_lost_finishes_its_work_and_ends(tmp_path: Path) -> None:
    with cluster(workers=1, durable=True) as there, killed(tmp_path, **there.settings, DRAIN_SECONDS="120") as server:

        def transcribe() -> str:
            question = spoken(SUM)
            recording = Clip(np.tile(question.samples, 5), question.rate_hz)
            files = {"file": ("long.wav", encode_wav(recording))}
            address = f"{server.url}/v1/audio/transcriptions"
            return str(httpx.post(address, files=files, timeout=120).raise_for_status().json()["text"])

        with ThreadPoolExecutor() as pool:
            transcript = pool.submit(transcribe)
            until(lambda: httpx.get(f"{server.url}/health", timeout=60).json()["engines"][0]["load"]["running"])
            there.front.send(signal.SIGKILL)
            until(lambda: ready(server).status_code == 503)
            assert ready(server).json()["status"] == "models_lost"
            assert transcript.result()
        assert server.process.wait(60) != 0, "a service manager restarts it"
        assert "The Ray node of this process is lost" in server.text


@needs_ray
@needs_redis
def test_fronts_whose_node_is_lost_are_replaced_when_it_is_back(tmp_path: Path) -> None:
    with cluster(workers=1, durable=True) as there, serving(tmp_path, **there.settings, PROCESSES="2") as server:
        before = {one.pid for one in fronts(server)}
        there.front.send(signal.SIGKILL)
        until(lambda: not before & {one.pid for one in fronts(server)})
        there.front.restart()
        until(lambda: httpx.get(f"{server.url}/health/ready", timeout=60).is_success)
        with server.connect() as connection:
            assert SUM_ANSWER in ask(connection, spoken(SUM)).llama

"""The death of the cluster's head, whose state is in a Redis, and of the node of the service."""

import asyncio
import signal
from pathlib import Path
from typing import Any

from bench.ray_nodes import cluster
from pipeline.settings import Settings
from pipeline.workers import EngineSpec, Serving, open_model_host, open_worker
from tests.questions import SUM, SUM_ANSWER, spoken
from tests.ray.starting import needs_ray
from tests.server_process import ask, killed
from tests.servers.redis_server import needs_redis
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


@needs_ray
@needs_redis
def test_the_log_names_the_loss_of_the_own_node(tmp_path: Path) -> None:
    with cluster(workers=1, durable=True) as there, killed(tmp_path, **there.settings) as server:
        there.front.send(signal.SIGKILL)
        until(lambda: "The Ray node of this process is lost" in server.text)
        with server.connect() as connection:
            assert SUM_ANSWER in ask(connection, spoken(SUM)).llama, "the replicas have not changed"

"""A node of a Ray cluster that is lost: what the calls and the replicas do."""

import asyncio
import signal
import time
from typing import Any

from bench.ray_nodes import Node, cluster
from pipeline.settings import Settings
from pipeline.workers import EngineSpec, Serving, Worker, open_model_host, open_worker
from tests.ray.starting import needs_ray
from tests.waiting import eventually

SLOW_S = 3.5
"""More than one lost attempt, which takes 2 s, and less than two."""


def replicas(node: Node) -> int:
    return sum(one.name().startswith("ray::ServeRepl") for one in node.all())


async def slow_calls(worker: Worker, until: float) -> list[float]:
    """Call again and again; return the times of the slow calls."""
    slow = []
    while time.monotonic() < until:
        began = time.monotonic()
        assert await worker.call("echo", began) == began
        if (took := time.monotonic() - began) > SLOW_S:
            slow.append(took)
        await asyncio.sleep(0.05)
    return slow


@needs_ray
async def test_each_call_meets_a_lost_node_once_at_most() -> None:
    first, second = (EngineSpec("counter", "tests.workers.engines:Counter", number) for number in (10, 20))
    with cluster() as there:
        given: dict[str, Any] = {name.lower(): value for name, value in there.settings.items()}
        settings, serving = Settings(_env_file=None, **given), Serving(30.0, replicas=2)  # type: ignore[call-arg]
        async with (
            open_model_host(settings),
            open_worker(first, settings, serving) as one,
            open_worker(second, settings, serving) as two,
        ):
            nodes = there.workers
            await eventually(lambda: [replicas(node) for node in nodes] == [2, 2])
            nodes[0].send(signal.SIGSTOP)
            until = time.monotonic() + 8
            async with asyncio.TaskGroup() as group:
                calls = [group.create_task(slow_calls(worker, until)) for worker in (one, two) for _ in range(6)]
            assert [took for call in calls for took in call.result()] == []
            # The other node does not get all replicas, so that it can be lost, too, once this one is back.
            await asyncio.to_thread(nodes[0].restart)
            await eventually(lambda: [replicas(node) for node in nodes] == [2, 2], 120)
            nodes[1].send(signal.SIGKILL)
            async with asyncio.timeout(SLOW_S):
                assert await one.call("echo", 1) == await two.call("echo", 1) == 1

"""Connecting to a Ray cluster: an open, an unreachable or a foreign one ends the start with one sentence; and where its
replicas run."""

import asyncio
import importlib.util
import os
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.settings import Settings
from pipeline.workers import EngineSpec, Serving, models_hardware, open_model_host, open_worker
from tests.ray.starting import needs_ray, started
from tests.servers.running import closed_port
from tests.waiting import eventually

COUNTER = EngineSpec("counter", "tests.workers.engines:Counter", 10)
FAULTY = EngineSpec("faulty", "tests.ray.engines:Faulty", None)


def settings(**changes: Any) -> Settings:
    return Settings(_env_file=None, model_host="ray", **changes)  # type: ignore[call-arg]


async def refused(**changes: Any) -> str:
    with pytest.raises(ConfigError) as raised:
        async with open_model_host(settings(**changes)):
            pass
    return raised.value.message


async def test_without_the_extra_the_start_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "the extra `ray`" in await refused()


@needs_ray
async def test_an_address_needs_a_token() -> None:
    assert "RAY_AUTH_TOKEN" in await refused(ray_address="127.0.0.1:6379")


@needs_ray
async def test_an_unreachable_cluster_is_refused() -> None:
    address = f"127.0.0.1:{closed_port()}"
    assert f"RAY_ADDRESS={address} does not answer" in await refused(ray_address=address, ray_auth_token="secret")


@needs_ray
async def test_an_open_cluster_is_refused() -> None:
    with started(RAY_AUTH_MODE="disabled") as cluster:
        assert "open to everyone" in await refused(ray_address=cluster.address, ray_auth_token="secret")


@needs_ray
async def test_a_wrong_token_is_refused() -> None:
    with started(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="right") as cluster:
        assert "is not the token" in await refused(ray_address=cluster.address, ray_auth_token="wrong")


@needs_ray
async def test_replicas_follow_the_waiting_calls_down_to_none() -> None:
    changed = settings(ray_max_replicas=3, model_idle_seconds=4)
    async with open_model_host(changed), open_worker(COUNTER, changed, Serving(30.0)) as worker:

        async def busy() -> None:
            assert len([number async for number in worker.stream("count", 100, 0.2)]) == 100

        async with asyncio.TaskGroup() as calls:
            for _ in range(6):
                calls.create_task(busy())
            await eventually(lambda: worker.load().loaded >= 2)
        await eventually(lambda: worker.load().loaded == 0)
        assert await worker.call("echo", "again") == "again"


@needs_ray
async def test_replicas_share_a_gpu_of_their_node() -> None:
    token = os.environ.get("RAY_AUTH_TOKEN", "a token of this test")  # Ray reads it once a process
    with started(gpus=1, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token) as cluster:
        there = {"ray_address": cluster.address, "ray_auth_token": token}
        halves = settings(ray_gpus=0.5, **there)
        async with open_model_host(halves), open_worker(FAULTY, halves, Serving(30.0, replicas=2)) as worker:
            await eventually(lambda: worker.load().loaded == 2)
            assert {await worker.call("visible_gpus") for _ in range(8)} == {"0"}
            with pytest.raises(ConfigError, match="No node of the Ray cluster has 2"):
                await models_hardware(settings(ray_gpus=2, **there))
            assert (await models_hardware(settings(**there))).cores > 0

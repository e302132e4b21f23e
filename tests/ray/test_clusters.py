"""Connecting to a Ray cluster: an open, an unreachable or a foreign one ends the start with one sentence."""

import importlib.util
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.settings import Settings
from pipeline.workers import open_model_host
from tests.ray.starting import needs_ray, started
from tests.servers.running import closed_port


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

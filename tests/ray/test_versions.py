"""Old versions of a model on an existing cluster: unloaded when no process has used them for a while."""

import os
from typing import Any

import pytest

from pipeline.settings import Settings
from pipeline.workers import EngineSpec, Hosting, Serving, open_model_host, open_worker
from pipeline.workers.on_ray import cluster, versions
from pipeline.workers.on_ray.connection import connected
from pipeline.workers.on_ray.versions import LEAVING_S, Versions
from tests.ray.starting import needs_ray, started
from tests.waiting import eventually


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def unloading(clock: Clock) -> Versions:
    """A record that has told a process to unload a model which none used for 60 s."""
    record = Versions(60.0, clock)
    record.report([], ["old"])
    clock.now += 31
    assert record.report([], ["old"]) == []
    clock.now += 31
    assert record.report([], ["old"]) == ["old"]
    return record


def test_a_model_is_unloaded_once_when_no_process_uses_it() -> None:
    clock = Clock()
    record = Versions(60.0, clock)
    assert record.claim("old")
    assert record.report(["old"], ["old"]) == []
    assert record.claim("new")
    clock.now += 59
    assert record.report(["new"], ["old", "new"]) == []
    clock.now += 2
    assert record.report(["new"], ["old", "new"]) == ["old"]
    assert record.report(["new"], ["old", "new"]) == [], "another process unloads it"


def test_a_model_that_is_unloaded_is_not_used_meanwhile() -> None:
    clock = Clock()
    record = unloading(clock)
    assert not record.claim("old")
    record.report([], [])
    assert record.claim("old")


def test_a_process_that_dies_before_it_unloads_a_model_blocks_nothing() -> None:
    clock = Clock()
    record = unloading(clock)
    for _ in range(2):
        clock.now += LEAVING_S / 2 + 1
        assert record.report([], ["old"]) == []
    assert record.claim("old")


def test_models_that_are_there_count_as_used_after_a_restart_of_the_record() -> None:
    clock = Clock()
    record = Versions(60.0, clock)
    assert record.report(["mine"], ["mine", "another"]) == []
    clock.now += 30
    assert record.report(["mine"], ["mine", "another"]) == []
    clock.now += 31
    assert record.report(["mine"], ["mine", "another"]) == ["another"]


def test_time_without_reports_does_not_count() -> None:
    """All processes were cut off from the cluster for longer than a model stays."""
    clock = Clock()
    record = Versions(60.0, clock)
    assert record.report(["one", "two"], ["one", "two"]) == []
    clock.now += 3600
    assert record.report(["one"], ["one", "two"]) == [], "the process with the other one has not reported yet"
    clock.now += 30
    assert record.report(["two"], ["one", "two"]) == []
    clock.now += 40
    assert record.report(["two"], ["one", "two"]) == ["one"]


def test_only_our_own_names_are_unloaded() -> None:
    spec = EngineSpec("counter", "tests.workers.engines:Counter", 10)
    ours = cluster._name(spec, Serving(30.0), Hosting(True, 15.0, 0.0), cluster.Placement(0.0, 0, 0.0))
    assert cluster.OURS.fullmatch(ours)
    for other in ("parley-notes", "parley-search-v2", f"my-{ours}", f"{ours}-old"):
        assert not cluster.OURS.fullmatch(other)


@needs_ray
async def test_the_old_version_goes_and_the_new_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "UNUSED_S", 2.0)
    monkeypatch.setattr(cluster, "WATCH_S", 0.5)
    token = os.environ.get("RAY_AUTH_TOKEN", "a token of this test")  # Ray reads it once a process
    with started(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token) as running:
        there: dict[str, Any] = {"ray_address": running.address, "ray_auth_token": token}
        settings = Settings(_env_file=None, model_host="ray", **there)  # type: ignore[call-arg]
        old, new = (EngineSpec("counter", "tests.workers.engines:Counter", number) for number in (10, 20))
        async with open_model_host(settings), open_worker(new, settings, Serving(30.0)) as worker:
            async with open_worker(old, settings, Serving(30.0)) as former, connected(settings) as ours:
                assert await former.call("echo", 1) == 1
                await eventually(lambda: len(ours.replicas) == 2)
            await eventually(lambda: len(ours.replicas) == 1)
            assert await worker.call("echo", 2) == 2
            # It can be loaded again.
            async with open_worker(old, settings, Serving(30.0)) as again:
                assert await again.call("echo", 3) == 3

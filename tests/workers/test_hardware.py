"""The machine's hardware, and the models that it can run."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pipeline.stt.models import MODELS, runnable
from pipeline.workers import hardware
from pipeline.workers.hardware import Gpu, Hardware
from tests.server_process import ServerProcess, serving

ON_CUDA = ("float16", "float32", "int8", "int8_float16")
ON_CPU = ("float32", "int8")


def machine(*gpu_mb: int, memory_mb: int = 16_000, types: tuple[str, ...] = ON_CUDA) -> Hardware:
    gpus = tuple(Gpu("GPU", mb, mb, "8.6", types) for mb in gpu_mb)
    return Hardware("CPU", 4, memory_mb, ("avx2",), ON_CPU, gpus)


def test_this_machine_is_described() -> None:
    found = hardware.detect()
    assert found.cores == len(os.sched_getaffinity(0))
    assert found.memory_mb > 100
    assert "float32" in found.cpu_compute_types
    assert str(found.cores) in found.summary


@pytest.mark.parametrize(
    ("having", "expected"),
    [
        (machine(), {"distil_large_v3_ptbr": "cpu", "faster_large-v3_int8": "cpu"}),
        (machine(memory_mb=2000), {}),
        (
            machine(24_000),
            {
                "distil_large_v3_ptbr": "cuda",
                "faster_medium_fp16": "cuda",
                "faster_large-v3_fp16": "cuda",
                "faster_large-v3_int8": "cuda",
            },
        ),
        (
            machine(4_000),
            {"distil_large_v3_ptbr": "cuda", "faster_medium_fp16": "cuda", "faster_large-v3_int8": "cuda"},
        ),
        # An old GPU without half precision.
        (
            machine(8_000, types=("float32", "int8")),
            {"distil_large_v3_ptbr": "cuda", "faster_large-v3_int8": "cuda"},
        ),
        # A driver that does not report its memory.
        (machine(0), {choice.id: "cuda" for choice in MODELS}),
    ],
)
def test_models_that_a_machine_can_run(having: Hardware, expected: dict[str, str]) -> None:
    assert {one.choice.id: one.device for one in runnable(having)} == expected


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            "echo 'NVIDIA GeForce RTX 3060, 12288, 11911, 8.6'; echo 'NVIDIA L4, 23034, 22565, 8.9'",
            [("NVIDIA GeForce RTX 3060", 12288, 11911, "8.6"), ("NVIDIA L4", 23034, 22565, "8.9")],
        ),
        ("echo 'NVIDIA GB10, [N/A], [N/A], 12.1'", []),
        ("echo 'No devices were found'; exit 6", []),
        ("exec sleep 60", []),
        (None, []),
    ],
)
def test_the_driver_is_queried_and_its_failures_do_no_harm(
    script: str | None, expected: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script is not None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin" if script else str(tmp_path))
    monkeypatch.setattr(hardware, "QUERY_TIMEOUT_S", 0.5)
    assert hardware._nvidia_smi() == expected


def test_a_container_limit_counts_as_the_memory(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(f"{512 * 2**20}\n")
    assert hardware.machine_memory_mb(limit) == 512
    limit.write_text("max\n")
    assert hardware.machine_memory_mb(limit) == hardware.machine_memory_mb(tmp_path / "none") > 512


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """Run the service with its embedded engines."""
    with serving(tmp_path) as running:
        yield running


def test_the_service_shows_its_hardware_models_and_load(server: ServerProcess) -> None:
    health = httpx.get(f"{server.url}/health").json()
    root = httpx.get(f"{server.url}/").json()
    assert health["hardware"] == root["hardware"]
    assert health["hardware"]["cores"] > 0
    assert health["cuda_available"] == (health["device_available"] == "cuda") == bool(health["hardware"]["gpus"])
    loads = {engine["engine"]: engine["load"] for engine in health["engines"]}
    assert loads["sphinx"].keys() == {"replicas", "loaded", "running", "waiting", "restarts", "lag_s", "host"}
    assert loads["sphinx"]["replicas"] == loads["sphinx"]["loaded"] == 1
    assert loads["builtin"] is None

    listed = httpx.get(f"{server.url}/models").json()["models"]
    assert (listed[0]["id"], listed[0]["default"], listed[0]["loaded"]) == ("en-us", True, True)
    others = {model["id"] for model in listed[1:]}
    assert others == {one.choice.id for one in runnable(hardware.detect())}
    assert others <= {choice.id for choice in MODELS}
    assert all(model["device"] in ("cpu", "cuda") for model in listed)
    assert not any(model["loaded"] or model["default"] for model in listed[1:])

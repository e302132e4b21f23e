"""Whisper's default device, precision, replicas and batches on machines of many kinds."""

from typing import Any

import pytest

from pipeline.errors import EngineUnavailable
from pipeline.settings import Settings
from pipeline.stt.whisper_plan import Plan, plan
from pipeline.workers.hardware import Gpu, Hardware

BASE_MB, SMALL_MB, LARGE_MB = 140, 470, 2950
MODERN = ("float16", "float32", "int8", "int8_float16")


def machine(
    *, cores: int = 4, memory_mb: int = 16_000, gpu: tuple[int, int] | None = None, types: tuple[str, ...] = MODERN,
    cpu_types: tuple[str, ...] = ("float32", "int8"),
) -> Hardware:  # fmt: skip
    """gpu: its total and free memory, in MB."""
    gpus = () if gpu is None else (Gpu("GPU", *gpu, "8.6", types),)
    return Hardware("CPU", cores, memory_mb, ("avx2",), cpu_types, gpus)


def planned(hardware: Hardware, weights_mb: int = BASE_MB, **settings: Any) -> Plan:
    return plan(Settings(_env_file=None, **settings), hardware, weights_mb)  # type: ignore[call-arg]


CPU = (("cpu", "int8"), ("cpu", "float32"))


@pytest.mark.parametrize(
    ("hardware", "weights_mb", "ways"),
    [
        (machine(), BASE_MB, CPU),
        (machine(cpu_types=("float32",)), BASE_MB, CPU[1:]),
        (
            machine(gpu=(24_000, 23_000)),
            LARGE_MB,
            (("cuda", "float16"), ("cuda", "int8_float16"), ("cuda", "int8"), ("cuda", "float32"), *CPU),
        ),
        # Room for eight bits only, and no room beside another program on the GPU.
        (machine(gpu=(4_000, 3_500)), LARGE_MB, (("cuda", "int8_float16"), ("cuda", "int8"), *CPU)),
        (machine(gpu=(24_000, 1_000)), LARGE_MB, CPU),
        # An old GPU without half precision.
        (
            machine(gpu=(8_000, 8_000), types=("float32", "int8")),
            BASE_MB,
            (("cuda", "int8"), ("cuda", "float32"), *CPU),
        ),
        # A driver that does not report its memory: loading shows whether the model fits.
        (machine(gpu=(0, 0), types=("float16",)), LARGE_MB, (("cuda", "float16"), *CPU)),
    ],
)
def test_device_and_precision_fit_the_hardware(
    hardware: Hardware, weights_mb: int, ways: tuple[tuple[str, str], ...]
) -> None:
    assert planned(hardware, weights_mb).ways == ways


@pytest.mark.parametrize(
    ("hardware", "weights_mb", "replicas", "threads"),
    [
        (machine(cores=1), BASE_MB, 1, 1),
        (machine(cores=2), BASE_MB, 2, 1),
        (machine(cores=2), SMALL_MB, 1, 2),
        (machine(cores=2, memory_mb=2_000), BASE_MB, 1, 2),
        (machine(cores=8), BASE_MB, 4, 2),
        (machine(cores=8), SMALL_MB, 1, 4),
        (machine(cores=32, memory_mb=64_000), SMALL_MB, 4, 4),
        (machine(cores=32, memory_mb=3_200), SMALL_MB, 1, 4),
        (machine(cores=128, memory_mb=512_000), LARGE_MB, 4, 4),
        (machine(cores=32, gpu=(24_000, 23_000)), LARGE_MB, 1, 4),
    ],
)
def test_replicas_and_threads_fit_the_hardware(
    hardware: Hardware, weights_mb: int, replicas: int, threads: int
) -> None:
    found = planned(hardware, weights_mb)
    assert (found.replicas, found.threads) == (replicas, threads)


def test_batches_are_used_where_they_are_faster() -> None:
    on_gpu, on_cpu = machine(gpu=(24_000, 23_000)), machine()
    assert (planned(on_gpu).batch, planned(on_gpu).file_batch, planned(on_gpu).file_batch_beside_users) == (16, 16, 16)
    assert (planned(on_cpu).batch, planned(on_cpu).file_batch, planned(on_cpu).file_batch_beside_users) == (8, 4, 1)
    full = planned(on_cpu, whisper_context_s=30)
    assert (full.batch, full.file_batch) == (1, 1)
    assert planned(on_gpu, whisper_device="cpu").batch == 8


def test_a_cpu_encodes_ten_seconds_at_least_and_cuda_thirty() -> None:
    on_gpu, on_cpu = machine(gpu=(24_000, 23_000)), machine()
    assert (planned(on_cpu).context_s, planned(on_gpu).context_s) == (10, 30)
    assert (planned(on_cpu, whisper_context_s=30).context_s, planned(on_gpu, whisper_context_s=12).context_s) == (
        30,
        12,
    )


@pytest.mark.parametrize("context_s", [-1, 0.5, 9.9, 31])
def test_a_context_below_ten_seconds_is_refused(context_s: float) -> None:
    with pytest.raises(ValueError, match="whisper_context_s"):
        planned(machine(), whisper_context_s=context_s)


def test_settings_override_the_plan() -> None:
    hardware = machine(cores=32, memory_mb=64_000, gpu=(24_000, 23_000))
    named = {"stt_replicas": 3, "whisper_threads": 7, "stt_batch": 5}
    found = planned(hardware, whisper_device="cpu", whisper_compute_type="float32", **named)
    assert found == Plan((("cpu", "float32"),), 3, 7, 5, 5, 1, 10)
    # An explicit device is tried whether it seems to fit or not, and no other.
    full = planned(machine(gpu=(4_000, 500)), LARGE_MB, whisper_device="cuda", whisper_compute_type="float16")
    assert full.ways == (("cuda", "float16"),)
    with pytest.raises(EngineUnavailable, match="No CUDA device"):
        planned(machine(), whisper_device="cuda")

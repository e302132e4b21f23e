"""The hardware for models: CPU, memory, CUDA devices. Works without torch.

Detected once, at start: it does not change while the service runs.
"""

import contextlib
import functools
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.support.environment import clean_environment
from pipeline.support.threads import CORES

QUERY_TIMEOUT_S = 5.0
"""nvidia-smi takes a second with a cold driver, and hangs with a broken one."""
CPU_FEATURES = ("avx", "avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16", "f16c", "asimd", "i8mm")
"""CPU features by which the models' libraries choose their kernels."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One CUDA device."""

    name: str
    memory_mb: int
    free_mb: int
    """Free memory when the service started."""
    compute_capability: str
    """Such as "8.6"; "" if the driver does not report it."""
    compute_types: tuple[str, ...]
    """Compute types that CTranslate2 supports on it: float16, int8, int8_float16, …"""


@dataclass(frozen=True, slots=True)
class Hardware:
    """The hardware of this machine that this process can use."""

    cpu: str
    cores: int
    """Cores that this process can run on."""
    memory_mb: int
    """Memory of the container, if less than the machine's."""
    cpu_features: tuple[str, ...]
    cpu_compute_types: tuple[str, ...]
    """Compute types that CTranslate2 supports on the CPU."""
    gpus: tuple[Gpu, ...]

    @property
    def cuda(self) -> bool:
        """Whether CTranslate2 can use a GPU."""
        return bool(self.gpus)

    @property
    def fp16(self) -> bool:
        """Whether half precision is fast on a GPU."""
        return any("float16" in gpu.compute_types for gpu in self.gpus)

    @property
    def int8(self) -> bool:
        """Whether int8 is fast, on a GPU or on the CPU."""
        return any("int8" in types for types in (self.cpu_compute_types, *(gpu.compute_types for gpu in self.gpus)))

    @property
    def gpu_memory_mb(self) -> int:
        """Memory of the largest GPU; 0 without a GPU."""
        return max((gpu.memory_mb for gpu in self.gpus), default=0)

    @property
    def summary(self) -> str:
        """Describe the hardware in one line, for people."""
        cpu = f"{self.cores} cores, {self.memory_mb / 1024:.0f} GB"
        names = [f"{gpu.name}, {gpu.memory_mb / 1024:.0f} GB" for gpu in self.gpus]
        return "; ".join([f"{self.cpu}, {cpu}", *names])


def detect(*, cuda: bool = True) -> Hardware:
    """Detect the hardware. Blocks, for a second if there is a GPU; never raises: an unknown value is empty.

    cuda: whether models may use the GPUs.
    """
    import ctranslate2

    count = ctranslate2.get_cuda_device_count() if cuda else 0
    told = _nvidia_smi() if count else []
    gpus = []
    for index in range(count):
        types = tuple(sorted(ctranslate2.get_supported_compute_types("cuda", index)))
        # The orders of CUDA and nvidia-smi agree unless CUDA_VISIBLE_DEVICES hides a device.
        name, memory_mb, free_mb, capability = told[index] if len(told) == count else ("CUDA device", 0, 0, "")
        gpus.append(Gpu(name, memory_mb, free_mb, capability, types))
    model, features = _cpu(Path("/proc/cpuinfo"))
    return Hardware(
        cpu=model or platform.machine(),
        cores=CORES,
        memory_mb=machine_memory_mb(),
        cpu_features=features,
        cpu_compute_types=tuple(sorted(ctranslate2.get_supported_compute_types("cpu"))),
        gpus=tuple(gpus),
    )


@functools.cache
def this_machine() -> Hardware:
    """Return the result of `detect`, which runs once."""
    return detect()


def _nvidia_smi() -> Sequence[tuple[str, int, int, str]]:
    """Name, memory, free memory (MB) and compute capability of each device; empty if nvidia-smi is missing or hangs."""
    fields = "name,memory.total,memory.free,compute_cap"
    try:
        result = subprocess.run(
            ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=QUERY_TIMEOUT_S, check=True, stdin=subprocess.DEVNULL,
            env=clean_environment(),
        )  # fmt: skip
        return [_device(line) for line in result.stdout.splitlines() if line.strip()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def _device(line: str) -> tuple[str, int, int, str]:
    """Parse "NVIDIA L4, 23034, 22565, 8.9". Raises ValueError."""
    name, total, free, capability = (part.strip() for part in line.rsplit(",", 3))
    return name, int(total), int(free), capability


def _cpu(file: Path) -> tuple[str, tuple[str, ...]]:
    """Read model and features from Linux's cpuinfo; empty elsewhere."""
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return "", ()
    entries = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]))
    flags = set(entries.get("flags", entries.get("Features", "")).split())
    return entries.get("model name", ""), tuple(name for name in CPU_FEATURES if name in flags)


def machine_memory_mb(limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Memory that this process can use, within the container's limit (cgroup v2)."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0
    with contextlib.suppress(OSError, ValueError):  # not in a container, or "max"
        memory = min(memory, int(limit.read_text()))
    return memory // 2**20

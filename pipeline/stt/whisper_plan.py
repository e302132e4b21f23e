"""How Whisper runs best on a machine: device and precision, copies, threads and batches, where no setting says so."""

from dataclasses import dataclass

from pipeline.errors import EngineUnavailable
from pipeline.settings import Settings
from pipeline.stt.models import needed_mb
from pipeline.workers.hardware import Gpu, Hardware

FULL_CONTEXT_S = 30.0
ON_CUDA = ("float16", "int8_float16", "int8", "float32")
ON_CPU = ("int8", "float32")
"""Compute types, best first. Half precision is as exact as full and twice as fast where a GPU has it; int8 is half as
large again. On a CPU int8 is twice as fast as float32, at no loss that anybody has measured for Whisper."""
MOST_THREADS = 4
"""Of one model on a CPU: decoding gains nothing from the second on, encoding little from more."""
CORES_A_COPY = 8
"""Two copies on fewer cores would take turns all the same."""
MOST_COPIES = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """How one Whisper is run."""

    ways: tuple[tuple[str, str], ...]
    """(device, compute type) to try, best first: loading tells what no list does."""
    replicas: int
    threads: int
    """On a CPU, each copy."""
    batch: int
    """Short utterances decoded together."""
    file_batch: int
    """Windows of recordings decoded together."""


def plan(settings: Settings, hardware: Hardware, weights_mb: int) -> Plan:
    """What the settings say, and for the rest what pays on this machine (docs/performance.md).

    weights_mb: of the model, at half precision. Raises EngineUnavailable when CUDA is demanded and not there.
    """
    ways = _ways(settings, hardware, weights_mb)
    device, kind = ways[0]
    replicas = settings.stt_replicas or _replicas(device, hardware, needed_mb(weights_mb, kind, hardware))
    # On a CPU encoding a full window is most of the work and keeps its cores busy alone: a batch of utterances only
    # makes its first ones wait.
    batch = 16 if device == "cuda" else 8 if settings.whisper_context_s < FULL_CONTEXT_S else 1
    return Plan(
        ways,
        replicas,
        threads=settings.whisper_threads or max(1, min(MOST_THREADS, hardware.cores // replicas)),
        batch=settings.stt_batch or batch,
        file_batch=settings.stt_file_batch or (16 if device == "cuda" else 1),
    )


def _ways(settings: Settings, hardware: Hardware, weights_mb: int) -> tuple[tuple[str, str], ...]:
    device, asked = settings.whisper_device, settings.whisper_compute_type
    if device == "cuda" and not hardware.gpus:
        raise EngineUnavailable("No CUDA device is visible.", remedy="Set WHISPER_DEVICE=cpu, or check the driver.")
    found: list[tuple[str, str]] = []
    if device != "cpu" and hardware.gpus:
        gpu = hardware.gpus[0]  # CTranslate2 takes the first
        kinds = [kind for kind in ON_CUDA if kind in gpu.compute_types] if asked == "auto" else [asked]
        fitting = [kind for kind in kinds if _fits(kind, gpu, weights_mb, hardware)]
        # Who demands CUDA is told by the loading itself that there is no room.
        found += [("cuda", kind) for kind in fitting or (kinds if device == "cuda" else ())]
    if device != "cuda":
        kinds = [kind for kind in ON_CPU if kind in hardware.cpu_compute_types] if asked == "auto" else [asked]
        found += [("cpu", kind) for kind in kinds]
    return tuple(found)


def _fits(kind: str, gpu: Gpu, weights_mb: int, hardware: Hardware) -> bool:
    """A driver that does not tell its memory (0) leaves it to the loading."""
    return not gpu.memory_mb or needed_mb(weights_mb, kind, hardware) <= gpu.free_mb


def _replicas(device: str, hardware: Hardware, mb: int) -> int:
    if device == "cuda":
        return 1  # batches fill a GPU better than copies
    by_memory = hardware.memory_mb // 4 // max(1, mb)
    return max(1, min(MOST_COPIES, hardware.cores // CORES_A_COPY, by_memory))

"""Defaults for running Whisper on a machine: device and precision, copies, threads and batches."""

from dataclasses import dataclass

from pipeline.errors import EngineUnavailable
from pipeline.settings import Settings
from pipeline.stt.models import needed_mb
from pipeline.workers.hardware import Gpu, Hardware

FULL_CONTEXT_S = 30.0
SHORT_CONTEXT_S = 10.0
"""Minimum sound to encode on a CPU. Word errors of tiny.en and base on recordings: 4.7 and 5.2 % at 10 s,
4.9 and 4.5 % at 30 s, 30 and 52 % at 6 s."""
ON_CUDA = ("float16", "int8_float16", "int8", "float32")
ON_CPU = ("int8", "float32")
"""Compute types, best first. Half precision is as exact as full and twice as fast where a GPU supports it; int8 halves
the size again. On a CPU int8 is twice as fast as float32, and no published measurement shows a loss for Whisper."""
MOST_THREADS = 4
"""Maximum number of threads of one model on a CPU: decoding gains nothing from the second on, encoding
little beyond this."""
SMALL_MODEL_MB = 200
"""Size of weights (base has 140 MB at half precision) up to which one thread is quick enough for a turn. Then each core
has its own copy: two copies with a thread each transcribe more than one copy with two threads."""
CORES_A_COPY = 8
"""Cores for each copy of a larger model."""
MOST_COPIES = 4
FILE_BATCH = 4
"""Windows of recordings decoded together on a CPU: twice as many gain a tenth of the decoding, and the first call of a
conversation waits twice as long for them."""
MARGIN_S = 2.0
"""Silence after the sound in a recording's window with a short context. With 1 s, tiny.en repeated some segments with
times after the sound: 3 of 58 windows; with 2 s, 1 or 2 of 58 to 65."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The parameters for running one Whisper model."""

    ways: tuple[tuple[str, str], ...]
    """(device, compute type) to try, best first: only loading shows which one works."""
    replicas: int
    threads: int
    """Threads of each copy on a CPU."""
    batch: int
    """Number of short utterances decoded together."""
    file_batch: int
    """Number of windows of recordings decoded together."""
    file_batch_beside_users: int
    """The same while conversations use the model."""
    context_s: float
    """Minimum length of sound to encode, in seconds."""


def plan(settings: Settings, hardware: Hardware, weights_mb: int) -> Plan:
    """Combine the settings with what is fastest on this machine (docs/performance.md).

    weights_mb: of the model, at half precision. Raises EngineUnavailable when CUDA is required but not available.
    """
    ways = _ways(settings, hardware, weights_mb)
    device, kind = ways[0]
    replicas = settings.stt_replicas or _replicas(device, hardware, weights_mb, needed_mb(weights_mb, kind, hardware))
    # On a CPU, encoding a full window is most of the work and keeps the cores busy by itself: batching utterances would
    # only delay the first ones.
    context_s = settings.whisper_context_s or (FULL_CONTEXT_S if device == "cuda" else SHORT_CONTEXT_S)
    batch = 16 if device == "cuda" else 8 if context_s < FULL_CONTEXT_S else 1
    file_batch = settings.stt_batch or _file_batch(device, context_s)
    return Plan(
        ways,
        replicas,
        threads=settings.whisper_threads or max(1, min(MOST_THREADS, hardware.cores // replicas)),
        batch=settings.stt_batch or batch,
        file_batch=file_batch,
        file_batch_beside_users=file_batch if device == "cuda" else 1,
        context_s=context_s,
    )


def window_s(context_s: float) -> float:
    """Return the limit of the length of a recording's windows for a model that encodes at least `context_s`: with the
    margin they fill a short context, so that all have one shape (docs/performance.md has the word errors)."""
    return context_s - MARGIN_S if context_s < FULL_CONTEXT_S else FULL_CONTEXT_S


def _file_batch(device: str, context_s: float) -> int:
    if device == "cuda":
        return 16
    return FILE_BATCH if context_s < FULL_CONTEXT_S else 1


def _ways(settings: Settings, hardware: Hardware, weights_mb: int) -> tuple[tuple[str, str], ...]:
    device, asked = settings.whisper_device, settings.whisper_compute_type
    if device == "cuda" and not hardware.gpus:
        raise EngineUnavailable("No CUDA device is visible.", remedy="Set WHISPER_DEVICE=cpu, or check the driver.")
    found: list[tuple[str, str]] = []
    if device != "cpu" and hardware.gpus:
        gpu = hardware.gpus[0]  # CTranslate2 uses the first
        kinds = [kind for kind in ON_CUDA if kind in gpu.compute_types] if asked == "auto" else [asked]
        fitting = [kind for kind in kinds if _fits(kind, gpu, weights_mb, hardware)]
        # If CUDA is required but lacks memory, loading reports that error.
        found += [("cuda", kind) for kind in fitting or (kinds if device == "cuda" else ())]
    if device != "cuda":
        kinds = [kind for kind in ON_CPU if kind in hardware.cpu_compute_types] if asked == "auto" else [asked]
        found += [("cpu", kind) for kind in kinds]
    return tuple(found)


def _fits(kind: str, gpu: Gpu, weights_mb: int, hardware: Hardware) -> bool:
    """Whether a model fits; a driver that does not report its memory (0) leaves that to the loading."""
    return not gpu.memory_mb or needed_mb(weights_mb, kind, hardware) <= gpu.free_mb


def _replicas(device: str, hardware: Hardware, weights_mb: int, mb: int) -> int:
    if device == "cuda":
        return 1  # batches fill a GPU better than copies
    by_memory = hardware.memory_mb // 4 // max(1, mb)
    cores = 1 if weights_mb <= SMALL_MODEL_MB else CORES_A_COPY
    return max(1, min(MOST_COPIES, hardware.cores // cores, by_memory))

"""The models for recordings, by the ids that clients use, and which of them this machine can run."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.workers.hardware import Hardware


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """One model at one precision."""

    id: str
    model: str
    """As in WHISPER_MODEL."""
    compute_type: str
    """A compute type of CTranslate2, or of torch for a model of transformers."""
    implementation: str
    """faster-whisper, or transformers for weights without a conversion."""
    requires_gpu: bool
    gpu_mb: int
    """GPU memory that it needs for weights and decoding. From faster-whisper's table for large-v2 (float16 4.7 GB, int8
    3.1 GB with a beam of 5), rounded up; in proportion for medium."""
    cpu_mb: int
    """Memory that it needs on a CPU; 0: does not run on a CPU."""
    description: str


MODELS: tuple[ModelChoice, ...] = (
    ModelChoice(
        "distil_large_v3_ptbr", "freds0/distil-whisper-large-v3-ptbr", "float32", "transformers", False, 4000, 5000,
        "Distilled for Brazilian Portuguese: light and fast, also on a CPU.",
    ),
    ModelChoice(
        "faster_medium_fp16", "medium", "float16", "faster-whisper", True, 3500, 0,
        "A balance between speed and quality on a GPU.",
    ),
    ModelChoice(
        "faster_large-v3_fp16", "large-v3", "float16", "faster-whisper", True, 5500, 0,
        "The best quality; for a GPU with 8 GB or more.",
    ),
    ModelChoice(
        "faster_large-v3_int8", "large-v3", "int8", "faster-whisper", False, 3500, 3500,
        "The quality of large-v3 in less memory: for a strong CPU or a small GPU.",
    ),
)  # fmt: skip
"""In the order of the listing."""


@dataclass(frozen=True, slots=True)
class Runnable:
    """A model that this machine can run, and where."""

    choice: ModelChoice
    device: str
    """cuda or cpu."""


def runnable(hardware: Hardware) -> Sequence[Runnable]:
    """The models of the table that this machine can run, each on the best device for it."""
    found = []
    for choice in MODELS:
        device = _device(choice, hardware)
        if device is not None:
            found.append(Runnable(choice, device))
    return found


WORKING_MB = 300
"""Memory in addition to the weights: the process, its libraries, the sound."""


def needed_mb(weights_mb: int, compute_type: str, hardware: Hardware) -> int:
    """Estimate the memory of a model from the size of its weights at half precision. Decoding needs memory in
    proportion to the model: up to half of its weights in faster-whisper's table."""
    if compute_type == "auto":
        compute_type = "float16" if hardware.cuda else "int8"
    scale = 0.5 if compute_type.startswith("int8") else 2.0 if compute_type == "float32" else 1.0
    return WORKING_MB + int(1.5 * scale * weights_mb)


def _device(choice: ModelChoice, hardware: Hardware) -> str | None:
    for gpu in hardware.gpus:
        # A driver that does not report its memory (0) is assumed to have enough; loading shows whether it does.
        if choice.compute_type in gpu.compute_types and (not gpu.memory_mb or gpu.memory_mb >= choice.gpu_mb):
            return "cuda"
    if choice.requires_gpu or choice.compute_type not in hardware.cpu_compute_types:
        return None
    return "cpu" if hardware.memory_mb >= choice.cpu_mb else None

"""What the worker of XTTS is told; apart from the engine, so that torch is not imported in the service."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class XttsConfig:
    """What to load, and how."""

    folder: str
    """config.json, model.pth, vocab.json and, for built-in speakers, speakers_xtts.pth."""
    latents_dir: str
    """Where voices' latents are kept."""
    device: str = "auto"
    """auto, cpu or cuda."""
    threads: int = 1
    int8: bool = False
    """Quantise the GPT; on a CPU only."""
    precision: str = "float32"
    """Of the GPT: torch's name."""
    compile: bool = False
    """Compile the vocoder with torch.compile."""

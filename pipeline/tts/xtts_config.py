"""Configuration of the XTTS worker; separate from the engine, so that the service does not import torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class XttsConfig:
    """The model to load, and how to run it."""

    folder: str
    """Folder with config.json, model.pth, vocab.json and, for built-in speakers, speakers_xtts.pth."""
    latents_dir: str
    """Folder for voices' latents."""
    device: str = "auto"
    """auto, cpu or cuda."""
    threads: int = 1
    precision: str = "float32"
    """The GPT's precision, as torch names it; int8: quantised, on a CPU only."""

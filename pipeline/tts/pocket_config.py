"""Configuration of pocket-tts's worker; separate from the engine, so that the service does not import torch."""

from dataclasses import dataclass

MODELS = {
    "en": "english", "pt": "portuguese", "es": "spanish", "fr": "french",
    "de": "german", "it": "italian", "nl": "dutch",
}  # fmt: skip
"""Language → its pocket-tts model."""


@dataclass(frozen=True, slots=True)
class PocketConfig:
    """Models to load, and how to run them."""

    config: str
    """Path of a model's YAML, used for all languages; "": the model of each language."""
    first: str
    """Language that is loaded at the start; the others are loaded when they are first needed."""
    hub_cache: str
    """Folder for downloaded weights, unless HF_HOME or HF_HUB_CACHE is set."""
    hub: str = ""
    """Address of the hub; "": the library's default."""
    hub_token: str = ""
    offline: bool = False
    """Never contact the hub."""
    device: str = "cpu"
    threads: int = 1
    int8: bool = False

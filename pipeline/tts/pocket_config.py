"""What the worker of pocket-tts is told; apart from the engine, so that torch is not imported in the service."""

from dataclasses import dataclass

MODELS = {
    "en": "english", "pt": "portuguese", "es": "spanish", "fr": "french",
    "de": "german", "it": "italian", "nl": "dutch",
}  # fmt: skip
"""Language → the model of pocket-tts that speaks it."""


@dataclass(frozen=True, slots=True)
class PocketConfig:
    """What to load, and how."""

    config: str
    """A YAML with paths of its own, spoken with in every language; "": the language's own model."""
    first: str
    """Language loaded at once; others when they are first spoken."""
    hub_cache: str
    """Where downloaded weights are kept, unless HF_HOME or HF_HUB_CACHE say otherwise."""
    hub: str = ""
    """Its address; "": the library's own."""
    hub_token: str = ""
    offline: bool = False
    """Never ask the hub."""
    device: str = "cpu"
    threads: int = 1
    int8: bool = False

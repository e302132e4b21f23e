"""Voices by name, and what each engine needs to speak with one.

`voices/NAME/voice.toml` describes a voice, its reference clips lie beside it; a bare NAME.wav in voices/ or audios/ is
a voice as well. Names are looked up in the list of what is there, never turned into paths.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Voice:
    """One voice."""

    name: str
    description: str = ""
    clips: tuple[Path, ...] = ()
    """Reference recordings for engines that clone."""
    languages: tuple[str, ...] = ()
    """ISO 639-1 codes it is meant for; empty: whatever the engine speaks."""
    engines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """For each engine its own keys: {"espeak": {"en": "en-us+m3", …}, "xtts": {"speaker": "…"}, …}."""

"""Numeric options of a live session: the deployment's settings, changed by the client."""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

from pipeline.errors import BadInput
from pipeline.settings import Settings

LIMITS: dict[str, tuple[float, float]] = {
    "vad_threshold": (0.05, 0.95),
    "preroll_ms": (0, 2000),
    "silence_ms": (100, 10_000),
    "min_silence_ms": (100, 10_000),
    "max_silence_ms": (100, 30_000),
    "speculate_ms": (60, 10_000),
    "speculations": (0, 20),
    "speculation_max_speech_s": (0, 600),
    "hold_ms": (32, 2000),
    "interrupt_ms": (60, 5000),
    "interrupt_words": (1, 10),
    "backchannel_ms": (100, 5000),
    "lead_ms": (40, 2000),
    "partial_ms": (0, 10_000),
    "max_utterance_s": (1, 600),
    "idle_prompt_s": (0, 86_400),
    "idle_timeout_s": (1, 86_400),
}
"""Range that a client can set for each number."""


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """Options of one session; the settings of the same names describe them."""

    turn_detection: bool = True
    """Whether the service decides when a turn is over; False: push-to-talk, the client decides."""
    adaptive_endpointing: bool = True
    interruptible: bool = True
    half_duplex: bool = False
    vad_threshold: float = 0.5
    preroll_ms: int = 300
    silence_ms: int = 500
    min_silence_ms: int = 250
    max_silence_ms: int = 1500
    speculate_ms: int = 100
    speculations: int = 3
    speculation_max_speech_s: float = 15.0
    hold_ms: int = 60
    interrupt_ms: int = 250
    interrupt_words: int = 1
    backchannel_ms: int = 800
    lead_ms: int = 200
    partial_ms: int = 500
    max_utterance_s: float = 60.0
    idle_prompt_s: float = 0.0
    idle_timeout_s: float = 600.0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the deployment's defaults."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})

    def changed(self, wishes: dict[str, Any]) -> Self:
        """Return a copy with the client's changes. Raises BadInput (bad_parameter) for an unknown name or a value out
        of range."""
        return replace(self, **{name: self._checked(name, value) for name, value in wishes.items()})

    def _checked(self, name: str, value: Any) -> Any:
        if name not in self.__dataclass_fields__:
            raise BadInput(f"{name[:40]!r} is not an option of a conversation.", code="bad_parameter")
        current = getattr(self, name)
        try:
            if isinstance(current, bool):
                return _BOOLEANS[str(value).lower()]
            number = type(current)(float(value))
        except (KeyError, ValueError, TypeError, OverflowError):
            raise BadInput(f"{name} cannot be {str(value)[:40]!r}.", code="bad_parameter") from None
        low, high = LIMITS[name]
        if not low <= number <= high:
            raise BadInput(f"{name} must be from {low:g} to {high:g}.", code="bad_parameter")
        return number


_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

"""`noise_reduction` of a session, as OpenAI documents it, for conversations and translations."""

from collections.abc import Mapping
from typing import Literal, TypedDict

from pipeline.listening import noise
from server.realtime.errors import RealtimeError

STRENGTH = "session.audio.input.noise_reduction.strength"


class NoiseReduction(TypedDict):
    """The kind of microphone, which changes nothing here, and the share of filtered sound, 0 to 1."""

    type: Literal["near_field", "far_field"]
    strength: float


def default_noise_reduction(strength: float) -> NoiseReduction | None:
    """Return the choice of a client that makes none. strength: NOISE_REDUCTION."""
    return {"type": "near_field", "strength": strength} if strength else None


def noise_reduction_of(wanted: Mapping[str, object] | None, before: NoiseReduction | None) -> NoiseReduction | None:
    """Return a client's choice with its strength: without one the strength before counts, and at first 1. None also
    where RNNoise is not installed. Raises RealtimeError."""
    if wanted is None or not noise.available():
        return None
    strength = wanted.get("strength")
    if strength is None:
        strength = 1.0 if before is None else before["strength"]
    assert isinstance(strength, int | float)  # noqa: S101  # by its type
    if not 0 <= strength <= 1:
        raise RealtimeError(f"'{STRENGTH}' must be from 0 to 1.", code="invalid_value", param=STRENGTH)
    return {"type": "near_field" if wanted["type"] == "near_field" else "far_field", "strength": strength}

"""What no recording may be, and the errors that say so."""

from pipeline.audio import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ
from pipeline.errors import BadInput

OVER_S = 1.0
"""A file is refused by its packets when it is longer than it may be by more than this: encoders begin and end with some
that are not heard."""


def bad_audio() -> BadInput:
    """What cannot be decoded."""
    return BadInput("This is not audio that can be decoded.", code="bad_audio")


def too_long(max_seconds: float) -> BadInput:
    """What is longer than it may be."""
    return BadInput(f"The audio is longer than {max_seconds:g} seconds.", code="audio_too_long")


def check_format(rate_hz: int, channels: int) -> None:
    """Raises BadInput for what no recording has."""
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ or not 1 <= channels <= MAX_CHANNELS:
        raise BadInput(f"The header claims {rate_hz} Hz and {channels} channels.", code="bad_audio")

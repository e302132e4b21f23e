"""What no recording may be, and the errors that say so."""

from pipeline.audio import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ
from pipeline.errors import BadInput

OVER_S = 1.0
"""A file is refused by its packets when it is longer than it may be by more than this: encoders begin and end with some
that are not heard."""

TEXT_HEAD = 2048
"""Bytes. The longest header that is text has 1,024 (NIST SPHERE)."""
_TEXT = bytes([*b"\t\n\f\r", *range(0x20, 0x7F)])


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


def refuse_text(head: bytes) -> None:
    """Raises BadInput for a file that begins with TEXT_HEAD bytes of plain text, or is all text. No recording does:
    playlists, session descriptions and web pages cost no process."""
    if head and not head[:TEXT_HEAD].translate(None, _TEXT):
        raise bad_audio()

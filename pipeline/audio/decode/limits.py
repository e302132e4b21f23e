"""Limits for an audio file, and the errors for passing them."""

from pipeline.audio.clip import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ
from pipeline.errors import BadInput

OVER_S = 1.0
"""A file is refused by its packets when it exceeds the limit by more than this, in seconds: encoders add some packets
at the beginning and end that are not played."""

TEXT_HEAD = 2048
"""Bytes. The longest text header of an audio format has 1,024 (NIST SPHERE)."""
_TEXT = bytes([*b"\t\n\f\r", *range(0x20, 0x7F)])


def bad_audio() -> BadInput:
    """The error for data that cannot be decoded."""
    return BadInput("This is not audio that can be decoded.", code="bad_audio")


def too_long(max_seconds: float) -> BadInput:
    """The error for audio over the length limit."""
    return BadInput(f"The audio is longer than {max_seconds:g} seconds.", code="audio_too_long")


def check_format(rate_hz: int, channels: int) -> None:
    """Raise BadInput for a rate or a number of channels that no recording has."""
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ or not 1 <= channels <= MAX_CHANNELS:
        raise BadInput(f"The header claims {rate_hz} Hz and {channels} channels.", code="bad_audio")


def refuse_text(head: bytes) -> None:
    """Raise BadInput for a file that begins with TEXT_HEAD bytes of plain text, or is all text.

    No audio file does, so that playlists, session descriptions and web pages start no process.
    """
    if head and not head[:TEXT_HEAD].translate(None, _TEXT):
        raise bad_audio()

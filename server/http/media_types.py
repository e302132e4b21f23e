"""Media types of recordings, detected from their first bytes; never a type that a browser would execute."""

from pathlib import Path

UNKNOWN = "application/octet-stream"
_BEGINS = (
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b".snd", "audio/basic"),
)
MEDIA_TYPES = sorted({*(kind for _, kind in _BEGINS), "audio/wav", "audio/mp4", "video/mp4", "audio/aac", UNKNOWN})
"""All types that `type_of` returns."""


def media_type(path: Path) -> str:
    """Return the type of audio or video that browsers play, else UNKNOWN. Blocking."""
    with path.open("rb") as file:
        return type_of(file.read(12))


def type_of(head: bytes) -> str:
    """Return the media type of a file from its first twelve bytes."""
    for begin, kind in _BEGINS:
        if head.startswith(begin):
            return kind
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return "audio/wav"
    if head[4:8] == b"ftyp":
        return "audio/mp4" if head[8:11] == b"M4A" else "video/mp4"
    # An MPEG audio frame: eleven bits of synchronisation; ADTS (AAC) has layer 0.
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "audio/mpeg" if head[1] & 0x06 else "audio/aac"
    return UNKNOWN

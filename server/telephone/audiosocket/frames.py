"""Frames of AudioSocket: a kind (1 byte), the length of the payload (2 bytes, big-endian), and the payload.

The protocol: https://docs.asterisk.org/Configuration/Channel-Drivers/AudioSocket/
"""

import asyncio
import struct
from dataclasses import dataclass

HANGUP, ID, DTMF, SOUND, ERROR = 0x00, 0x01, 0x03, 0x10, 0xFF
"""Kinds. SOUND is 16-bit little-endian PCM at 8 kHz."""
RATES_HZ = {
    SOUND: 8_000, 0x11: 12_000, 0x12: 16_000, 0x13: 24_000, 0x14: 32_000, 0x15: 44_100, 0x16: 48_000, 0x17: 96_000,
    0x18: 192_000,
}  # fmt: skip
"""Rates of the kinds with sound."""
MAX_PAYLOAD_BYTES = 1 << 14
"""Largest payload: twice that of 20 ms at 192 kHz."""
ID_BYTES = 16
_HEAD = struct.Struct(">BH")


class Broken(Exception):
    """The bytes are not frames of AudioSocket."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame."""

    kind: int
    payload: bytes = b""

    def encoded(self) -> bytes:
        """Return the frame's bytes."""
        return _HEAD.pack(self.kind, len(self.payload)) + self.payload


async def read_frame(reader: asyncio.StreamReader) -> Frame:
    """Return the next frame; HANGUP at the end of the connection. Raises Broken for a payload that is too large."""
    try:
        kind, size = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        if size > MAX_PAYLOAD_BYTES:
            raise Broken(f"a frame has {size} bytes; the limit is {MAX_PAYLOAD_BYTES}")
        return Frame(kind, await reader.readexactly(size))
    except asyncio.IncompleteReadError:
        return Frame(HANGUP)

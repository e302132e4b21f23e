"""A client's WebSocket bytes frame by frame, before they are parsed; a text that is too long is cut short here."""

from websockets.frames import Opcode

CHUNK_BYTES = 1 << 18
"""Bytes of one frame that are passed on at a time."""
_FIN, _RESERVED, _OPCODE = 0x80, 0x70, 0x0F
_MASKED, _LENGTH = 0x80, 0x7F


class Frames:
    """Splits the bytes of a client into frames (RFC 6455, 5.2).

    The text limit spares the work of unmasking, joining and decoding a message that the application would refuse for
    its length anyway: it gets the beginning, which is long enough to be refused, and the connection continues.
    """

    def __init__(self, max_message_bytes: int) -> None:
        """max_message_bytes: a longer message is passed on whole, for the parser to refuse."""
        self.text_limit: int | None = None
        """Bytes of a text message that are passed on; None: all."""
        self.begun = 0
        """Number of frames of which something was passed on or dropped."""
        self.cut = False
        """Whether the current or last text message was cut short."""
        self._max_message_bytes = max_message_bytes
        self._coming = bytearray()
        self._left = 0
        """Bytes of the current frame still to pass on."""
        self._skip = 0
        """Bytes after them still to drop."""
        self._text_bytes: int | None = None
        """Size so far of the text message that is coming; None between texts."""

    def feed(self, data: bytes) -> None:
        """Add bytes from the network."""
        self._coming += data

    def clear(self) -> None:
        """Drop all bytes."""
        self._coming.clear()

    def take(self) -> bytes:
        """Return the next bytes to parse, of one frame at most; empty when more must come first."""
        if not self._left and self._skip:
            dropped = min(self._skip, len(self._coming))
            del self._coming[:dropped]
            self._skip -= dropped
            if self._skip:
                return b""
        head = b"" if self._left else self._head()
        size = min(self._left, len(self._coming), CHUNK_BYTES)
        with memoryview(self._coming) as coming:
            data = head + coming[:size]
        del self._coming[:size]
        self._left -= size
        return data

    def _head(self) -> bytes:
        """Take the header of the next frame, with the length that is passed on; empty when it has not come."""
        coming = self._coming
        if len(coming) < 2:
            return b""
        first, second = coming[0], coming[1]
        extended = {126: 2, 127: 8}.get(second & _LENGTH, 0)
        mask = 4 if second & _MASKED else 0
        size = 2 + extended + mask
        if len(coming) < size:
            return b""
        length = int.from_bytes(coming[2 : 2 + extended], "big") if extended else second & _LENGTH
        kept = self._kept(first, length)
        head = bytes(coming[:size])
        if kept < length:
            head = bytes([first, second & _MASKED | 127]) + kept.to_bytes(8, "big") + head[size - mask :]
        del coming[:size]
        self.begun += 1
        self._left, self._skip = kept, length - kept
        return head

    def _kept(self, first: int, length: int) -> int:
        """Bytes of this frame to pass on. first: the first byte of its header. length: of its payload."""
        opcode = first & _OPCODE
        if opcode == Opcode.TEXT:
            self._text_bytes, self.cut = 0, False
        elif opcode != Opcode.CONT or self._text_bytes is None:
            return length
        before = self._text_bytes or 0
        self._text_bytes = before + length if not first & _FIN else None
        limit = self.text_limit
        if limit is None or first & _RESERVED or before + length > self._max_message_bytes:
            return length
        kept = max(0, min(length, limit - before))
        self.cut |= kept < length
        return kept

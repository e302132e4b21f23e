"""Chained Ogg, and concatenated FLAC files: several links in one file, each with its own codec, rate and channels.

FFmpeg continues with the decoder of the first link, or stops after it, so each link is opened as a separate file. A
link of Ogg starts at pages that begin a stream (RFC 3533, section 4) and follow pages that do not.
"""

import os
import struct
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

MAGIC = b"OggS"
FLAC = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
"""First bytes of a FLAC file: its first block is STREAMINFO."""
_HEAD = struct.Struct("<4sBB")
_HEAD_BYTES = 27
_BEGIN = 2
"""Flag of the first page of a stream."""
MAX_LINKS = 10_000
MAX_TAGS = 16
"""ID3v2 tags, one after another."""
SEARCH_BYTES = 2**16
"""Step size in the search for the next page after damage."""


class Source(Protocol):
    """Bytes that can be read once."""

    def read(self, size: int, /) -> bytes: ...


@runtime_checkable
class SeekableSource(Source, Protocol):
    """Bytes that can be read at any position; an open binary file is one."""

    def seek(self, offset: int, whence: int = ..., /) -> int: ...

    def tell(self) -> int: ...


def links(source: SeekableSource) -> list[tuple[int, int]]:
    """Begin and end of each link, in bytes; one link for a file that cannot be chained. The source is at its beginning
    before and after the call."""
    head = source.read(4)
    begins = [0]
    if head == MAGIC:
        begins += _ogg_links(source)[1:]
    elif head == FLAC[0][:4]:
        begins += _flac_links(source)
    end = source.seek(0, os.SEEK_END)
    source.seek(0)
    return list(zip(begins, [*begins[1:], end], strict=True))


def after_id3(source: SeekableSource) -> int:
    """Offset of the sound after ID3v2 tags. They are skipped, because reading thousands of them takes minutes. The
    source is at its beginning before and after the call."""
    begin = 0
    for _ in range(MAX_TAGS):
        head = source.read(10)
        if head[:3] != b"ID3" or len(head) < 10 or max(head[6:10]) > 0x7F:
            break
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        begin += 10 + size + (10 if head[5] & 0x10 else 0)
        source.seek(begin)
    source.seek(0)
    return begin


def _flac_links(source: SeekableSource) -> list[int]:
    """Offsets of all links but the first."""
    found: list[int] = []
    at, rest = 4, b""
    source.seek(at)
    while data := source.read(2**20):
        data = rest + data
        for magic in FLAC:
            place = data.find(magic)
            while place >= 0 and len(found) < MAX_LINKS:
                found.append(at - len(rest) + place)
                place = data.find(magic, place + 1)
        at += len(data) - len(rest)
        rest = data[-7:]
    return sorted(found)


def _ogg_links(source: SeekableSource) -> list[int]:
    """Offsets of all links. Reads the headers of all pages."""
    begins: list[int] = []
    at, beginning = 0, False
    while len(begins) < MAX_LINKS:
        source.seek(at)
        head = source.read(_HEAD_BYTES)
        if len(head) < _HEAD_BYTES:
            break
        magic, _, flags = _HEAD.unpack_from(head)
        if magic != MAGIC:
            found = _next_page(source, at)
            if found is None:
                break
            at = found
            continue
        begins_stream = bool(flags & _BEGIN)
        if begins_stream and not beginning:
            begins.append(at)
        beginning = begins_stream
        at += page_bytes(head, source.read(head[26]))
    return begins


def page_bytes(head: bytes, segments: bytes) -> int:
    """Size of a whole page, from its header and the lengths of its segments."""
    return _HEAD_BYTES + len(segments) + sum(segments)


def _next_page(source: SeekableSource, at: int) -> int | None:
    while True:
        source.seek(at + 1)
        data = source.read(SEARCH_BYTES)
        found = data.find(MAGIC)
        if found >= 0:
            return at + 1 + found
        if len(data) < SEARCH_BYTES:
            return None
        at += len(data) - len(MAGIC) + 1


class Sought:
    """A position in a number of bytes of known size."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._at = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at


class Window(Sought):
    """A part of a seekable source, as a source."""

    def __init__(self, source: SeekableSource, begin: int, end: int) -> None:
        super().__init__(end - begin)
        self._source, self._begin = source, begin

    def read(self, size: int) -> bytes:
        size = min(size, self.size - self._at)
        if size <= 0:
            return b""
        self._source.seek(self._begin + self._at)
        data = self._source.read(size)
        self._at += len(data)
        return data


class Coming:
    """A source that can only be read once, split into links."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._data = bytearray()
        self._left = 0
        """Bytes that belong to the current link, from the beginning of `_data` on; can exceed its length."""
        self._ogg: bool | None = None
        """None: unknown yet."""
        self._beginning = False
        self._first = True
        self._ended = False
        """Whether the source has ended."""

    def links(self) -> Iterator["Coming"]:
        """Yield itself once for each link; `read` then returns that link's bytes. A source that is not Ogg is one
        link."""
        for _ in range(MAX_LINKS):
            self._first = True
            yield self
            while self.read(SEARCH_BYTES):
                pass  # skip what the decoder did not read
            if not self._fill(1):
                return

    def read(self, size: int) -> bytes:
        if not self._left:
            self._left = self._next()
        if self._left:
            self._fill(1)
        data = bytes(self._data[: min(size, self._left)])
        del self._data[: len(data)]
        self._left -= len(data)
        return data

    def _next(self) -> int:
        """Size of the next page; 0 when it begins another link, or at the end."""
        if not self._fill(_HEAD_BYTES):
            return len(self._data)
        if self._ogg is None:
            self._ogg = self._data[:4] == MAGIC
        if not self._ogg:
            return len(self._data)
        if self._data[:4] != MAGIC:
            found = self._data.find(MAGIC, 1)
            return found if found > 0 else len(self._data)
        begins_stream = bool(self._data[5] & _BEGIN)
        if begins_stream and not self._beginning and not self._first:
            return 0
        self._beginning, self._first = begins_stream, False
        segments = self._data[26]
        self._fill(_HEAD_BYTES + segments)
        head = bytes(self._data[:_HEAD_BYTES])
        return page_bytes(head, bytes(self._data[_HEAD_BYTES : _HEAD_BYTES + segments]))

    def _fill(self, size: int) -> bool:
        """Have `size` bytes in the buffer; return whether there are that many."""
        while len(self._data) < size and not self._ended:
            data = self._source.read(SEARCH_BYTES)
            self._data += data
            self._ended = not data
        return len(self._data) >= size

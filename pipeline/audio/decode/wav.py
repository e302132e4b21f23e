"""A reader for plain WAV in Python: the format that most clients send needs no process and no FFmpeg.

Reads PCM of 8, 16, 24 and 32 bits and float of 32 and 64, also as WAVE_FORMAT_EXTENSIBLE, in RIFF, RF64 and BW64. The
claims of the header are not trusted: a streamed file can claim 0 bytes, or more than it has. Another WAV after the end
is read, too, because clients concatenate files.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.audio.clip import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ
from pipeline.audio.decode.links import SeekableSource
from pipeline.audio.decode.mixing import make_finite
from pipeline.errors import BadInput

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
"""WAVE format tags."""
GUID_END = bytes.fromhex("000000001000800000aa00389b71")
"""Bytes after the tag in the sub-format of WAVE_FORMAT_EXTENSIBLE."""
KINDS = {
    (PCM, 8): "u1", (PCM, 16): "<i2", (PCM, 24): "i3", (PCM, 32): "<i4", (FLOAT, 32): "<f4", (FLOAT, 64): "<f8",
}  # fmt: skip
"""(tag, bits) → sample type, as in `Format.kind`."""
HEADS = (b"RIFF", b"RF64", b"BW64")
UNKNOWN = 0xFFFFFFFF
MAX_CHUNKS = 1000
"""Chunks before the samples; a file with more is not read here."""
MAX_LINKS = 10_000
"""WAV files in one chain."""
MAX_CHANGES = 64
"""Changes of the format in a chain; each costs a resampler, which takes half a millisecond."""
_SPEAKERS = ("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR")
"""Bits of the channel mask, from the lowest, by FFmpeg's names."""


@dataclass(frozen=True, slots=True)
class Format:
    """Format of the samples."""

    kind: str
    """numpy's type name, and i3 for three bytes."""
    rate_hz: int
    names: tuple[str, ...]
    """Channel names, as FFmpeg has them; empty strings where they are unknown."""

    @property
    def frame_bytes(self) -> int:
        return int(self.kind[-1]) * len(self.names)


@dataclass(frozen=True, slots=True)
class Link:
    """The samples of one WAV; the file is positioned at the first of them."""

    form: Format
    size: int | None
    """Bytes that the header claims; None: up to the end of the file."""


def is_plain(file: SeekableSource) -> bool:
    """Whether this module reads the file. Keeps the file's position. Raises BadInput for an impossible header."""
    at = file.tell()
    try:
        return _link(file) is not None
    finally:
        file.seek(at)


def blocks(file: SeekableSource, block_s: float) -> Iterator[tuple[Format, npt.NDArray[np.float32]]]:
    """Yield formats and samples, shape (n, channels), of all WAVs of a chain. Raises BadInput."""
    form, changes = None, 0
    for _ in range(MAX_LINKS):
        link = _link(file)
        if link is None:
            return
        changes += link.form != form
        if changes > MAX_CHANGES:
            raise BadInput(f"The file changes its format more than {MAX_CHANGES} times.", code="bad_audio")
        form = link.form
        step = link.form.frame_bytes * max(1, int(link.form.rate_hz * block_s))
        left = link.size
        while left is None or left > 0:
            data = file.read(step if left is None else min(step, left))
            if not data:
                return
            left = None if left is None else left - len(data)
            whole = len(data) // link.form.frame_bytes * link.form.frame_bytes
            yield link.form, values(data[:whole], link.form)
        if link.size is not None and link.size % 2:
            file.seek(1, os.SEEK_CUR)


def seconds(file: SeekableSource) -> float | None:
    """Duration of the first WAV by its header and its size; None: unknown. Keeps the file's position."""
    at = file.tell()
    try:
        link = _link(file)
        if link is None or link.size is None:
            return None
        begin = file.tell()
        rest = file.seek(0, os.SEEK_END) - begin
        size = link.size if rest <= 0 else min(link.size, rest)
        return size / link.form.frame_bytes / link.form.rate_hz
    finally:
        file.seek(at)


def values(data: bytes, form: Format) -> npt.NDArray[np.float32]:
    """Convert whole frames to float32, shape (n, channels)."""
    if form.kind == "i3":
        # Each sample is read together with the byte before it, as the lowest of four bytes, which is then cleared.
        wide = np.ndarray((len(data) // 3,), "<i4", b"\0" + data, strides=(3,)) & np.int32(-256)
        found = wide.astype(np.float32)
        found *= np.float32(2.0**-31)
    else:
        raw = np.frombuffer(data, form.kind)
        if raw.dtype.kind == "u":
            found = (raw.astype(np.float32) - np.float32(128)) / np.float32(128)
        elif raw.dtype.kind == "i":
            found = raw.astype(np.float32)
            found *= np.float32(2.0 ** (1 - 8 * raw.dtype.itemsize))
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                found = raw.astype(np.float32)
            make_finite(found)
    return found.reshape(-1, len(form.names))


def _link(file: SeekableSource) -> Link | None:
    """Find the next WAV and position the file at its samples; None: the next bytes are not a WAV."""
    head = _exactly(file, 12)
    if head[:4] not in HEADS or head[8:12] != b"WAVE":
        return None
    form: Format | None = None
    long_size: int | None = None
    for _ in range(MAX_CHUNKS):
        chunk = _exactly(file, 8)
        if len(chunk) < 8:
            return None
        name, size = chunk[:4], struct.unpack_from("<I", chunk, 4)[0]
        if name == b"data":
            if form is None:
                return None
            if size == UNKNOWN and long_size:
                size = long_size
            return Link(form, None if size in (0, UNKNOWN) else size)
        body = _exactly(file, min(size, 40)) if name in (b"fmt ", b"ds64") else b""
        if name == b"fmt ":
            form = _format(body)
            if form is None:
                return None
        elif name == b"ds64" and len(body) >= 16:
            long_size = struct.unpack_from("<Q", body, 8)[0]
            if long_size >= 2**62:
                long_size = None
        file.seek(size + size % 2 - len(body), os.SEEK_CUR)
    return None


def _format(body: bytes) -> Format | None:
    """None: not plain. Raises BadInput for values that no recording has."""
    if len(body) < 16:
        return None
    tag, channels, rate_hz, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", body)
    mask = 0
    if tag == EXTENSIBLE and len(body) >= 40 and body[26:40] == GUID_END:
        mask, tag = struct.unpack_from("<IH", body, 20)
    if tag not in (PCM, FLOAT):
        return None
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ or not 1 <= channels <= MAX_CHANNELS:
        raise BadInput(f"The header claims {rate_hz} Hz and {channels} channels.", code="bad_audio")
    if tag == PCM and 0 < bits <= 32:
        bits = (bits + 7) // 8 * 8  # 20 bits are kept in three bytes
    kind = KINDS.get((tag, bits))
    if kind is None:
        raise BadInput(f"The header claims samples of {bits} bits.", code="bad_audio")
    if frame_bytes not in (0, bits // 8 * channels):
        raise BadInput(f"The header claims {frame_bytes} bytes for {channels} samples of {bits} bits.",
                       code="bad_audio")  # fmt: skip
    return Format(kind, rate_hz, _names(mask, channels))


def _names(mask: int, channels: int) -> tuple[str, ...]:
    named = [_SPEAKERS[bit] if bit < len(_SPEAKERS) else "" for bit in range(32) if mask >> bit & 1]
    return tuple((named + [""] * channels)[:channels])


def _exactly(file: SeekableSource, size: int) -> bytes:
    """Read `size` bytes, or as many as there are."""
    data = b""
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data

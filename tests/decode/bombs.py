"""Small files with so many tags that reading them takes quadratic time or more."""

import io
import struct
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import soundfile

from pipeline.audio.clip import Clip


def sound(seconds: float = 0.2, rate_hz: int = 16_000) -> Clip:
    """A tone."""
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    return Clip((0.3 * np.sin(2 * np.pi * 440 * t)).astype(np.float32), rate_hz)


def written(format: str, subtype: str | None = None) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, sound().samples, 16_000, format=format, subtype=subtype)
    return out.getvalue()


def muxed(container: str, codec: str) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=container) as target:
        stream: Any = target.add_stream(codec, rate=48_000, layout="mono")
        resampler = av.AudioResampler(
            stream.format.name, "mono", 48_000, frame_size=stream.codec_context.frame_size or 1024
        )
        frame = av.AudioFrame.from_ndarray(sound(0.2, 48_000).samples[None], format="fltp", layout="mono")
        frame.sample_rate = 48_000
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            target.mux(stream.encode(part))
        target.mux(stream.encode(None))
    return out.getvalue()


def id3(count: int) -> bytes:
    """ID3v2.3 before an MP3: TXXX frames."""

    def one(number: int) -> bytes:
        body = b"\0" + f"k{number}".encode() + b"\0v"
        return b"TXXX" + struct.pack(">IH", len(body), 0) + body

    frames = b"".join(map(one, range(count)))
    size = bytes(len(frames) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + frames + written("MP3")


def _comments(count: int) -> bytes:
    listed = [f"K{number}=v".encode() for number in range(count)]
    packed = b"".join(struct.pack("<I", len(one)) + one for one in listed)
    return struct.pack("<I", 1) + b"x" + struct.pack("<I", count) + packed


def flac(count: int) -> bytes:
    """A VORBIS_COMMENT block before the rest of a FLAC."""
    plain, block = written("FLAC"), _comments(count)
    at = 4 + 4 + 34
    return plain[:4] + bytes([0]) + plain[5:at] + bytes([4]) + len(block).to_bytes(3, "big") + block + plain[at:]


def wav_info(count: int) -> bytes:
    """A LIST chunk of INFO before the samples, of a WAV that is not plain."""
    plain = written("WAV", "IMA_ADPCM")
    at = plain.index(b"data")
    tags = b"INFO" + b"".join(f"{number:04x}"[-4:].encode() + b"\2\0\0\0v\0" for number in range(count))
    whole = plain[12:at] + b"LIST" + struct.pack("<I", len(tags)) + tags + plain[at:]
    return b"RIFF" + struct.pack("<I", len(whole) + 4) + b"WAVE" + whole


def ogg(count: int) -> bytes:
    """An Opus stream with one comment header over many pages."""
    plain = muxed("ogg", "libopus")
    second = plain.index(b"OggS", 4)
    third = plain.index(b"OggS", second + 4)
    serial = plain[14:18]
    body = b"OpusTags" + _comments(count)
    pages, number = b"", 1
    for start in range(0, len(body), 255 * 255):
        part = body[start : start + 255 * 255]
        full, rest = divmod(len(part), 255)
        last = start + 255 * 255 >= len(body)
        segments = bytes([255]) * full + (bytes([rest]) if last else b"")
        head = struct.pack("<4sBBq4sIIB", b"OggS", 0, 1 if start else 0, 0 if last else -1, serial, number, 0,
                           len(segments))  # fmt: skip
        page = head + segments + part
        pages += page[:22] + struct.pack("<I", _crc(page)) + page[26:]
        number += 1
    return plain[:second] + pages + plain[third:]


def _crc(page: bytes) -> int:
    table = _TABLE
    crc = 0
    for byte in page:
        crc = (crc << 8 & 0xFFFFFFFF) ^ table[crc >> 24 ^ byte]
    return crc


def _entry(value: int) -> int:
    value <<= 24
    for _ in range(8):
        value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
    return value


_TABLE = [_entry(value) for value in range(256)]


def _atom(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + name + body


def mp4(count: int) -> bytes:
    """QuickTime's keys (mdta) in a `meta` atom of an MP4, whose `moov` comes last."""
    plain = muxed("mp4", "aac")
    at = plain.rindex(b"moov") - 4
    size = struct.unpack_from(">I", plain, at)[0]
    moov = plain[at + 8 : at + size]
    keys = struct.pack(">II", 0, count) + b"".join(_atom(b"mdta", f"k{number}".encode()) for number in range(count))
    items = b"".join(
        _atom(struct.pack(">I", number + 1), _atom(b"data", struct.pack(">II", 1, 0) + b"v")) for number in range(count)
    )
    handler = _atom(b"hdlr", bytes(8) + b"mdta" + bytes(13))
    meta = _atom(b"meta", handler + _atom(b"keys", keys) + _atom(b"ilst", items))
    return plain[:at] + _atom(b"moov", moov + meta)


def ilst(count: int) -> bytes:
    """iTunes' own tags (----) in an MP4."""
    plain = muxed("mp4", "aac")
    at = plain.rindex(b"moov") - 4
    size = struct.unpack_from(">I", plain, at)[0]
    moov = plain[at + 8 : at + size]

    def one(number: int) -> bytes:
        return _atom(b"----", _atom(b"mean", bytes(4) + b"x") + _atom(b"name", bytes(4) + f"k{number}".encode())
                     + _atom(b"data", struct.pack(">II", 1, 0) + b"v"))  # fmt: skip

    handler = _atom(b"hdlr", bytes(8) + b"mdir" + b"appl" + bytes(9))
    meta = _atom(b"meta", bytes(4) + handler + _atom(b"ilst", b"".join(map(one, range(count)))))
    return plain[:at] + _atom(b"moov", moov + _atom(b"udta", meta))


def _element(name: bytes, body: bytes) -> bytes:
    return name + (len(body) | 1 << 56).to_bytes(8, "big") + body


def matroska(count: int) -> bytes:
    """A WebM with tags, one SimpleTag each, in a segment of unknown size."""
    plain = muxed("webm", "libopus")
    tags = b"".join(
        _element(b"\x67\xc8", _element(b"\x45\xa3", f"K{number}".encode()) + _element(b"\x44\x87", b"v"))
        for number in range(count)
    )
    whole = _element(b"\x12\x54\xc3\x67", _element(b"\x73\x73", _element(b"\x63\xc0", b"") + tags))
    segment = plain.index(b"\x18\x53\x80\x67")
    length = 8 - (plain[segment + 4].bit_length() - 1)
    begin = segment + 4 + length
    cluster = plain.index(b"\x1f\x43\xb6\x75")
    return plain[: segment + 4] + b"\x01" + b"\xff" * 7 + plain[begin:cluster] + whole + plain[cluster:]


BOMBS: dict[str, tuple[Callable[[int], bytes], int]] = {
    "id3": (id3, 60_000),
    "flac": (flac, 100_000),
    "ogg": (ogg, 60_000),
    "wav": (wav_info, 60_000),
    "mp4-mdta": (mp4, 40_000),
    "mp4-ilst": (ilst, 40_000),
    "matroska": (matroska, 60_000),
}
"""Kind → generator, and a number of tags that takes a reader minutes."""

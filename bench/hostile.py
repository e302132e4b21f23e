"""Hostile input for `bench.attack`: files that are expensive to open, and servers that misbehave."""

import asyncio
import io
import struct
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

MP3_FRAME = bytes.fromhex("fffb9000") + bytes(413)
"""One frame of MPEG-1 layer III at 128 kbit/s and 44.1 kHz: silence."""
SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)


def _name(number: int) -> bytes:
    """A tag name of four characters, different for each number below 36 ** 4."""
    digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return bytes(digits[number // 36**place % 36] for place in range(4))


def id3(tags: int) -> bytes:
    """An MP3 with this many TXXX frames before its sound."""
    frames = b"".join(
        b"TXXX" + struct.pack(">IH", len(body), 0) + body
        for body in (b"\0" + _name(number) + b"\0v" for number in range(tags))
    )
    size = len(frames)
    synchsafe = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + synchsafe + frames + MP3_FRAME * 40


def info_wav(tags: int) -> bytes:
    """A WAV with this many INFO chunks before its sound."""
    info = b"INFO" + b"".join(_name(number) + struct.pack("<I", 2) + b"v\0" for number in range(tags))
    chunks = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    chunks += b"LIST" + struct.pack("<I", len(info)) + info + b"data" + struct.pack("<I", 16000) + bytes(16000)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def flac(tags: int) -> bytes:
    """A FLAC header with this many Vorbis comments."""
    stream = struct.pack(">HH", 4096, 4096) + bytes(6) + (16000 << 44 | 15 << 36 | 16000).to_bytes(8, "big") + bytes(16)
    comments = struct.pack("<I", 0) + struct.pack("<I", tags)
    comments += b"".join(struct.pack("<I", 6) + _name(number) + b"=v" for number in range(tags))
    return b"fLaC\x00" + len(stream).to_bytes(3, "big") + stream + b"\x84" + len(comments).to_bytes(3, "big") + comments


def _atom(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def mp4(tags: int) -> bytes:
    """An MP4 whose movie header has this many mdta keys, each with a value."""
    handler = _atom(b"hdlr", bytes(8) + b"mdta" + bytes(13))
    keys = struct.pack(">II", 0, tags) + b"".join(_atom(b"mdta", _name(number)) for number in range(tags))
    values = b"".join(
        _atom(struct.pack(">I", number + 1), _atom(b"data", struct.pack(">II", 1, 0) + b"v")) for number in range(tags)
    )
    meta = _atom(b"meta", handler + _atom(b"keys", keys) + _atom(b"ilst", values))
    return _atom(b"ftyp", b"isom" + struct.pack(">I", 512) + b"isom") + _atom(b"moov", meta)


def _element(kind: str, body: bytes) -> bytes:
    """An EBML element with a size of eight bytes."""
    return bytes.fromhex(kind) + b"\x01" + len(body).to_bytes(7, "big") + body


def matroska(tags: int) -> bytes:
    """A Matroska file with one PCM track and this many simple tags."""
    head = _element("1a45dfa3", _element("4282", b"matroska"))
    audio = _element("b5", struct.pack(">d", 16000.0)) + _element("9f", b"\x01") + _element("6264", b"\x10")
    track = _element("d7", b"\x01") + _element("73c5", b"\x01") + _element("83", b"\x02")
    track += _element("86", b"A_PCM/INT/LIT") + _element("e1", audio)
    simple = b"".join(
        _element("67c8", _element("45a3", _name(number)) + _element("4487", b"v")) for number in range(tags)
    )
    body = _element("1549a966", _element("2ad7b1", (1_000_000).to_bytes(3, "big")))
    body += _element("1654ae6b", _element("ae", track)) + _element("1254c367", _element("7373", simple))
    body += _element("1f43b675", _element("e7", b"\0") + _element("a3", b"\x81\0\0\x80" + bytes(3200)))
    return head + _element("18538067", body)


BOMBS: dict[str, Callable[[], bytes]] = {
    "ID3": lambda: id3(30_000), "INFO": lambda: info_wav(60_000), "FLAC": lambda: flac(60_000),
    "MP4": lambda: mp4(15_000), "Matroska": lambda: matroska(9_000),
}  # fmt: skip
"""Files of 0.2 to 0.8 MB whose tags cost a naive reader seconds to minutes."""


def zip64(entries: int) -> bytes:
    """A ZIP whose directory alone is large: empty members with long names. The count is over 65,535, so it is ZIP64."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", allowZip64=True) as archive:
        archive.writestr("a.wav", b"")
    data = out.getvalue()
    begin = data.index(b"PK\x01\x02")
    local, member = data[:begin], data[begin : data.index(b"PK\x05\x06")]
    name = b"x" * 1000
    long = member[:28] + struct.pack("<H", len(name)) + member[30:46] + name
    directory = long * entries
    at, end = len(local), len(local) + len(directory)
    record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, entries, entries, len(directory), at)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, end, 1)
    last = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return local + directory + record + locator + last


DISPOSITIONS = ("attachment; " + 'filename="\\' * 7000, ";" * 80_000, "attachment; filename*=" + "a'" * 40_000)
"""Headers of about 80 kB that cost a backtracking parser quadratic time."""


@asynccontextmanager
async def hostile_server() -> AsyncIterator[int]:
    """Serve on a free port: /header/N stops after long headers, /interim sends 200,000 interim responses, and /silent
    never responds.
    """
    waiting: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        waiting.add(task)
        try:
            path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
            if path.startswith("/interim"):
                for _ in range(200):
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
                    await writer.drain()
            elif path.startswith("/header"):
                disposition = DISPOSITIONS[int(path.rsplit("/", 1)[1]) % len(DISPOSITIONS)]
                writer.write(
                    f'HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nAccept-Ranges: bytes\r\nETag: "x"\r\n'
                    f"Content-Disposition: {disposition}\r\n\r\n".encode()
                )
                writer.write(bytes(1000))
                await writer.drain()
            else:
                await asyncio.sleep(3600)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            waiting.discard(task)
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in waiting:
            task.cancel()

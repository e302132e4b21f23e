"""ZIP archives from strangers: valid ones become files, bad ones leave nothing behind."""

import contextlib
import io
import random
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.archives import FREE_BYTES, Limits, is_archive, unpack
from jobs.errors import Refused, TooLarge
from jobs.files import FileStore

LIMITS = Limits(files=50, total_bytes=1_000_000, ratio=200.0)
SOUND = b"RIFF" + bytes(range(200))
JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0"


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "uploads", 400_000)


def archive(members: dict[str, bytes], **options: object) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in members.items():
            target.writestr(name, data)
    return out.getvalue()


def opened(files: FileStore, data: bytes, limits: Limits = LIMITS) -> list[tuple[str, bytes]]:
    """Return the name and content of each member, and check that no incoming file is left."""
    path = files.root / "the.zip"
    path.write_bytes(data)
    found = []
    for name, member in unpack(path, limits, files.receive).files:
        member._flush()
        found.append((name, member.path.read_bytes()))
        member.discard()
    return found


def left(files: FileStore) -> list[Path]:
    return [path for path in files.root.rglob("*") if path.is_file() and path.name not in ("the.zip", ".lock")]


def with_entry(change: Callable[[zipfile.ZipInfo], None], name: str = "a.wav") -> bytes:
    """An archive of one member, whose description is changed before it is written."""
    out = io.BytesIO()
    entry = zipfile.ZipInfo(name)
    change(entry)
    with zipfile.ZipFile(out, "w") as target:
        target.writestr(entry, SOUND)
    return out.getvalue()


def renamed(name: str) -> bytes:
    """An archive with a member name that `zipfile` would not write unchanged."""
    return archive({"x" * len(name): SOUND}).replace(b"x" * len(name), name.encode())


def linked() -> bytes:
    def change(entry: zipfile.ZipInfo) -> None:
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16

    return with_entry(change)


def encrypted() -> bytes:
    data = bytearray(archive({"a.wav": SOUND}))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(signature) + at] |= 1
    return bytes(data)


def overlapping(copies: int) -> bytes:
    """Pack one member and list it many times, as David Fifield's bombs do."""
    kernel = archive({"a.wav": b"\0" * 100_000})
    at = kernel.find(b"PK\x01\x02")
    end = kernel.find(b"PK\x05\x06")
    directory = kernel[at:end] * copies
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, copies, copies, len(directory), at, 0)
    return kernel[:at] + directory + tail


def damaged() -> bytes:
    """An archive whose packed bytes are corrupted."""
    data = archive({"a.wav": SOUND * 50})
    return data[:60] + b"\xff" * 100 + data[160:]


def claims(entries: int, length: int) -> bytes:
    """An end record that declares this many members."""
    return archive({"a.wav": SOUND})[:-22] + struct.pack(
        "<4s4H2LH", b"PK\x05\x06", 0, 0, entries, entries, length, 0, 0
    )


def zip64_end(data: bytes, *, entries: int | None = None, length: int | None = None) -> bytes:
    """An archive with a ZIP64 end record, which readers use instead of the plain one."""
    at = data.rfind(b"PK\x05\x06")
    _, _, _, _, there, size, start, _ = struct.unpack_from("<4s4H2LH", data, at)
    there, size = there if entries is None else entries, size if length is None else length
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, there, there, size, start)
    return data[:at] + record + struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1) + data[at:]


def hidden_directory(copies: int) -> bytes:
    """A list of many members that only the ZIP64 record declares; the plain record declares one."""
    data = overlapping(copies)
    at, start = data.rfind(b"PK\x05\x06"), data.find(b"PK\x01\x02")
    small = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 60, start, 0)
    return zip64_end(data[:at] + small, entries=copies, length=at - start)


def unlisted(copies: int) -> bytes:
    """A list of more members than its end record declares."""
    data = overlapping(copies)
    at = data.rfind(b"PK\x05\x06")
    return data[: at + 8] + struct.pack("<2H", 1, 1) + data[at + 12 :]


def with_extra(size: int) -> bytes:
    """A member with this many bytes in its extra field."""
    return with_entry(lambda entry: setattr(entry, "extra", b"\0\0\0\0" * (size // 4)))


def not_utf8() -> bytes:
    """A name that is declared as UTF-8 and is not."""
    return archive({"\u00e9.wav": SOUND}).replace("\u00e9".encode(), b"\xff\xfe")


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "bomb": (lambda: archive({f"{n}.wav": b"\0" * 399_000 for n in range(3)}), "file_too_large"),
    "one large member": (lambda: archive({"a.wav": b"\0" * 500_000}), "file_too_large"),
    "nested": (lambda: archive({"a.wav": SOUND, "inner.wav": archive({"b.wav": SOUND})}), "bad_archive"),
    "overlapping": (lambda: overlapping(40), "bad_archive"),
    "65,000 entries": (lambda: overlapping(65_000), "file_too_large"),
    "claims a huge list": (lambda: claims(10, 0xFFFFFFFE), "file_too_large"),
    "zip64": (lambda: claims(0xFFFF, 0xFFFFFFFF), "file_too_large"),
    "a list in the zip64 record alone": (lambda: hidden_directory(65_000), "file_too_large"),
    "zip64 claims a huge list": (lambda: zip64_end(archive({"a.wav": SOUND}), length=1 << 40), "file_too_large"),
    "zip64 list before the file": (lambda: zip64_end(archive({"a.wav": SOUND}), length=1 << 20), "bad_archive"),
    "more members than told": (lambda: unlisted(60_000), "file_too_large"),
    "a few more members than told": (lambda: unlisted(20), "bad_archive"),
    "a long description": (lambda: with_extra(60_000), "bad_archive"),
    "a long name": (lambda: archive({"x" * 5000: SOUND}), "bad_archive"),
    "not UTF-8": (not_utf8, "bad_archive"),
    "parent": (lambda: archive({"../../a.wav": SOUND}), "bad_archive"),
    "parent inside": (lambda: archive({"a/../../b.wav": SOUND}), "bad_archive"),
    "absolute": (lambda: archive({"/etc/passwd": SOUND}), "bad_archive"),
    "drive": (lambda: archive({"C:/a.wav": SOUND}), "bad_archive"),
    "backslash": (lambda: renamed("..\\..\\a.wav"), "bad_archive"),
    "link": (linked, "bad_archive"),
    "device": (lambda: with_entry(lambda entry: setattr(entry, "external_attr", stat.S_IFCHR << 16)), "bad_archive"),
    "encrypted": (encrypted, "bad_archive"),
    "lzma": (lambda: with_entry(lambda entry: setattr(entry, "compress_type", zipfile.ZIP_LZMA)), "bad_archive"),
    "broken off": (lambda: archive({"a.wav": SOUND * 50})[:-200], "bad_archive"),
    "damaged": (damaged, "bad_archive"),
    "empty": (lambda: archive({}), "no_files"),
    "only folders": (lambda: archive({"a/": b"", "b/": b""}), "no_files"),
    "no recording": (lambda: archive({"notes.txt": b"read me", "cover.jpg": JPEG, "empty.wav": b""}), "no_files"),
    "a playlist": (lambda: archive({"a.wav": SOUND, "b.mp3": b"#EXTM3U\n/etc/passwd\n"}), "bad_audio"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_archives_are_refused_and_leave_nothing_behind(files: FileStore, kind: str) -> None:
    make, code = BAD[kind]
    with pytest.raises(Refused) as caught:
        opened(files, make())
    assert caught.value.code == code
    assert left(files) == []


def test_an_archive_with_a_zip64_end_is_read(files: FileStore) -> None:
    assert opened(files, zip64_end(archive({"a.wav": SOUND}))) == [("a.wav", SOUND)]


@pytest.mark.parametrize("seed", range(4))
def test_damage_anywhere_is_refused_or_harmless(files: FileStore, seed: int) -> None:
    """Read or refuse an archive after any change in its lists and headers, and raise no other error."""
    chance = random.Random(seed)
    good = zip64_end(archive({"a.wav": SOUND, "b/\u00e9.wav": SOUND * 3})) if seed % 2 else archive({"a.wav": SOUND})
    for _ in range(400):
        data = bytearray(good)
        for _ in range(chance.choice((1, 1, 2, 8))):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        with contextlib.suppress(Refused):
            opened(files, bytes(data))
        assert left(files) == []


def test_cancelled_unpacking_ends(files: FileStore) -> None:
    path = files.root / "the.zip"
    path.write_bytes(archive({f"{n}.wav": SOUND for n in range(10)}))
    answers = iter([False, False, False, True])
    with pytest.raises(Refused):
        unpack(path, LIMITS, files.receive, unwanted=lambda: next(answers))
    assert left(files) == []


def test_members_keep_their_order_and_names(files: FileStore) -> None:
    data = archive({"b/2.wav": SOUND + b"2", "1.wav": SOUND + b"1", "Olá.wav": SOUND + b"3"})
    assert opened(files, data) == [("2.wav", SOUND + b"2"), ("1.wav", SOUND + b"1"), ("Olá.wav", SOUND + b"3")]


def unpacked(files: FileStore, data: bytes, limits: Limits = LIMITS) -> tuple[list[str], list[tuple[str, str]]]:
    """Names of the accepted members, and the skipped ones."""
    path = files.root / "the.zip"
    path.write_bytes(data)
    found = unpack(path, limits, files.receive)
    found.discard()
    return [name for name, _ in found.files], found.skipped


def test_files_that_desktops_add_are_skipped(files: FileStore) -> None:
    data = archive({"a.wav": SOUND, "__MACOSX/._a.wav": SOUND, ".DS_Store": b"x", "Thumbs.db": b"x"})
    assert unpacked(files, data) == (
        ["a.wav"], [(name, "a hidden file") for name in ("__MACOSX/._a.wav", ".DS_Store", "Thumbs.db")]
    )  # fmt: skip


NO_RECORDINGS = {
    "notes.txt": (b"Ol\xc3\xa1, read me.\r\n" * 1000, "text"),
    "long.md": (b"x" * 4095 + "é".encode(), "text"),
    "subtitles.srt": (b"1\n00:00:01,000 --> 00:00:02,000\nHi\n", "text"),
    "page.html": (b"<!doctype html><p>x", "text"),
    "list.m3u8": (b"#EXTM3U\na.wav\n", "text"),
    "cover.jpg": (JPEG, "a picture"),
    "cover.png": (b"\x89PNG\r\n\x1a\n" + bytes(range(100)), "a picture"),
    "cover.webp": (b"RIFF\x10\0\0\0WEBPVP8 ", "a picture"),
    "cover.heic": (b"\0\0\0\x18ftypheic\0\0\0\0", "a picture"),
    "old.bmp": (b"BM\x36\0\0\0\0\0\0\0\x36\0", "a picture"),
    "paper.pdf": (b"%PDF-1.7\n\xff", "a document"),
    "letter.docx": (archive({"[Content_Types].xml": b"<x/>", "word/document.xml": b"<x/>"}), "a document"),
    "letter.doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(50), "a document"),
    "player.exe": (b"MZ\x90\0", "a program"),
    "nothing.wav": (b"", "empty"),
}


def test_obvious_non_recordings_are_skipped_and_reported(files: FileStore) -> None:
    members = {f"in/{name}": data for name, (data, _) in NO_RECORDINGS.items()}
    names, skipped = unpacked(files, archive({"a.wav": SOUND, **members, "b.wav": SOUND}))
    assert names == ["a.wav", "b.wav"]
    assert skipped == [(f"in/{name}", what) for name, (_, what) in NO_RECORDINGS.items()]
    with pytest.raises(Refused, match=r"no recording in the archive, but .*cover\.jpg \(a picture\).* and 5 more"):
        opened(files, archive(members))
    assert left(files) == []


RECORDINGS = {
    "a.mp3": b"ID3\x03\0\0\0\0\0\x00", "raw.mp3": b"\xff\xfb\x90\x64" + bytes(50), "a.ogg": b"OggS\0\x02",
    "a.flac": b"fLaC\0\0\0\x22", "a.m4a": b"\0\0\0\x20ftypM4A \0\0\0\0", "a.amr": b"#!AMR\n\x3c\x91\x17\x16",
    "a.webm": b"\x1aE\xdf\xa3\x01\0", "a.ts": b"G@\0\x10\0\0", "a.aiff": b"FORM\0\0\0\x0aAIFF",
    "a.au": b".snd\0\0\0\x18", "unknown": bytes(range(256)), "photo.jpg": SOUND,
    "a.sph": b"NIST_1A\n   1024\n".ljust(1024, b" ") + bytes(range(256)),
}  # fmt: skip


def test_possible_recordings_are_accepted_whatever_their_name(files: FileStore) -> None:
    assert unpacked(files, archive(RECORDINGS)) == (list(RECORDINGS), [])


def test_compression_bombs_are_refused_before_unpacking(tmp_path: Path) -> None:
    roomy = FileStore(tmp_path / "uploads", 1 << 30)
    silence = archive({f"{n}.wav": b"RIFF" + bytes(FREE_BYTES // 2) for n in range(3)})
    assert len(silence) < 60_000
    with pytest.raises(TooLarge, match="200 times its size"):
        unpacked(roomy, silence, Limits(50, 1 << 30, 200.0))
    assert left(roomy) == []
    assert len(unpacked(roomy, silence, Limits(50, 1 << 30, 1100.0))[0]) == 3
    # A little silence is not a bomb.
    few = archive({"a.wav": b"RIFF" + bytes(FREE_BYTES - 1000)})
    assert unpacked(roomy, few, Limits(50, 1 << 30, 1.0))[0] == ["a.wav"]


def test_an_archive_is_recognised_by_its_content() -> None:
    assert is_archive(archive({"a.wav": SOUND})[:16])
    assert not is_archive(SOUND[:16])


def test_too_many_files_are_refused_before_unpacking(files: FileStore) -> None:
    with pytest.raises(TooLarge):
        opened(files, archive({f"{n}.wav": SOUND for n in range(51)}))
    assert left(files) == []

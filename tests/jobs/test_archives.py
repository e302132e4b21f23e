"""ZIP archives from strangers: the good ones become files, the bad ones leave nothing behind."""

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.archives import Limits, is_archive, unpack
from jobs.errors import Refused, TooLarge
from jobs.files import FileStore

LIMITS = Limits(files=50, total_bytes=1_000_000)
SOUND = b"RIFF" + bytes(range(200))


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
    """Name and content of each member; afterwards nothing is left incoming."""
    path = files.root / "the.zip"
    path.write_bytes(data)
    found = []
    for name, member in unpack(path, limits, files.receive):
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
    """With a name that `zipfile` would not write as it is."""
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
    """One packed member, named many times over: what David Fifield's bombs do."""
    kernel = archive({"a.wav": b"\0" * 100_000})
    at = kernel.find(b"PK\x01\x02")
    end = kernel.find(b"PK\x05\x06")
    directory = kernel[at:end] * copies
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, copies, copies, len(directory), at, 0)
    return kernel[:at] + directory + tail


def damaged() -> bytes:
    """Its packed bytes are not what was packed."""
    data = archive({"a.wav": SOUND * 50})
    return data[:60] + b"\xff" * 100 + data[160:]


def claims(entries: int, length: int) -> bytes:
    """An end that tells of so many members."""
    return archive({"a.wav": SOUND})[:-22] + struct.pack(
        "<4s4H2LH", b"PK\x05\x06", 0, 0, entries, entries, length, 0, 0
    )


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "bomb": (lambda: archive({f"{n}.wav": b"\0" * 399_000 for n in range(3)}), "file_too_large"),
    "one large member": (lambda: archive({"a.wav": b"\0" * 500_000}), "file_too_large"),
    "nested": (lambda: archive({"a.wav": SOUND, "inner.wav": archive({"b.wav": SOUND})}), "bad_archive"),
    "overlapping": (lambda: overlapping(40), "bad_archive"),
    "65,000 entries": (lambda: overlapping(65_000), "file_too_large"),
    "claims a huge list": (lambda: claims(10, 0xFFFFFFFE), "file_too_large"),
    "zip64": (lambda: claims(0xFFFF, 0xFFFFFFFF), "file_too_large"),
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
    "an empty member": (lambda: archive({"a.wav": SOUND, "b.wav": b""}), "empty_message"),
    "a playlist": (lambda: archive({"a.wav": SOUND, "b.mp3": b"#EXTM3U\n/etc/passwd\n"}), "bad_audio"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_refused_with_nothing_left(files: FileStore, kind: str) -> None:
    make, code = BAD[kind]
    with pytest.raises(Refused) as caught:
        opened(files, make())
    assert caught.value.code == code
    assert left(files) == []


def test_members_come_in_order_under_their_own_names(files: FileStore) -> None:
    data = archive({"b/2.wav": SOUND + b"2", "1.wav": SOUND + b"1", "Olá.wav": SOUND + b"3"})
    assert opened(files, data) == [("2.wav", SOUND + b"2"), ("1.wav", SOUND + b"1"), ("Olá.wav", SOUND + b"3")]


def test_what_desktops_add_is_left_out(files: FileStore) -> None:
    data = archive({"a.wav": SOUND, "__MACOSX/._a.wav": b"x", ".DS_Store": b"x", "Thumbs.db": b"x"})
    assert [name for name, _ in opened(files, data)] == ["a.wav"]


def test_an_archive_is_known_by_its_content() -> None:
    assert is_archive(archive({"a.wav": SOUND})[:16])
    assert not is_archive(SOUND[:16])


def test_too_many_files_is_said_before_anything_is_unpacked(files: FileStore) -> None:
    with pytest.raises(TooLarge):
        opened(files, archive({f"{n}.wav": SOUND for n in range(51)}))
    assert left(files) == []

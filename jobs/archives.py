"""ZIP archives from strangers: looked at before anything is unpacked, counted while it is, refused as a whole."""

import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from jobs.errors import Refused, TooLarge
from jobs.files import Incoming

SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
MAX_DIRECTORY_BYTES = 4 << 20
"""The list of members may be so large: it is read into memory."""
READ_BYTES = 1 << 18
_END = struct.Struct("<4s4H2LH")
_LOCAL = struct.Struct("<4s5H3L2H")


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one archive."""

    files: int
    """Members, folders not counted."""
    total_bytes: int
    """Of all members, unpacked."""


def is_archive(head: bytes) -> bool:
    """Whether a file that begins like this is one."""
    return head.startswith(SIGNATURES)


def unpack(path: Path, limits: Limits, receive: Callable[[], Incoming]) -> list[tuple[str, Incoming]]:
    """Blocking: the files in it, by name and in order; the caller discards or commits them.

    Raises Refused (bad_archive, no_files), TooLarge; then nothing of it is left.
    """
    made: list[tuple[str, Incoming]] = []
    try:
        _unpack(path, limits, receive, made)
    except BaseException as error:
        for _, member in made:
            member.discard()
        if isinstance(error, zipfile.BadZipFile | zlib.error | EOFError | NotImplementedError | struct.error):
            raise _bad("is damaged") from error
        raise
    if not made:
        raise Refused("There is no file in the archive.", code="no_files")
    return made


def _unpack(path: Path, limits: Limits, receive: Callable[[], Incoming], made: list[tuple[str, Incoming]]) -> None:
    _check_directory(path, limits)
    with zipfile.ZipFile(path) as archive:
        wanted = [entry for entry in archive.infolist() if not _is_litter(entry)]
        if len(wanted) > limits.files:
            raise TooLarge(f"The archive has more than {limits.files} files (MAX_ARCHIVE_FILES).")
        for entry in archive.infolist():
            _check_entry(entry)
        _check_overlaps(path, archive.infolist(), archive.start_dir)
        left = limits.total_bytes
        for entry in wanted:
            member = receive()
            # Before it is written: whoever asked discards what is in the list when anything fails.
            made.append((PurePosixPath(entry.filename).name, member))
            with archive.open(entry) as packed:
                while data := packed.read(READ_BYTES):
                    left -= len(data)
                    if left < 0:
                        raise TooLarge(f"The archive unpacks to more than {limits.total_bytes} bytes.")
                    member.write_now(data)
            member.check()
            if is_archive(member.head):
                raise _bad("has another archive in it")


def _bad(what: str) -> Refused:
    return Refused(f"The archive {what}.", code="bad_archive")


def _check_directory(path: Path, limits: Limits) -> None:
    """Its size, before it is read into memory."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 65_557))  # the record, and the longest comment
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise _bad("is damaged")
    _, disk, first, here, entries, length, _, _ = _END.unpack_from(tail, at)
    if disk or first or here != entries:
        raise _bad("is one of several parts, or of the ZIP64 form")
    # Folders are entries, too: twice as many, and some.
    if entries > 2 * limits.files + 100 or length > MAX_DIRECTORY_BYTES:
        raise TooLarge(f"The archive has more than {limits.files} files (MAX_ARCHIVE_FILES).")


def _is_litter(entry: zipfile.ZipInfo) -> bool:
    """Folders, and what desktops put beside the files."""
    name = PurePosixPath(entry.filename)
    return entry.is_dir() or name.parts[:1] == ("__MACOSX",) or name.name.startswith(".") or name.name == "Thumbs.db"


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name or "\\" in name:
        raise _bad("has a name in it that leads out of it")
    if entry.flag_bits & 0x1:
        raise _bad("is encrypted")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _bad("has links or devices in it")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _bad("is packed in a way that is not read here; use deflate")


def _check_overlaps(path: Path, entries: list[zipfile.ZipInfo], directory_at: int) -> None:
    """Members that share their bytes unpack to far more than the file has."""
    with path.open("rb") as file:
        end = 0
        for entry in sorted(entries, key=lambda one: one.header_offset):
            if entry.header_offset < end:
                raise _bad("has members that overlap")
            file.seek(entry.header_offset)
            header = file.read(_LOCAL.size)
            if len(header) < _LOCAL.size:
                raise _bad("is damaged")
            fields = _LOCAL.unpack(header)
            if fields[0] != b"PK\x03\x04":
                raise _bad("is damaged")
            end = entry.header_offset + _LOCAL.size + fields[-2] + fields[-1] + entry.compress_size
        if end > directory_at:
            raise _bad("has members that overlap")

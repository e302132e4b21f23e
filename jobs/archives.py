"""Untrusted ZIP archives: checked before unpacking, limited during unpacking, and accepted or refused as a whole.

Members that are clearly not recordings are skipped and reported.
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from jobs.errors import Refused, TooLarge
from jobs.file_kinds import HEAD_BYTES, plainly
from jobs.files import Incoming, is_playlist
from jobs.names import MAX_CHARS, safe_name

SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
MAX_DIRECTORY_BYTES = 4 << 20
"""Maximum size of the list of members, which is read into memory."""
READ_BYTES = 1 << 18
MAX_ARCHIVE_FILES = 500
"""Maximum number of files in one archive, and in one request."""
FILE_SIZES = 4
"""Unpacked size of an archive, as a multiple of the largest file (MAX_FILE_SIZE)."""
MAX_RATIO = 200.0
"""Maximum unpacked size of an archive, as a multiple of its own size: audio barely compresses."""
FREE_BYTES = 16 << 20
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error, UnicodeDecodeError)
"""Errors that `zipfile` raises for unreadable archives."""
SKIPPED_TOLD = 10
"""Number of skipped members that an error text names; the response lists all."""
PLAYLIST_NAMES = (".m3u", ".m3u8", ".pls", ".txt")
MAX_COMMENT = 0xFFFF
"""Maximum length of the comment at the end of an archive."""
MAX_NAME_BYTES = 4096
MAX_EXTRA_BYTES = 4096
"""Maximum length of a member's extra field; the time that `zipfile` takes grows with the square of that length."""
END, END64, LOCATOR64, ENTRY = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02"
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for one archive."""

    files: int
    """Maximum number of members, without folders."""
    total_bytes: int
    """Maximum size of all unpacked members."""
    ratio: float
    """Maximum ratio of unpacked to packed size. Most recordings hardly compress, but silence does, so FREE_BYTES are
    always allowed."""


def is_archive(head: bytes) -> bool:
    """Whether a file that begins with these bytes is an archive."""
    return head.startswith(SIGNATURES)


@dataclass(slots=True)
class Unpacked:
    """The content of an archive."""

    files: list[tuple[str, Incoming]] = field(default_factory=list)
    """Names and files in order; the caller discards or commits them."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Members that are clearly not recordings: name in the archive, and kind."""

    def discard(self) -> None:
        """Remove all files. Blocks."""
        for _, member in self.files:
            member.discard()


def unpack(
    path: Path, limits: Limits, receive: Callable[[], Incoming], *, unwanted: Callable[[], bool] = lambda: False
) -> Unpacked:
    """Unpack the recordings of an archive. Blocks. unwanted: called repeatedly; when it returns True, unpacking stops
    with Refused.

    Raises Refused (bad_archive, no_files), TooLarge; all files are removed then.
    """
    made = Unpacked()
    try:
        _unpack(path, limits, receive, made, unwanted)
    except BaseException as error:
        made.discard()
        if isinstance(error, DAMAGE):
            raise _bad("is damaged") from error
        raise
    if not made.files:
        raise Refused(f"There is no recording in the archive{_told(made.skipped)}.", code="no_files")
    return made


def _told(skipped: list[tuple[str, str]]) -> str:
    if not skipped:
        return ""
    more = f" and {len(skipped) - SKIPPED_TOLD} more" if len(skipped) > SKIPPED_TOLD else ""
    return ", but " + ", ".join(f"{name} ({what})" for name, what in skipped[:SKIPPED_TOLD]) + more


def _unpack(
    path: Path, limits: Limits, receive: Callable[[], Incoming], made: Unpacked, unwanted: Callable[[], bool]
) -> None:
    _check_directory(path, limits)
    with zipfile.ZipFile(path) as archive:
        wanted = [entry for entry in archive.infolist() if not entry.is_dir()]
        if sum(not _is_litter(entry) for entry in wanted) > limits.files:
            raise TooLarge(f"The archive has more than {limits.files} files; send several.")
        for entry in archive.infolist():
            _check_entry(entry)
        _check_overlaps(path, archive.infolist(), archive.start_dir)
        allowed = _Allowed(limits, path.stat().st_size, unwanted)
        for entry in wanted:
            shown = _shown(entry.filename)
            if _is_litter(entry):
                made.skipped.append((shown, "a hidden file"))
                continue
            with archive.open(entry) as packed:
                head = packed.read(HEAD_BYTES)
                allowed.take(len(head))
                if (what := plainly(head)) is not None and not _is_playlist(entry.filename, head):
                    made.skipped.append((shown, what))
                    continue
                member = receive()
                # Append before writing: on an error the caller discards every file in the list.
                made.files.append((safe_name(entry.filename) or "audio", member))
                member.write_now(head)
                while data := packed.read(READ_BYTES):
                    allowed.take(len(data))
                    member.write_now(data)
            member.check()
            if is_archive(member.head):
                raise _bad("contains another archive")


class _Allowed:
    """Limits the bytes unpacked from an archive."""

    def __init__(self, limits: Limits, packed_bytes: int, unwanted: Callable[[], bool]) -> None:
        self._limits, self._unwanted = limits, unwanted
        self._by_ratio = max(FREE_BYTES, int(limits.ratio * packed_bytes))
        self._taken = 0

    def take(self, size: int) -> None:
        """Raises TooLarge, and Refused when the archive is no longer wanted."""
        if self._unwanted():
            raise _bad("is no longer wanted")
        self._taken += size
        if self._taken > self._limits.total_bytes:
            most = f"{self._limits.total_bytes} bytes ({FILE_SIZES} times MAX_FILE_SIZE)"
            raise TooLarge(f"The archive unpacks to more than {most}.")
        if self._taken > self._by_ratio:
            raise TooLarge(f"The archive unpacks to more than {self._limits.ratio:g} times its size.")


def _shown(name: str) -> str:
    return "".join(character for character in name if character.isprintable())[-MAX_CHARS:]


def _is_playlist(name: str, head: bytes) -> bool:
    """Whether a member is a playlist under another kind of name, which is not a mistake but an attack. A playlist with
    a proper name is skipped like all text."""
    return is_playlist(head) and not name.lower().endswith(PLAYLIST_NAMES)


def _bad(what: str) -> Refused:
    return Refused(f"The archive {what}.", code="bad_archive")


@dataclass(frozen=True, slots=True)
class _Directory:
    """Position of the list of members, from the records at the end of an archive."""

    start: int
    length: int
    entries: int


def _directory(path: Path) -> _Directory:
    """Find the list of members as `zipfile` does: from the ZIP64 record if there is one, whatever the plain record
    says. Raises Refused."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - MAX_COMMENT - _END.size - _LOCATOR64.size - _END64.size))
        tail = file.read()
    at = len(tail) - _END.size
    if at < 0 or not (tail.startswith(END, at) and tail.endswith(b"\0\0")):
        at = tail.rfind(END, max(0, len(tail) - MAX_COMMENT - _END.size))
    if at < 0 or len(tail) - at < _END.size:
        raise _bad("is damaged")
    _, disk, first, here, entries, length, _, _ = _END.unpack_from(tail, at)
    locator = at - _LOCATOR64.size
    if locator >= 0 and tail.startswith(LOCATOR64, locator):
        record = locator - _END64.size
        if record < 0 or not tail.startswith(END64, record):
            raise _bad("is damaged")
        _, _, _, _, disk, first, here, entries, length, _ = _END64.unpack_from(tail, record)
        at = record
    if disk or first or here != entries:
        raise _bad("is one of several parts")
    return _Directory(size - len(tail) + at - length, length, entries)


def _check_directory(path: Path, limits: Limits) -> None:
    """Check the list of members before `zipfile` creates an object for each. Raises Refused, TooLarge."""
    found = _directory(path)
    # Folders are entries, too, so allow twice as many and some more.
    most = 2 * limits.files + 100
    too_many = TooLarge(f"The archive has more than {limits.files} files; send several.")
    if found.entries > most or found.length > MAX_DIRECTORY_BYTES:
        raise too_many
    if found.start < 0:
        raise _bad("is damaged")
    with path.open("rb") as file:
        file.seek(found.start)
        listed = file.read(found.length)
    at = number = 0
    while at < found.length:
        fields = _ENTRY.unpack_from(listed, at)
        if fields[0] != ENTRY:
            raise _bad("is damaged")
        name, extra, comment = fields[10:13]
        if name > MAX_NAME_BYTES or extra > MAX_EXTRA_BYTES:
            raise _bad("has a member whose name or extra field is too long")
        at += _ENTRY.size + name + extra + comment
        number += 1
        if number > most:
            raise too_many
    if number != found.entries:
        raise _bad("is damaged")


def _is_litter(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry is one that desktops add to archives."""
    name = PurePosixPath(entry.filename)
    return name.parts[:1] == ("__MACOSX",) or name.name.startswith(".") or name.name == "Thumbs.db"


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name or "\\" in name:
        raise _bad("has a member name that leads out of it")
    if entry.flag_bits & 0x1:
        raise _bad("is encrypted")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _bad("contains links or devices")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _bad("uses an unsupported compression; use deflate")


def _check_overlaps(path: Path, entries: list[zipfile.ZipInfo], directory_at: int) -> None:
    """Raises Refused for members that share bytes: they can unpack to far more than the size of the file."""
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

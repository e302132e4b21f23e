"""ZIP archives from strangers: looked at before anything is unpacked, counted while it is, refused as a whole.

What in them is plainly no recording is left out, and told.
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from jobs.errors import Refused, TooLarge
from jobs.files import Incoming, is_playlist
from jobs.names import MAX_CHARS, safe_name
from jobs.sniffing import HEAD_BYTES, plainly

SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
MAX_DIRECTORY_BYTES = 4 << 20
"""The list of members may be so large: it is read into memory."""
READ_BYTES = 1 << 18
FREE_BYTES = 16 << 20
SKIPPED_TOLD = 10
"""In a sentence; an answer has all."""
PLAYLIST_NAMES = (".m3u", ".m3u8", ".pls", ".txt")
_END = struct.Struct("<4s4H2LH")
_LOCAL = struct.Struct("<4s5H3L2H")


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one archive."""

    files: int
    """Members, folders not counted."""
    total_bytes: int
    """Of all members, unpacked."""
    ratio: float
    """What it may unpack to, in its own size. Recordings hardly shrink; those that are all silence do, so the first
    FREE_BYTES are not counted."""


def is_archive(head: bytes) -> bool:
    """Whether a file that begins like this is one."""
    return head.startswith(SIGNATURES)


@dataclass(slots=True)
class Unpacked:
    """What was in an archive."""

    files: list[tuple[str, Incoming]] = field(default_factory=list)
    """By name and in order; the caller discards or commits them."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """What is plainly no recording: its name in the archive, and what it is."""

    def discard(self) -> None:
        """Blocking: nothing is left of it."""
        for _, member in self.files:
            member.discard()


def unpack(path: Path, limits: Limits, receive: Callable[[], Incoming]) -> Unpacked:
    """Blocking: the recordings in it. Raises Refused (bad_archive, no_files), TooLarge; then nothing of it is left."""
    made = Unpacked()
    try:
        _unpack(path, limits, receive, made)
    except BaseException as error:
        made.discard()
        if isinstance(error, zipfile.BadZipFile | zlib.error | EOFError | NotImplementedError | struct.error):
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


def _unpack(path: Path, limits: Limits, receive: Callable[[], Incoming], made: Unpacked) -> None:
    _check_directory(path, limits)
    with zipfile.ZipFile(path) as archive:
        wanted = [entry for entry in archive.infolist() if not entry.is_dir()]
        if sum(not _is_litter(entry) for entry in wanted) > limits.files:
            raise TooLarge(f"The archive has more than {limits.files} files (MAX_ARCHIVE_FILES).")
        for entry in archive.infolist():
            _check_entry(entry)
        _check_overlaps(path, archive.infolist(), archive.start_dir)
        allowed = _Allowed(limits, path.stat().st_size)
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
                # Before it is written: whoever asked discards what is in the list when anything fails.
                made.files.append((safe_name(entry.filename) or "audio", member))
                member.write_now(head)
                while data := packed.read(READ_BYTES):
                    allowed.take(len(data))
                    member.write_now(data)
            member.check()
            if is_archive(member.head):
                raise _bad("has another archive in it")


class _Allowed:
    """Counts what comes out of an archive."""

    def __init__(self, limits: Limits, packed_bytes: int) -> None:
        self._limits = limits
        self._by_ratio = max(FREE_BYTES, int(limits.ratio * packed_bytes))
        self._taken = 0

    def take(self, size: int) -> None:
        """Raises TooLarge."""
        self._taken += size
        if self._taken > self._limits.total_bytes:
            raise TooLarge(f"The archive unpacks to more than {self._limits.total_bytes} bytes (MAX_ARCHIVE_SIZE).")
        if self._taken > self._by_ratio:
            raise TooLarge(
                f"The archive unpacks to more than {self._limits.ratio:g} times its size (MAX_ARCHIVE_RATIO)."
            )


def _shown(name: str) -> str:
    return "".join(character for character in name if character.isprintable())[-MAX_CHARS:]


def _is_playlist(name: str, head: bytes) -> bool:
    """One that pretends to be a recording: that is no oversight. As what it is, it is left out with all text."""
    return is_playlist(head) and not name.lower().endswith(PLAYLIST_NAMES)


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
    """What desktops put beside the files."""
    name = PurePosixPath(entry.filename)
    return name.parts[:1] == ("__MACOSX",) or name.name.startswith(".") or name.name == "Thumbs.db"


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

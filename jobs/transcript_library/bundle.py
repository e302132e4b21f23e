"""A zip of many transcripts, written while it is sent: only one of them is in memory at a time."""

import asyncio
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime

FIRST_YEAR = 1980
"""The earliest year that a zip can store."""


class _Outlet:
    """Bytes that were written and not yet sent. It cannot seek, so `zipfile` writes sizes after each file."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, data: bytes, /) -> int:
        self._held += data
        return len(data)

    def flush(self) -> None:
        """Do nothing: the reader takes what is there."""

    def close(self) -> None:
        """Do nothing: there is no file."""

    def take(self) -> bytes:
        """Return the bytes since the last call."""
        taken = bytes(self._held)
        self._held.clear()
        return taken


async def bundle(files: AsyncIterator[tuple[str, float, str | bytes]]) -> AsyncGenerator[bytes, None]:
    """Yield a zip of the files (name, seconds since 1970, content) in chunks. Equal names get a number."""
    outlet, names = _Outlet(), set[str]()
    archive = zipfile.ZipFile(outlet, "w", zipfile.ZIP_DEFLATED)
    async for name, changed_at, content in files:
        unique = _unique(name, names)
        names.add(unique.casefold())
        at = datetime.fromtimestamp(changed_at, UTC)
        entry = zipfile.ZipInfo(unique, (max(FIRST_YEAR, at.year), at.month, at.day, at.hour, at.minute, at.second))
        entry.compress_type = zipfile.ZIP_DEFLATED
        await asyncio.to_thread(archive.writestr, entry, content)
        yield outlet.take()
    archive.close()
    yield outlet.take()


def _unique(name: str, taken: set[str]) -> str:
    stem, dot, kind = name.rpartition(".")
    found, number = name, 1
    while found.casefold() in taken:
        number += 1
        found = f"{stem} ({number}){dot}{kind}"
    return found

"""The page as browsers get it: `web/index.html`, with links that load all its modules at once, and with the version of
each file in its address, so that a browser asks for a file only once.

Modules import each other by plain names. An import map, which is the only inline script, adds the versions; without it
a browser loads the same files by their plain names.
"""

import base64
import hashlib
import json
import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.settings import HOME
from server.pages.compressed import compressed

WEB = HOME / "web"
PAGE = "index.html"
ENTRY = "app.js"
"""The page's first module."""
SHARE_WORKER = "share-worker.js"
"""The page's service worker."""
FALLBACK = "en"
"""The language of pages for browsers whose languages have no texts."""
ENDINGS = (".js", ".css", ".svg", ".png")
"""Files with versions. The manifest has none, because an installed page is known by its address."""
_IMPORT = re.compile(r'^(?:import|export)\b(?:[^"\';]*\bfrom)?\s*"(\.{1,2}/[^"]+)"', re.MULTILINE)
_ADDRESS = re.compile(r'(?<==")web/([^"?]+)(?=")')
_LANGUAGES = 'data-languages=""'
_ENTRY_TAG = '<script type="module" src="web/app.js"></script>'

Stamp = tuple[str, int, int]
"""Path in `web/`, time of the last change in ns, and size in bytes."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """The page in one language."""

    html: bytes
    compressed: bytes
    """The same in gzip."""
    etag: str
    inline: str
    """The source of its inline script, for the Content Security Policy."""


def languages() -> list[str]:
    """Return the codes of the page's languages: one for each file in `web/texts/`."""
    return sorted(file.stem for file in (WEB / "texts").glob("*.js"))


def language_for(accept_language: str) -> str:
    """Return the page's language for an Accept-Language header, which browsers write in order."""
    known = languages()
    wanted = (part.partition(";")[0].strip().split("-")[0].lower() for part in accept_language.split(","))
    return next((code for code in wanted if code in known), FALLBACK)


def assembled(language: str) -> Assembled:
    """Return the page. It is put together again when a file has changed."""
    return _assembled(language, tuple(sorted(_stamps(WEB, ""))))


def version(path: str) -> str | None:
    """Return the version of the file at this path in `web/`, or None if it has none."""
    if not _has_version(path):
        return None
    try:
        told = os.stat(WEB / path)
    except (OSError, ValueError):
        return None
    return _version((path, told.st_mtime_ns, told.st_size))


def modules(first: Sequence[str]) -> list[str]:
    """Return these modules and all that they import, directly or through others."""
    found: dict[str, None] = {}
    open_ones = list(first)
    while open_ones:
        path = open_ones.pop(0)
        if path in found:
            continue
        found[path] = None
        text = (WEB / path).read_text()
        open_ones += [posixpath.normpath(posixpath.join(posixpath.dirname(path), one)) for one in _IMPORT.findall(text)]
    return list(found)


def _has_version(path: str) -> bool:
    return path.endswith(ENDINGS) and path != SHARE_WORKER


def _stamps(folder: Path, prefix: str) -> Iterator[Stamp]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _stamps(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                told = entry.stat()
                yield prefix + entry.name, told.st_mtime_ns, told.st_size


@lru_cache(1024)
def _version(stamp: Stamp) -> str:
    return hashlib.sha256((WEB / stamp[0]).read_bytes()).hexdigest()[:16]


@lru_cache(16)
def _assembled(language: str, stamps: Sequence[Stamp]) -> Assembled:
    versions = {stamp[0]: _version(stamp) for stamp in stamps if _has_version(stamp[0])}
    used = modules([ENTRY, f"texts/{language}.js"])
    scripts = [path for path in versions if path.endswith(".js")]
    names = json.dumps({"imports": {f"./web/{path}": f"./{_address(path, versions)}" for path in scripts}})
    html = (WEB / PAGE).read_text()
    tags = [
        f'<script type="importmap">{names}</script>',
        # Style sheets come first: the page is visible before its scripts run.
        *(f'<link rel="modulepreload" fetchpriority="low" href="{_address(path, versions)}">' for path in used),
        _ENTRY_TAG,
    ]
    html = html.replace(_LANGUAGES, _LANGUAGES.replace('""', f'"{" ".join(languages())}"'))
    html = html.replace(_ENTRY_TAG, "\n  ".join(tags))
    data = _ADDRESS.sub(lambda found: _address(found[1], versions), html).encode()
    digest = base64.b64encode(hashlib.sha256(names.encode()).digest()).decode()
    return Assembled(data, compressed(data), f'"{hashlib.sha256(data).hexdigest()[:32]}"', f"'sha256-{digest}'")


def _address(path: str, versions: Mapping[str, str]) -> str:
    """Return the address of a file, relative to the page."""
    return f"web/{path}?v={versions[path]}" if path in versions else f"web/{path}"

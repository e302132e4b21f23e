"""Fonts for PDF, which contains its own: FiraGO, and for other scripts the fonts that are installed on this machine.

FiraGO (OFL, in the package pymupdf-fonts) has Latin, Greek, Cyrillic, Arabic, Hebrew, Thai, Georgian and Devanagari.
Chinese, Japanese and Korean fonts are many times larger than Parley's other packages, so they come from the system.
"""

import logging
import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from fontTools.ttLib import TTFont, TTLibError

from pipeline.errors import BadInput

log = logging.getLogger(__name__)

MAX_FONTS = 400
"""Installed fonts that are looked at."""
HELP = (
    "install a TrueType font with them on the service's machine (Debian: fonts-droid-fallback for Chinese, Japanese "
    "and Korean), or choose another format"
)


def included() -> tuple[bytes, bytes]:
    """Return FiraGO, regular and bold."""
    from pymupdf_fonts import myfont  # decodes some megabytes

    return bytes(myfont("figo")), bytes(myfont("figbo"))


def fonts_for(missing: set[int]) -> list[Path]:
    """Return installed fonts that together have these characters (code points). Raises BadInput (pdf_font_missing)."""
    left, found = set(missing), list[Path]()
    while left:
        best, there = max(
            ((path, left & characters) for path, characters in _installed()), key=lambda one: len(one[1]),
            default=(None, set[int]()),
        )  # fmt: skip
        if best is None or not there:
            some = " ".join(chr(code) for code in sorted(left)[:5])
            raise BadInput(f"No font for a PDF has these characters: {some}. Instead, {HELP}.", code="pdf_font_missing")
        found.append(best)
        left -= there
    return found


@lru_cache(maxsize=1)
def _installed() -> tuple[tuple[Path, frozenset[int]], ...]:
    """Return the installed TrueType fonts with their characters."""
    found = []
    for path in sorted(_files(), key=lambda one: ("Bold" in one.name or "Italic" in one.name, one.name))[:MAX_FONTS]:
        try:
            with TTFont(path, lazy=True) as font:
                # Outlines in PostScript's form (CFF) cannot be included.
                if "glyf" in font:
                    found.append((path, frozenset(font.getBestCmap() or ())))
        except (TTLibError, OSError, ValueError, KeyError, AssertionError) as error:
            log.debug("font %s cannot be read: %s", path, error)
    return tuple(found)


def _files() -> Iterator[Path]:
    home = Path.home()
    folders = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".fonts", home / ".local/share/fonts"]
    if sys.platform == "darwin":
        folders = [Path("/Library/Fonts"), Path("/System/Library/Fonts"), home / "Library/Fonts"]
    for folder in folders:
        for root, _, names in os.walk(folder):
            yield from (Path(root, name) for name in names if name.lower().endswith(".ttf"))

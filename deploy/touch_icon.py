"""Draw web/apple-touch-icon.png from web/icon.svg, for home screens that take no SVG: `python -m deploy.touch_icon`.

The icon is a square with upright strokes that have round ends. The system rounds the corners.
"""

import re
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from pipeline.folders import HOME

SIDE = 180
"""Width and height in pixels, as iOS wants it."""
WEB = HOME / "web"
SVG_SIDE = 32


def pixels() -> NDArray[np.uint8]:
    """Return the image as SIDE × SIDE × 3 bytes (RGB)."""
    svg = (WEB / "icon.svg").read_text("utf-8")
    ground, strokes = (_color(re.findall(rf'{name}="#(\w+)"', svg)[0]) for name in ("fill", "stroke"))
    scale = SIDE / SVG_SIDE
    radius = float(re.findall(r'stroke-width="([\d.]+)"', svg)[0]) * scale / 2
    centres = np.arange(SIDE) + 0.5
    covered = np.zeros((SIDE, SIDE))
    for x, y, length in re.findall(r"M([\d.]+) ([\d.]+)v([\d.]+)", svg):
        top, bottom = float(y) * scale, (float(y) + float(length)) * scale
        across = centres[None, :] - float(x) * scale
        along = centres[:, None] - np.clip(centres[:, None], top, bottom)
        covered = np.maximum(covered, np.clip(radius + 0.5 - np.hypot(across, along), 0, 1))
    mixed = ground + (strokes - ground) * covered[:, :, None]
    return np.rint(mixed).astype(np.uint8)


def png(image: NDArray[np.uint8]) -> bytes:
    """Return an RGB image (height × width × 3) as a PNG."""
    height, width, _ = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def _color(code: str) -> NDArray[np.float64]:
    return np.array([int(code[place : place + 2], 16) for place in (0, 2, 4)], np.float64)


if __name__ == "__main__":
    (WEB / "apple-touch-icon.png").write_bytes(png(pixels()))

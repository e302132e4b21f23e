"""The icon for home screens is the one that its script draws."""

import zlib

from deploy.touch_icon import SIDE, WEB, pixels, png


def rows(image: bytes) -> bytes:
    """Return the pixels of a PNG with one IDAT: compressors differ."""
    length, place = int.from_bytes(image[33:37]), 41
    assert image[37:place] == b"IDAT"
    return zlib.decompress(image[place : place + length])


def test_the_touch_icon_is_up_to_date() -> None:
    drawn = pixels()
    assert drawn[0, 0].tolist() == [0x1F, 0x6B, 0x5A]
    assert drawn[SIDE // 2, SIDE // 2].tolist() == [0xF6, 0xF5, 0xF1]
    kept = (WEB / "apple-touch-icon.png").read_bytes()
    assert kept[:33] == png(drawn)[:33]
    assert rows(kept) == rows(png(drawn)), "run: python -m deploy.touch_icon"

"""Write a document as PDF."""

import re
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import Align

from pipeline.transcripts.exports.document import Document, clock, right_to_left
from pipeline.transcripts.exports.fonts import fonts_for, included

MARGIN_MM, LINE_MM = 20, 6
GREY, BLACK = (107, 107, 107), (20, 20, 20)
FAMILY = "included"
MAX_MARKS = 8
"""Marks and joiners in a row; no language needs more. They have no width, so a line of them never ends, and fpdf2 needs
time in proportion to the square of a line's characters."""
JOINERS = "\u200c\u200d"
_NEUTRAL = re.compile(r"[\W_]{500}")
"""Characters without a direction. fpdf2 searches for the next one with a direction by recursion."""


class _Pages(FPDF):
    """A4 pages with their numbers."""

    def footer(self) -> None:
        self.set_y(-15)
        self.set_font(FAMILY, size=8)
        self.set_text_color(*GREY)
        self.cell(0, 8, f"{self.page_no()} / {{nb}}", align=Align.C)


def as_pdf(document: Document) -> bytes:
    """Return the document: a title, and each paragraph below its speaker and time.

    Raises BadInput (pdf_font_missing) for characters that no font of this machine has.
    """
    pdf = _Pages(format="A4")
    pdf.set_margins(MARGIN_MM, MARGIN_MM)
    pdf.set_auto_page_break(True, MARGIN_MM)
    pdf.set_title(document.title)
    pdf.set_lang(document.language or "")
    with tempfile.TemporaryDirectory(prefix="parley-fonts-") as folder:  # read until the end
        _add_fonts(pdf, Path(folder), [document.title, document.details, *_texts(document)])
        _add_text(pdf, document)
        return bytes(pdf.output())


def _add_text(pdf: FPDF, document: Document) -> None:
    pdf.add_page()
    _write(pdf, document.title, size=20, style="B", line_mm=9)
    _write(pdf, document.details, size=10, color=GREY)
    pdf.ln(LINE_MM)
    for paragraph in document.paragraphs:
        # The speaker and the first lines stay together.
        if pdf.will_page_break(3 * LINE_MM):
            pdf.add_page()
        if paragraph.speaker:
            _write(pdf, paragraph.speaker, size=11, style="B", line_mm=5)
        _write(pdf, clock(paragraph.start_s), size=8, color=GREY, line_mm=4)
        _write(pdf, paragraph.text, size=11)
        pdf.ln(LINE_MM / 2)


def _texts(document: Document) -> Sequence[str]:
    return [text for one in document.paragraphs for text in (one.text, one.speaker or "")]


def _add_fonts(pdf: FPDF, folder: Path, texts: Sequence[str]) -> None:
    """Add the fonts that the texts need. folder: for the files of included fonts."""
    for style, font in zip(("", "B"), included(), strict=True):
        path = folder / f"{FAMILY}{style}.ttf"
        path.write_bytes(font)
        pdf.add_font(FAMILY, style, path)
    characters = {ord(character) for text in texts for character in text if character.isprintable()}
    has = pdf.fonts[FAMILY].cmap  # type: ignore[union-attr]  # not one of PDF's own fonts
    missing = {code for code in characters - set(has) if unicodedata.category(chr(code)) not in ("Mn", "Cf")}
    others = []
    for number, other in enumerate(fonts_for(missing)):
        pdf.add_font(f"other{number}", "", other)
        others.append(f"other{number}")
    if others:
        pdf.set_fallback_fonts(others, exact_match=False)
    # Takes several times as long, and is needed where letters join or change places.
    if any(_is_shaped(code) for code in characters):
        pdf.set_text_shaping(True)


def _is_shaped(code: int) -> bool:
    """Whether a character is of Hebrew, Arabic, an Indic script, Thai, Lao, Burmese or Khmer."""
    return 0x0590 <= code <= 0x109F or 0x1780 <= code <= 0x17FF


def laid_out(text: str) -> str:
    """Return the text as fpdf2 can lay it out in linear time: without format characters, which it also draws as boxes,
    with few marks in a row, and with a direction here and there."""
    if text.isascii():
        return text
    kept = ""
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        if category == "Cf" and character not in JOINERS:
            continue
        marks = marks + 1 if category[0] == "M" or character in JOINERS else 0
        if marks <= MAX_MARKS:
            kept += character
    return _NEUTRAL.sub(lambda match: match[0] + "\u200f", kept)


def _write(
    pdf: FPDF, text: str, *, size: int, style: str = "", color: tuple[int, int, int] = BLACK, line_mm: float = LINE_MM
) -> None:
    pdf.set_font(FAMILY, style, size)
    pdf.set_text_color(*color)
    align = Align.R if right_to_left(text) else Align.L
    pdf.multi_cell(0, line_mm, laid_out(text), align=align, new_x="LMARGIN", new_y="NEXT")

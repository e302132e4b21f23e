"""Write a document as DOCX, for Word, LibreOffice and Google Docs."""

import io

from docx import Document as open_template
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Pt, RGBColor
from docx.text.paragraph import Paragraph as Written

from pipeline.transcripts.exports.document import Document, Paragraph, clock, right_to_left

GREY = RGBColor(0x6B, 0x6B, 0x6B)


def as_docx(document: Document) -> bytes:
    """Return the document: a title, and each paragraph below its speaker and time. Takes about a second for an hour."""
    file = open_template()
    about = file.core_properties
    about.title, about.author, about.language = document.title[:255], "", document.language or ""
    about.comments = ""
    normal = file.styles["Normal"]
    normal.font.size = Pt(11)
    # Spelling in the transcript's language.
    language = OxmlElement("w:lang")
    language.set(qn("w:val"), document.language or "en")
    normal.element.get_or_add_rPr().append(language)
    _directed(file.add_heading(document.title, level=0), document.title)
    details = file.add_paragraph()
    details.add_run(document.details).font.color.rgb = GREY
    style = file.styles["Normal"]
    for paragraph in document.paragraphs:
        _add(file.add_paragraph(style=style), paragraph)
    out = io.BytesIO()
    file.save(out)
    return out.getvalue()


def _add(written: Written, paragraph: Paragraph) -> None:
    if paragraph.speaker:
        written.add_run(paragraph.speaker).bold = True
        written.add_run("  ")
    time = written.add_run(clock(paragraph.start_s))
    time.font.size, time.font.color.rgb = Pt(9), GREY
    time.add_break()
    written.add_run(paragraph.text)
    _directed(written, paragraph.text)


def _directed(written: Written, text: str) -> None:
    """Align right-to-left text to the right."""
    if right_to_left(text):
        written._p.get_or_add_pPr().append(OxmlElement("w:bidi"))
        for run in written.runs:
            run.font.rtl = True

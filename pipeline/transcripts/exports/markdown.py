"""Write a document as Markdown (CommonMark)."""

import re

from pipeline.transcripts.exports.document import Document, Paragraph, clock

_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&])")
_BLOCK = re.compile(r"^(?:(?:[-+]|\d{1,9}[.)])(?=\s|$)|-(?=[-\s]*$))")
"""Begins a list item at the start of a paragraph, or makes the paragraph a line across the page."""


def as_markdown(document: Document) -> str:
    """Return the document: a heading, and each paragraph after its speaker and time."""
    parts = [f"# {_quoted(document.title)}", f"*{document.details}*", *map(_paragraph, document.paragraphs)]
    return "\n\n".join(parts) + "\n"


def _paragraph(paragraph: Paragraph) -> str:
    time = f"`{clock(paragraph.start_s)}`"
    head = f"**{_quoted(paragraph.speaker)}** {time}" if paragraph.speaker else time
    return f"{head}\n\n{_quoted(paragraph.text)}"


def _quoted(text: str) -> str:
    """Return the text without meaning as Markdown."""
    quoted = _SPECIAL.sub(r"\\\1", text)
    return _BLOCK.sub(lambda match: f"{match[0][:-1]}\\{match[0][-1]}", quoted)

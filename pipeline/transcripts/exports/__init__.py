"""Transcripts as documents to read: Markdown, DOCX and PDF, with a title, paragraphs, speakers and times."""

from pipeline.transcripts.exports.document import Document, document_of
from pipeline.transcripts.exports.markdown import as_markdown

__all__ = ["KINDS", "Document", "as_document", "document_of"]

KINDS = {
    "md": "text/markdown; charset=utf-8",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "pdf": "application/pdf",
}
"""Format → media type."""


def as_document(kind: str, document: Document) -> str | bytes:
    """Return the file. kind: one of KINDS. Raises KeyError for another, BadInput (pdf_font_missing)."""
    if kind == "md":
        return as_markdown(document)
    # Imported on demand: most services never write one.
    if kind == "docx":
        from pipeline.transcripts.exports.docx import as_docx

        return as_docx(document)
    if kind == "pdf":
        from pipeline.transcripts.exports.pdf import as_pdf

        return as_pdf(document)
    raise KeyError(kind)

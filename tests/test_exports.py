"""Transcripts as documents and TTML: what a reader, a word processor and a player see in them."""

import io
import logging
import re
import zlib
from xml.etree import ElementTree

import pytest
from docx import Document as open_docx

from commands.logs import set_up
from pipeline.errors import BadInput
from pipeline.stt import Segment
from pipeline.transcripts.exports import as_document, document_of
from pipeline.transcripts.exports.document import Document
from pipeline.transcripts.exports.pdf import laid_out
from pipeline.transcripts.subtitles import Layout
from pipeline.transcripts.ttml import as_ttml
from tests.adversarial import slow

SEGMENTS = [
    Segment(0.5, 3.0, " Good morning, <everybody> & *all*.", speaker="Ana"),
    Segment(3.1, 5.0, "Let us begin.", speaker="Ana"),
    Segment(5.2, 7.0, "1. Ja, größer: ção, Ελλάδα, привет.", speaker="Бен"),
    Segment(3725.0, 3727.0, "After an hour\x0b\ud800.", speaker="Бен"),
]


def document(*segments: Segment) -> Document:
    return document_of(
        segments or SEGMENTS, title="Talk & more", language="en", duration_s=3730.0, created_at=1795195860.0
    )


def test_markdown_has_paragraphs_with_speakers_and_times() -> None:
    told = as_document("md", document())
    assert told == (
        "# Talk \\& more\n\n*1:02:10 · English · 2026-11-20*\n\n"
        "**Ana** `0:00`\n\nGood morning, \\<everybody\\> \\& \\*all\\*. Let us begin.\n\n"
        "**Бен** `0:05`\n\n1\\. Ja, größer: ção, Ελλάδα, привет.\n\n"
        "**Бен** `1:02:05`\n\nAfter an hour \ufffd.\n"
    )


@pytest.mark.parametrize("said", ["---", "- - -", "-", "--", "+ 1", "12) a"])
def test_what_is_said_is_no_line_or_list_in_markdown(said: str) -> None:
    told = str(as_document("md", document(Segment(0.0, 1.0, said))))
    shown = told.rpartition("\n\n")[2]
    assert re.match(r"\\[-+]|\d+\\", shown)
    assert shown.replace("\\", "") == f"{said}\n"


def test_the_log_does_not_have_the_letters_of_a_pdf(caplog: pytest.LogCaptureFixture) -> None:
    """Libraries name them while they embed a font."""
    set_up("console", logging.INFO)
    with caplog.at_level(logging.INFO):
        as_document("pdf", document())
    assert not caplog.records


def test_a_word_processor_reads_the_docx() -> None:
    told = as_document("docx", document())
    assert isinstance(told, bytes)
    file = open_docx(io.BytesIO(told))
    assert file.core_properties.title == "Talk & more"
    first, details, *others = [one.text for one in file.paragraphs]
    assert (first, details) == ("Talk & more", "1:02:10 · English · 2026-11-20")
    assert others[0] == "Ana  0:00\nGood morning, <everybody> & *all*. Let us begin."
    assert len(others) == 3


def test_the_pdf_has_the_letters_of_many_scripts() -> None:
    texts = ["Ação über Łódź.", "Ελληνικά и русский.", "שלום לכולם.", "مرحبا بالعالم", "नमस्ते दुनिया", "สวัสดีชาวโลก"]
    told = as_document("pdf", document(*[Segment(9.0 * n, 9.0 * n + 8, text) for n, text in enumerate(texts)]))
    assert isinstance(told, bytes)
    assert told.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", told)) == 1
    # Each font maps its glyphs to the characters, so that text can be searched and copied.
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", told, re.DOTALL)
    maps = b"".join(text for one in streams if b"beginbfchar" in (text := _inflated(one)))
    codes = {int(code, 16) for code in re.findall(rb"<([0-9A-Fa-f]{4})>\s*$", maps.replace(b"\r", b""), re.MULTILINE)}
    assert {ord(letter) for letter in "çŁΕиש"} <= codes


MANY_SIGNS = "(" * 1_500
"""More characters in a row than Python's recursion may be deep."""


@pytest.mark.parametrize(
    "unit",
    ["a" + "\u0301" * 50, "ب" + "\u064b" * 50, "\u200b", "a\u200d\u200d", "\u202b", "\u05d0\u2067"],
    ids=["accents", "Arabic marks", "zero-width spaces", "joiners", "embeddings", "isolates"],
)
def test_a_pdf_of_characters_without_width_takes_linear_time(unit: str) -> None:
    def pdf(text: str) -> None:
        as_document("pdf", document(Segment(0.0, 1.0, f"\u05d0 {text}")))

    whole = unit * (4_000 // len(unit))
    assert slow(pdf, whole[:1_000], whole) == ""


def test_a_pdf_has_hebrew_beside_many_signs() -> None:
    assert as_document("pdf", document(Segment(0.0, 1.0, f"\u05d0{MANY_SIGNS} a {MANY_SIGNS}\u05d0")))


def test_letters_keep_their_marks_in_a_pdf() -> None:
    whole = "\u05d1\u05bc\u05b0\u0591 \u0915\u094d\u200d\u0937 \u1eed a\u0302\u0301"
    assert laid_out(whole) == whole


def _inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return stream


def test_a_pdf_without_a_font_for_its_script_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.transcripts.exports.fonts._installed", lambda: ())
    with pytest.raises(BadInput, match="fonts-droid-fallback") as caught:
        as_document("pdf", document(Segment(0.0, 1.0, "東京")))
    assert caught.value.code == "pdf_font_missing"


def test_ttml_has_timed_lines_and_their_speakers() -> None:
    told = as_ttml(SEGMENTS, title="Talk & more", language="en", layout=Layout(line_width=20, max_lines=2))
    root = ElementTree.fromstring(told.encode())  # noqa: S314  # our own file
    tt, ttm = "{http://www.w3.org/ns/ttml}", "{http://www.w3.org/ns/ttml#metadata}"
    assert root.get("{http://www.w3.org/XML/1998/namespace}lang") == "en"
    agents = {
        agent.get("{http://www.w3.org/XML/1998/namespace}id"): agent[0].text for agent in root.iter(f"{ttm}agent")
    }
    assert list(agents.values()) == ["Ana", "Бен"]
    cues = list(root.iter(f"{tt}p"))
    assert (cues[0].get("begin"), agents[cues[0].get(f"{ttm}agent")]) == ("00:00:00.500", "Ana")
    assert all(len(line) <= 20 for cue in cues for line in cue.itertext())
    assert "".join(cues[0].itertext()).startswith("Good morning,")

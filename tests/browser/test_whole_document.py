"""A recording made in the page becomes a document, and its speaker is known in the next recording."""

import re
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from docx import Document as open_docx

from tests.browser.conftest import Visit, Visitor, said
from tests.browser.test_recording import record
from tests.browser.test_transcribe import PAGE
from tests.clips import hearing
from tests.servers.chat import FakeChat
from tests.servers.running import running

pytestmark = pytest.mark.real_time


def text_of(docx: Path) -> str:
    """The text of a Word document, a line for each paragraph."""
    return "\n".join(paragraph.text for paragraph in open_docx(str(docx)).paragraphs)


def record_talk(visitor: Visitor, seconds: float) -> None:
    """Record this much of the talk, and wait for its transcript with two speakers."""
    page = visitor.page
    before = page.locator("#jobs .job[data-state=completed]").count()
    record(visitor, seconds)
    page.click("#record-stop")
    visitor.until("n => document.querySelectorAll('#jobs .job[data-state=completed]').length > n", before)
    page.click("#jobs .job[data-state=completed] .open >> nth=0")
    visitor.until("document.querySelectorAll('.speaker-row').length === 2")


def test_a_recording_becomes_a_document_and_its_speaker_is_known_again(visit: Visit, tmp_path: Path) -> None:
    speakers = pytest.importorskip("tests.speakers.test_speakers")
    # The longer sentences, four of each voice: enough speech for a voiceprint.
    voices = (speakers.WOMAN, speakers.MAN)
    talk, truth = speakers.conversation(*[(one, speakers.SENTENCES[2 + n % 2]) for n in range(4) for one in voices])
    seconds = truth[-1][1] + 1
    model = FakeChat(reply="**Time**\n- Two people talk [0:01].")
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(running(model.app())) as url:
        settings = {"LLM_ENGINE": "openai", "LLM_OPENAI_URL": f"{url}/v1"}
        with hearing(tmp_path, **settings) as service:
            visitor = visit(service.url + PAGE, microphone=said(talk, 60.0))
            page = visitor.page
            page.click("#options-summary")
            page.select_option("#job-options [name=language]", "en")
            page.check("#job-options [name=diarize]")
            page.select_option("#job-options [name=speakers]", "2")
            record_talk(visitor, seconds)
            assert page.locator(".who").all_text_contents() == [f"Speaker {letter}" for letter in "ABABABAB"]
            # Correct a word.
            page.locator("#transcript .word").first.dblclick()
            visitor.see(".segment[contenteditable]")
            page.keyboard.type("Corrected")
            with page.expect_response(re.compile("/edits$")):
                page.click("#result-name")
            visitor.see("#transcript .paragraph:has-text('Corrected')")
            # Name a speaker, and remember the voice.
            page.fill(".speaker-row >> nth=1 >> input", "Thomas")
            page.keyboard.press("Enter")
            visitor.see(".who:has-text('Thomas')")
            page.locator(".speaker-row").nth(1).get_by_text("Remember the voice").click()
            page.click("#consent >> text=Remember the voice >> nth=-1")
            assert page.is_visible("#consent"), "nothing is remembered without consent"
            page.check("#consent-given")
            page.click("#consent button[type=submit]")
            visitor.see("#voice-list li:has-text('Thomas')")
            # The language model reads the corrected transcript.
            page.click(".insight-actions >> text=Summary")
            visitor.see(".insight[data-state=completed] >> text=Two people talk")
            asked = str(model.requests[-1]["messages"])
            assert "Corrected" in asked
            assert "Thomas" in asked
            with page.expect_download() as download:
                page.click("#downloads >> text=DOCX")
            document = text_of(download.value.path())
            assert "Corrected" in document
            assert "Thomas" in document
            # The next recording of the same people.
            record_talk(visitor, seconds)
            page.click(".suggestion:has-text('Thomas')")
            visitor.see(".who:has-text('Thomas')")
            assert page.locator(".who").all_text_contents() == ["Speaker A", "Thomas"] * 4
            assert page.locator(".suggestion").count() == 0
            assert visitor.complaints == []

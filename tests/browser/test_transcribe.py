"""Transcribe in a real browser: uploads, their queue, and a transcript to read, play, search and save."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import FilePayload

from pipeline.audio.clip import encode_wav
from tests.browser.conftest import SIZES, Visit, Visitor
from tests.clips import hearing
from tests.in_process import in_process
from tests.jobs.conftest import recording
from tests.jobs.test_endpoints import HEARS, SAID, slow_recording, zipped
from tests.server_process import ServerProcess, constants, serving
from tests.servers import web as servers
from tests.servers.running import closed_port

pytestmark = pytest.mark.real_time
PAGE = "/ui#transcribe"
NAMELESS = """[...document.querySelectorAll('button, input, select, summary, [role], a, audio')].filter((element) => {
  if (!element.checkVisibility()) return false;
  const label = element.getAttribute('aria-label') ?? '';
  const labels = [...(element.labels ?? [])].map(({ textContent }) => textContent).join('');
  return !(label + labels + element.textContent).trim() && !['status', 'alert'].includes(element.role);
}).map((element) => element.outerHTML)"""
INSIDE = "[...document.querySelectorAll('.intake, .reading-room')].every((one) => one.scrollWidth <= one.clientWidth)"
"""Whether no part of the tab has to be scrolled horizontally."""
OUTLINE = """(() => {
  const canvas = document.querySelector('#waveform canvas');
  const { width, height } = canvas;
  const copy = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  const rows = Array.from({ length: height }, (_, y) => y);
  const painted = (x) => rows.filter((y) => data[4 * (y * width + x) + 3] > 0).length;
  return Array.from({ length: 100 }, (_, part) => {
    const x = Math.floor((part * width) / 100);
    return (100 * Math.max(painted(x), painted(x + 1))) / height; // one of them can be between two bars
  });
})()"""
"""The heights of the player's outline at each hundredth of the recording, in percent."""
DROP = """([kind, content]) => {
  const transfer = new DataTransfer();
  if (kind === 'file') transfer.items.add(new File([Uint8Array.from(content)], 'dropped.wav'));
  else transfer.setData('text/uri-list', content);
  const section = document.getElementById('transcribe');
  const seen = [];
  for (const type of ['dragenter', 'dragover', 'drop']) {
    section.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
    seen.push(section.classList.contains('dropping'));
  }
  return seen;
}"""


@pytest.fixture(scope="module")
def hears(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(tmp_path_factory.mktemp("transcribe"), **HEARS, API_KEYS="") as running:
        yield running


def give(visitor: Visitor, *files: tuple[str, bytes]) -> None:
    sent: list[FilePayload] = [
        {"name": name, "mimeType": "application/octet-stream", "buffer": data} for name, data in files
    ]
    visitor.page.set_input_files("#files", sent)


def row(name: str) -> str:
    return f".job:has(.name[title='{name}'])"


def reading(visit: Visit, server: ServerProcess, name: str, *numbers: int) -> Visitor:
    """A page with a recording, transcribed and open."""
    made = httpx.post(f"{server.url}/jobs", files={"files": (name, recording(*numbers))}, data={"language": "en"})
    visitor = visit(f"{server.url}{PAGE}/{made.json()['jobs'][0]['job_id']}")
    visitor.see("#transcript .word")
    return visitor


def test_files_and_a_zip_are_transcribed_and_one_is_read(hears: ServerProcess, visit: Visit) -> None:
    visitor = visit(hears.url + PAGE)
    give(visitor, ("first.wav", recording(0, 1)))
    visitor.see(f"{row('first.wav')}[data-state=completed]")
    visitor.see("#transcript .paragraph")  # a single recording is opened
    assert visitor.words("#result-name") == "first.wav"
    assert visitor.page.locator(".paragraph p").all_text_contents() == SAID[:2]
    assert re.search(r"0:\d\d long · English · transcribed by whisper", visitor.words("#result-about"))
    members = zipped(b=recording(2), a=recording(3), notes=b"read me")
    give(visitor, ("all.zip", members), ("bad.wav", b"no audio"))
    for name in ("b.wav", "a.wav"):
        visitor.see(f"{row(name)}[data-state=completed]")
    visitor.see(f"{row('bad.wav')}[data-state=failed]")
    assert "not audio" in visitor.words(f"{row('bad.wav')} .error")
    assert visitor.words("#result-name") == "first.wav"
    assert visitor.words("#uploads .job .words") == "skipped, not recordings: notes.wav"
    visitor.page.click("#uploads button.dismiss")
    visitor.until("document.querySelectorAll('#uploads .job').length === 0")
    visitor.page.click(f"{row('a.wav')} .open")
    visitor.see(f"#transcript:has-text('{SAID[3]}')")
    assert visitor.page.locator(".open[aria-current]").count() == 1
    visitor.page.go_back()
    visitor.see("#result-name:has-text('first.wav')")
    assert visitor.complaints == []


def test_ui_shows_transcribe_and_links_to_talk(hears: ServerProcess, visit: Visit) -> None:
    visitor = visit(hears.url + "/ui")
    visitor.see("#transcribe #files", state="attached")
    assert visitor.page.is_visible("#transcribe")
    visitor.page.click("#tabs a:has-text('Talk')")
    visitor.see("#talk")
    assert not visitor.page.is_visible("#transcribe")
    visitor.page.goto(hears.url + "/")
    visitor.see("#talk")
    assert visitor.complaints == []


def test_a_recording_is_heard_and_transcribed_again(hears: ServerProcess, visit: Visit) -> None:
    visitor = reading(visit, hears, "heard.wav", 4, 5, 6)
    page = visitor.page
    words = page.locator("#transcript .word")
    wanted = words.nth(words.count() - 2)
    at = float(wanted.get_attribute("data-at") or 0)
    wanted.click()
    visitor.until("at => document.getElementById('player').currentTime > at", at)
    visitor.see(".word.now")
    visitor.until("at => Number(document.querySelector('.word.now').dataset.at) >= at", at)
    page.click("#play")
    page.click(".time >> nth=0")
    visitor.until("document.getElementById('player').currentTime < 3")
    page.click("#play")

    def moved_to(seconds: float) -> None:
        assert page.evaluate("document.getElementById('player').currentTime") == pytest.approx(seconds, abs=0.2)

    # A click in the outline moves there. It is low in the silence of the first two seconds, and high after them.
    length = page.evaluate("document.getElementById('player').duration")
    box = page.locator("#waveform").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + 10)
    moved_to(0.8 * length)
    visitor.wait(lambda: max(page.evaluate(OUTLINE)[:70]) > 20, "the outline is drawn")
    outline = page.evaluate(OUTLINE)
    assert max(outline[: int(150 / length)]) < 10
    assert sum(tall > 20 for tall in outline[int(200 / length) : 70]) > 10
    # Five seconds back and ahead: by buttons, and by keys, also while a button of the player has the focus.
    page.click("#back-5")
    moved_to(0.8 * length - 5)
    page.click("#ahead-5")
    moved_to(0.8 * length)
    page.keyboard.press("ArrowLeft")
    moved_to(0.8 * length - 5)
    page.keyboard.press("ArrowRight")
    moved_to(0.8 * length)
    page.click("#back-5")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Space")
    visitor.until("!document.getElementById('player').paused")
    page.keyboard.press("Space")
    visitor.until("document.getElementById('player').paused")
    # The speed stays, also for the next recording.
    page.select_option("#speed", "1.5")
    assert page.evaluate("document.getElementById('player').playbackRate") == 1.5
    visitor.reload()
    visitor.until("document.getElementById('player').duration > 0")
    assert page.evaluate("document.getElementById('player').playbackRate") == 1.5
    # The same recording in another language, as a job of its own.
    first = page.url
    page.click("#again > summary")
    assert page.input_value("#again [name=language]") == "en", "the options of this job"
    page.select_option("#again [name=language]", "auto")
    page.click("#again >> text='Transcribe again'")
    visitor.wait(lambda: page.url != first)
    visitor.see(f"#transcript:has-text('{SAID[5]}')")
    assert httpx.get(f"{hears.url}/jobs/{page.url.rpartition('/')[2]}").json()["language"] is None
    visitor.see(f"{row('heard.wav')}[data-state=completed] .open[aria-current]")
    assert page.evaluate("document.getElementById('player').playbackRate") == 1.5
    assert visitor.complaints == []


def test_the_transcript_is_searched_copied_and_downloaded(hears: ServerProcess, visit: Visit) -> None:
    visitor = reading(visit, hears, "kept.wav", 0, 1, 2)
    page = visitor.page
    word = SAID[1].split()[-1]
    page.fill("#finding input", word.upper())
    assert re.fullmatch(r"1 of \d", visitor.words("#finding output"))
    assert page.evaluate("[...CSS.highlights.get('found-now')].map(String)") == [word]
    page.fill("#finding input", f"{SAID[2][:6]}")
    page.press("#finding input", "Enter")
    page.fill("#finding input", "words that are absent")
    assert visitor.words("#finding output") == "not found"
    for kind, begin in (("TXT", SAID[0]), ("SRT", "1\n00:00:0"), ("VTT", "WEBVTT"), ("JSON", '{"text"')):
        with page.expect_download() as download:
            page.click(f"#downloads >> text={kind}")
        assert download.value.suggested_filename == f"kept.{kind.lower()}"
        assert Path(download.value.path()).read_text("utf-8").startswith(begin)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#copy")
    visitor.see("#copy:has-text('Copied.')")
    assert page.evaluate("navigator.clipboard.readText()") == "\n\n".join(SAID[:3])
    page.click(".paragraph >> nth=1 >> .copy")
    visitor.wait(lambda: page.evaluate("navigator.clipboard.readText()") == SAID[1])
    assert page.text_content("#announcer") == "Copied."
    assert visitor.complaints == []


def test_a_job_is_watched_cancelled_retried_and_deleted(hears: ServerProcess, visit: Visit) -> None:
    visitor = visit(hears.url + PAGE)
    page = visitor.page
    give(visitor, ("slow.flac", slow_recording(5, count=72)), ("behind.wav", recording(6)))
    slow = row("slow.flac")
    visitor.see(f"{slow}[data-state=processing] [role=progressbar]")
    visitor.see(f"{row('behind.wav')}[data-state=queued]")
    visitor.see("#counts:has-text('1 waiting, 1 in progress')")
    visitor.until("document.querySelector('.job [role=progressbar]:not([hidden])').ariaValueNow > 5")
    page.click(f"{slow} .open")
    visitor.see("#partial:visible")
    assert any(sentence in visitor.words("#partial") for sentence in SAID)
    visitor.see("#result-state:has-text('left.')")
    assert re.search(r" % · about \d+:\d\d left · ", visitor.words(f"{slow} .words"))
    page.click(f"{slow} >> text=Cancel")
    visitor.see(f"{slow}[data-state=cancelled]")
    assert not page.is_visible("#partial")
    assert page.evaluate("document.activeElement.textContent") == "Retry"
    visitor.see(f"{row('behind.wav')}[data-state=completed]")
    page.click(f"{slow} >> text=Retry")
    visitor.see(f"{slow}[data-state=processing]")
    page.click(f"{slow} >> text=Cancel")
    page.click(f"{slow} >> text=Delete")
    page.click(f"{slow} >> text=Really delete?")
    visitor.see(slow, state="detached")
    page.reload()
    visitor.see(row("behind.wav"))
    assert page.locator(slow).count() == 0
    assert visitor.complaints == []


def test_a_job_that_was_created_elsewhere_appears(hears: ServerProcess, visit: Visit) -> None:
    visitor = visit("about:blank", clock=True, starts=False)
    visitor.page.clock.install()  # the list looks for them every ten seconds
    visitor.page.goto(hears.url + PAGE)
    visitor.started()
    visitor.see("#counts", state="attached")
    visitor.until("!document.getElementById('choose-jobs').hidden || !document.getElementById('no-jobs').hidden")
    sent = httpx.post(f"{hears.url}/jobs", files={"files": ("elsewhere.wav", recording(5))}, timeout=60)
    assert sent.status_code == 202
    visitor.page.clock.fast_forward(10_000)
    visitor.see(f"{row('elsewhere.wav')}[data-state=completed]")
    httpx.delete(f"{hears.url}/jobs/{sent.json()['jobs'][0]['job_id']}")
    visitor.page.clock.fast_forward(10_000)
    visitor.see(row("elsewhere.wav"), state="detached")
    assert visitor.complaints == []


def test_a_url_is_fetched_and_a_bad_url_is_reported(hears: ServerProcess, visit: Visit) -> None:
    visitor = visit(hears.url + PAGE)
    page = visitor.page
    page.fill("#url", "http://10.0.0.1/private.wav")
    page.press("#url", "Enter")
    visitor.see("#jobs-trouble:has-text('only public')")
    with servers.serving() as web:
        web.data = recording(7)
        page.fill("#url", f"{web.address}/talk.wav")
        page.click("#url-send")
        visitor.see(f"{row('talk.wav')}[data-state=completed]")
        assert page.input_value("#url") == ""
        visitor.see("#jobs-trouble", state="hidden")
        visitor.see(f"#transcript:has-text('{SAID[7]}')")
        web.data = recording(8)
        assert page.evaluate(DROP, ["url", f"{web.address}/dragged.wav"]) == [True, True, False]
        visitor.see(f"{row('dragged.wav')}[data-state=completed]")
    page.evaluate(DROP, ["file", list(recording(9))])
    visitor.see(f"{row('dropped.wav')}[data-state=completed]")
    assert [one for one in visitor.complaints if "400" not in one] == []


def test_options_are_sent_remembered_and_shown(hears: ServerProcess, visit: Visit) -> None:
    visitor = visit(hears.url + PAGE)
    page = visitor.page
    page.click("#options-summary")
    page.select_option("#job-options [name=language]", "en")
    assert page.is_hidden("#job-options [name=speakers]")
    page.check("#job-options [name=diarize]")
    page.select_option("#job-options [name=speakers]", "2")
    assert visitor.words("#options-summary") == "Options: English, Who said what (2)"
    with page.expect_response(re.compile("/jobs$")) as answer:
        give(visitor, ("wanted.wav", recording(0)))
    [made] = answer.value.json()["jobs"]
    job = httpx.get(f"{hears.url}/jobs/{made['job_id']}").json()
    assert (job["language"], job["diarize"]) == ("en", True)
    visitor.reload()
    assert visitor.words("#options-summary") == "Options: English, Who said what (2)"


def test_speakers_are_not_offered_where_no_engine_tells_them_apart(visit: Visit, tmp_path: Path) -> None:
    with in_process(tmp_path, **constants({"pipeline.transcripts.speakers:AUTO_ORDER": ["pyannote"]})) as running:
        visitor = visit(running.url + PAGE)
        visitor.page.click("#options-summary")
        visitor.see("#job-options :has(> [name=diarize]:disabled) >> text=make install EXTRAS=speakers")
        assert visitor.page.is_hidden("#job-options [name=speakers]")
        give(visitor, ("plain.wav", recording(0)))
        visitor.see(f"{row('plain.wav')}[data-state=completed]")
        assert visitor.complaints == []


def test_speakers_are_distinguished_and_named(hears: ServerProcess, visit: Visit) -> None:
    speakers = pytest.importorskip("tests.speakers.test_speakers")
    talk, truth = speakers.conversation(
        *[(voice, speakers.SENTENCES[n]) for n, voice in enumerate((speakers.WOMAN, speakers.MAN, speakers.WOMAN))]
    )
    fields = {"language": "en", "diarize": "true", "min_speakers": "2", "max_speakers": "2"}
    made = httpx.post(f"{hears.url}/jobs", files={"files": ("two.wav", encode_wav(talk))}, data=fields).json()
    job_id = made["jobs"][0]["job_id"]
    visitor = visit(f"{hears.url}{PAGE}/{job_id}")
    visitor.see("#speakers input")
    assert visitor.page.locator(".who").all_text_contents() == ["Speaker A", "Speaker B", "Speaker A"]
    assert len(truth) == 3
    colors = visitor.page.locator(".paragraph").evaluate_all("all => all.map((one) => one.dataset.color)")
    assert colors == ["1", "2", "1"]
    visitor.page.fill("#speaker-list .speaker-row:nth-child(2) input", "Benjamín")
    with visitor.page.expect_response(re.compile("/edits$")):
        visitor.page.keyboard.press("Enter")
    visitor.see(".who:has-text('Benjamín')")
    assert visitor.page.locator(".who").all_text_contents() == ["Speaker A", "Benjamín", "Speaker A"]
    visitor.page.reload()
    visitor.see(".who:has-text('Benjamín')")
    assert "[Benjamín]" in httpx.get(f"{hears.url}/jobs/{job_id}/download").text
    row = visitor.page.locator(".speaker-row").nth(1)
    row.locator("select").select_option("A")
    row.locator("button:has-text('Merge')").click()
    visitor.until("document.querySelectorAll('.speaker-row').length === 1")
    assert set(visitor.page.locator(".who").all_text_contents()) == {"Speaker A"}
    assert visitor.complaints == []


def test_a_transcript_is_edited_in_place_and_undone(hears: ServerProcess, visit: Visit) -> None:
    visitor = reading(visit, hears, "edited.wav", 0, 1)
    page = visitor.page
    job_id = page.url.rpartition("/")[2]

    def srt() -> str:
        return httpx.get(f"{hears.url}/jobs/{job_id}/download?format=srt").text

    # Text contents, here and below: a paragraph's inner text is empty until the browser has drawn it.
    paragraphs = page.locator("#transcript .paragraph p")
    paragraphs.nth(1).locator(".word").first.dblclick()
    visitor.see(".segment[contenteditable]")
    page.keyboard.type("Corrected")
    page.route(
        "**/edits", lambda route: route.fulfill(status=429, json={"error": {"code": "overloaded", "message": ""}})
    )
    page.click("#result-name")
    visitor.see("#result-trouble")
    visitor.see(".segment[contenteditable]:has-text('Corrected')")  # typed words are not lost
    page.unroute("**/edits")
    with page.expect_response(re.compile("/edits$")):
        page.click("#result-name")
    corrected = f"Corrected {SAID[1].split(' ', 1)[1]}"
    visitor.until("text => document.querySelectorAll('#transcript p')[1].textContent === text", corrected)
    assert corrected in srt()
    page.keyboard.press("Control+z")
    visitor.until("text => document.querySelectorAll('#transcript p')[1].textContent === text", SAID[1])
    assert SAID[1] in srt()
    page.click("#redo")
    visitor.until("text => document.querySelectorAll('#transcript p')[1].textContent === text", corrected)
    page.locator(".paragraph .edit").nth(1).click()
    page.keyboard.press("Home")
    page.keyboard.press("Backspace")  # joins both paragraphs
    visitor.until("document.querySelectorAll('#transcript .paragraph').length === 1")
    page.click("#versions summary")
    page.click("#version-list li:last-child button")
    visitor.until("document.querySelectorAll('#transcript .paragraph').length === 2")
    assert paragraphs.all_text_contents() == SAID[:2]
    # Split after the first word, and join again.
    begin, rest = SAID[0].split(" ", 1)
    page.locator(".paragraph .edit").first.click()
    page.keyboard.press("Home")
    for _ in begin:
        page.keyboard.press("ArrowRight")
    page.click(".edit-bar >> text=Split here")
    visitor.until("document.querySelectorAll('#transcript .paragraph').length === 3")
    assert paragraphs.all_text_contents() == [begin, rest, SAID[1]]
    page.locator(".paragraph .edit").nth(1).click()
    page.click(".edit-bar >> text=Join with previous")
    visitor.until("document.querySelectorAll('#transcript .paragraph').length === 2")
    assert paragraphs.all_text_contents() == SAID[:2]
    # A new speaker.
    page.locator(".paragraph .edit").nth(1).click()
    assert page.is_disabled(".edit-bar >> text=Set speaker")
    page.select_option(".edit-bar select", label="New speaker")
    page.click(".edit-bar >> text=Set speaker")
    visitor.see(".paragraph:has-text('Speaker A') >> nth=0")
    assert page.locator(".paragraph .who").all_text_contents() == ["Speaker A"]
    assert page.locator(".speaker-row").count() == 1
    assert "[A]: " in httpx.get(f"{hears.url}/jobs/{job_id}/download").text
    page.keyboard.press("Control+z")
    visitor.until("document.querySelectorAll('.who, .speaker-row').length === 0")
    assert [one for one in visitor.complaints if "429" not in one] == []


def test_every_request_sends_the_key(tmp_path: Path, visit: Visit) -> None:
    with hearing(tmp_path, API_KEYS="right") as server:
        visitor = visit(server.url + PAGE)
        page = visitor.page
        visitor.see("#sign-in[open]:has-text('needs an access key')")
        page.click("#sign-in-later")
        page.click("#jobs-trouble:has-text('access key') >> text=Sign in")
        visitor.sign_in("right")
        visitor.see("#no-jobs")
        visitor.see("#jobs-trouble", state="hidden")
        give(visitor, ("secret.wav", recording(0)))
        visitor.see("#transcript .word")
        visitor.until("document.getElementById('player').duration > 1")
        page.click(".word >> nth=1")
        visitor.until("document.getElementById('player').currentTime > 0")
        with page.expect_download() as download:
            page.click("#downloads >> text=TXT")
        assert download.value.suggested_filename == "secret.txt"
        assert Path(download.value.path()).read_text("utf-8") == f"{SAID[0]}\n"
        page.click("#settings summary")
        page.click("#sign-in-open")
        page.click("#sign-out")
        visitor.see("#sign-in[open]:has-text('needs an access key')")
        assert page.locator(".job, .word").count() == 0, "what was read with the key is gone"
        assert [one for one in visitor.complaints if "401" not in one] == []


def test_transcribe_recovers_after_the_service_was_away(tmp_path: Path, visit: Visit) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir()
    port = str(closed_port())
    with serving(folder, **HEARS, JOB_WORKERS="0", PORT=port) as server:
        visitor = visit(server.url + PAGE)
        visitor.see("#no-jobs")
        give(visitor, ("kept.wav", recording(0)))
        visitor.see(f"{row('kept.wav')}[data-state=queued]")
    give(visitor, ("late.wav", recording(1)))
    visitor.see("#uploads .job[data-state=failed]")
    assert "does not answer" in visitor.words("#uploads .error")
    with serving(folder, **HEARS, PORT=port):
        visitor.see(f"{row('kept.wav')}[data-state=completed]")
        visitor.page.click("#uploads >> text=Retry")
        visitor.see(f"#jobs {row('late.wav')}[data-state=completed]")
        visitor.see("#jobs-trouble", state="hidden")


def test_old_jobs_are_found_by_name_and_by_paging(tmp_path: Path, visit: Visit) -> None:
    with in_process(tmp_path, JOB_WORKERS="0") as server:
        sound = recording(0)
        with httpx.Client(base_url=server.url) as client:
            for start in range(0, 60, 10):
                files = [("files", (f"talk {number}.wav", sound)) for number in range(start, start + 10)]
                client.post("/jobs", files=files).raise_for_status()
        visitor = visit(server.url + PAGE)
        visitor.see(row("talk 59.wav"))
        assert visitor.page.locator("#jobs .job").count() == 50
        visitor.page.click("#older")
        visitor.see(row("talk 0.wav"))
        names = visitor.page.locator("#jobs .name").all_inner_texts()
        assert names == [f"talk {number}.wav" for number in reversed(range(60))]
        visitor.page.fill("#jobs-search", "TALK 1")
        visitor.until("document.querySelectorAll('#jobs .job').length === 11")
        visitor.page.fill("#jobs-search", "none of it")
        visitor.see("#no-jobs:has-text('none of it')")
        visitor.page.fill("#jobs-search", "")
        visitor.until("document.querySelectorAll('#jobs .job').length === 50")
        visitor.see("#counts:has-text('60 waiting')")
        assert visitor.complaints == []


def test_transcribe_fits_and_every_control_has_a_name(hears: ServerProcess, visit: Visit, tmp_path: Path) -> None:
    visitor = visit(hears.url + PAGE, language="pt-BR")
    page = visitor.page
    visitor.until("document.querySelectorAll('#engines .stage').length === 3")
    page.click("#options-summary")
    give(visitor, ("no sound.wav", b"none"))
    visitor.see(f"{row('no sound.wav')}[data-state=failed]")
    fits(visitor, tmp_path / "list")
    name = "a recording with a very long name that goes on, and_on_without_any_blank.wav"
    give(visitor, (name, recording(0, 1, 2)))
    page.set_viewport_size({"width": SIZES[0][0], "height": SIZES[0][1]})
    visitor.see(f"{row(name)}[data-state=completed]")
    page.click(f"{row(name)} .open")
    visitor.see("#transcript .word")
    page.fill("#finding input", SAID[0].split()[0])
    fits(visitor, tmp_path / "reading")
    assert visitor.complaints == []


def fits(visitor: Visitor, picture: Path) -> None:
    """Check that Transcribe fits in each size, and that every control has a name."""
    page = visitor.page
    assert page.evaluate(NAMELESS) == []
    ids = "[...document.querySelectorAll('[id]')].map(({ id }) => id)"
    assert page.evaluate(f"new Set({ids}).size === {ids}.length")
    visitor.fits(picture, INSIDE)


def test_transcribe_works_with_the_keyboard_and_leaves_talk_alone(hears: ServerProcess, visit: Visit) -> None:
    visitor = reading(visit, hears, "keys.wav", 3)
    page = visitor.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to choosing files"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "choose"
    assert page.url.split("#")[1].startswith("transcribe/")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Space")
    assert page.get_attribute("#talk", "data-state") == "off"
    page.focus(f"{row('keys.wav')} .open >> nth=0")
    page.keyboard.press("Enter")
    page.focus(".time")
    page.keyboard.press("Enter")
    visitor.until("!document.getElementById('player').paused")
    page.click("nav >> text=Talk")
    visitor.see("#press")
    assert json.loads(page.evaluate("JSON.stringify(location.hash)")) == "#talk"
    assert visitor.complaints == []

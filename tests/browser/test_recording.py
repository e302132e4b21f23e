"""Recording in a real browser, shared files, checks before an upload, devices, voices, and better models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import FilePayload, Page, Route

from pipeline.audio.decode import decode_blocking
from server.ops import upgrades
from tests.browser.conftest import SHARED_TAB, Visit, Visitor, said
from tests.browser.test_transcribe import PAGE, fits, give, row
from tests.in_process import in_process
from tests.jobs.conftest import recording
from tests.server_process import Service, constants
from tests.servers import package_index
from tests.servers.package_index import packed
from tests.test_model_index import known

pytestmark = pytest.mark.real_time
LIVE = "#record-live:not([hidden])"
LEVEL = "Number(document.getElementById('record-level').ariaValueNow)"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with in_process(tmp_path_factory.mktemp("recording"), heard="The heron waits.") as running:
        yield running


def jobs(service: Service) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = httpx.get(f"{service.url}/jobs").json()["items"]
    return items


def record(visitor: Visitor, seconds: float) -> None:
    """Start a recording, and wait until it has this length."""
    visitor.page.click("#record")
    visitor.see("#record-stop, #record-trouble:visible")
    assert visitor.words("#record-trouble") == ""
    visitor.until(f"import('/web/app.js').then(({{ transcribe }}) => transcribe.recording.kept?.seconds > {seconds})")


def test_a_recording_survives_a_reload_and_a_failed_upload(service: Service, visit: Visit, tmp_path: Path) -> None:
    visitor = visit(service.url + PAGE, microphone=said(0.3, "what_time_is_it", "what_is_two_plus_three", 60.0))
    page = visitor.page
    page.click("#record")
    visitor.until(f"{LEVEL} > 20")
    visitor.until('document.title === "● Transcribe · Parley"')
    page.click("#record-pause")
    before = page.inner_text("#record-time")
    page.wait_for_timeout(1200)
    assert page.inner_text("#record-live p").split() == ["Paused", before]
    page.click("#record-pause")
    page.click("nav >> text=Talk")
    visitor.see("#recording-mark")
    page.click("#recording-mark")
    fits(visitor, tmp_path / "recording")
    visitor.until("import('/web/app.js').then(({ transcribe }) => transcribe.recording.kept.seconds > 3)")
    with page.expect_event("dialog") as warning:
        page.once("dialog", lambda dialog: dialog.accept())
        page.reload()
    assert warning.value.type == "beforeunload"
    visitor.see("#kept .job:has-text('not sent yet')")
    page.route("**/jobs", lambda route: route.abort() if route.request.method == "POST" else route.continue_())
    page.click("#kept >> text=Transcribe")
    visitor.see("#uploads .job[data-state=failed]")
    with page.expect_download() as download:
        page.click("#uploads >> text=Download")
    assert download.value.suggested_filename.startswith("Recording 2")
    assert decode_blocking(Path(download.value.path()).read_bytes(), max_seconds=60).seconds > 2
    page.unroute("**/jobs")
    page.click("#uploads >> text=Dismiss")
    page.click("#kept >> text=Transcribe")  # it is kept until it is sent
    visitor.see("#jobs .job[data-state=completed]")
    assert page.locator("#kept .job").count() == 0
    [job] = jobs(service)
    assert job["filename"] == download.value.suggested_filename
    assert job["duration"] > 2
    page.reload()
    visitor.see("#jobs .job[data-state=completed]")
    assert page.locator("#kept .job").count() == 0, "it is with the service"
    assert [one for one in visitor.complaints if "ERR_FAILED" not in one] == []


def test_a_tab_and_the_microphone_are_recorded_together(service: Service, visit: Visit) -> None:
    # Without the flag that grants the microphone, which would replace the tab by a test picture.
    visitor = visit(service.url + PAGE, microphone=said("what_time_is_it", 60.0), refused=True)
    page = visitor.page
    page.context.grant_permissions(["microphone"])
    shared = page.context.new_page()
    shared.goto(f"{service.url}/docs")
    shared.evaluate("title => { document.title = title; }", SHARED_TAB)
    page.bring_to_front()
    page.select_option("#record-source", "both")
    record(visitor, 1)
    shared.close()
    visitor.see("#record-trouble:has-text('One of the two sounds has ended')")
    visitor.see(LIVE)
    name = page.evaluate("import('/web/app.js').then(({ transcribe }) => transcribe.recording.kept.name)")
    page.click("#record-stop")
    visitor.see(f"{row(name)}[data-state=completed]")


def test_the_services_limits_and_types_count_before_an_upload(visit: Visit, tmp_path: Path) -> None:
    with in_process(tmp_path, MAX_FILE_SIZE="280000") as service:
        talk = said(*["what_time_is_it", "what_is_two_plus_three"] * 5, 60.0)
        visitor = visit(service.url + PAGE, microphone=talk, language="de-DE")
        page = visitor.page
        visitor.until("import('/web/app.js').then(({ transcribe }) => transcribe.limits.file_bytes === 280000)")
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
        give(visitor, ("long.wav", bytes(300_000)), ("empty.wav", b""))
        picture: FilePayload = {"name": "cat.png", "mimeType": "image/png", "buffer": b"\x89PNG"}
        page.set_input_files("#files", picture)
        assert visitor.words(f"{row('long.wav')} .error") == "Die Datei hat 293 KB; der Dienst nimmt 273 KB an."
        assert visitor.words(f"{row('empty.wav')} .error") == "Die Datei ist leer."
        assert visitor.words(f"{row('cat.png')} .error") == "Das ist keine Aufnahme."
        assert page.locator("#uploads button").all_inner_texts() == ["Ausblenden"] * 3
        assert sent == []
        page.click("#record")
        visitor.see("#record-trouble:has-text('Grenze des Dienstes')")  # it ends by itself
        visitor.see("#jobs .job[data-state=completed]")
        assert visitor.complaints == []


def test_a_recording_ends_at_the_services_time_limit(visit: Visit, tmp_path: Path) -> None:
    limit = {"pipeline.settings.service:LONGEST_S": 4.0, "pipeline.settings.service:BYTES_A_SECOND": 2**30}
    with in_process(tmp_path, **constants(limit)) as service:
        visitor = visit(service.url + PAGE, microphone=said("what_time_is_it", 60.0))
        page = visitor.page
        visitor.until("import('/web/app.js').then(({ transcribe }) => transcribe.limits.file_seconds === 4)")
        page.click("#record")
        visitor.see("#record-trouble:has-text('limit')")
        visitor.see("#jobs .job[data-state=completed]")
        assert 2.5 < jobs(service)[0]["duration"] <= 4
        assert page.is_visible("#record-idle")
        record(visitor, 0.5)  # another one in the same page
        page.click("#record-stop")
        visitor.until("document.querySelectorAll('#jobs .job[data-state=completed]').length === 2")
        assert page.inner_text("#record-trouble") == ""
        assert visitor.complaints == []


def test_a_recording_that_cannot_be_kept_is_offered_again(service: Service, visit: Visit) -> None:
    visitor = visit(service.url)
    page = visitor.page
    page.add_init_script("delete Window.prototype.indexedDB; delete window.indexedDB")
    page.goto(service.url + PAGE)
    visitor.reload()
    record(visitor, 2.5)
    visitor.see("#record-trouble:has-text('leave this page open')")
    page.route("**/jobs", lambda route: route.abort() if route.request.method == "POST" else route.continue_())
    page.evaluate("import('/web/audio.js').then(async ({ openAudio }) => (await openAudio()).suspend())")
    visitor.until("import('/web/audio.js').then(async ({ openAudio }) => (await openAudio()).state === 'running')")
    page.click("#record-stop")
    page.click("#uploads >> text=Dismiss")
    visitor.see("#kept .job:has-text('not sent yet')")
    page.unroute("**/jobs")
    page.focus("#kept .sendRecording")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(300)
    assert page.evaluate("document.activeElement.className") == "sendRecording", "the row stayed"
    page.keyboard.press("Enter")
    visitor.see("#jobs .job[data-state=completed]")
    visitor.until("import('/web/app.js').then(({ transcribe }) => transcribe.recording.unkept.size === 0)")
    assert page.locator("#kept .job").count() == 0
    assert page.inner_text("#record-trouble") == ""
    assert [one for one in visitor.complaints if "ERR_FAILED" not in one] == []


def test_an_error_of_the_browser_itself_is_shown(service: Service, visit: Visit) -> None:
    visitor = visit(service.url + PAGE)
    page = visitor.page
    page.evaluate("void (MediaRecorder.prototype.start = () => { throw new DOMException('no', 'NotSupportedError'); })")
    page.click("#record")
    visitor.see("#record-trouble:has-text('could not be started')")
    assert visitor.complaints == []


def share(page: Page, service: Service, words: str = "", *files: FilePayload) -> None:
    """Post files or words as a phone does when another program shares them; any page can do this, too."""
    page.goto("about:blank")
    page.set_content(
        f"<form action='{service.url}/share' method='post' enctype='multipart/form-data'>"
        "<input type='file' name='files' multiple><input name='text'><button>Share</button></form>"
    )
    page.set_input_files("[name=files]", files)
    page.fill("[name=text]", words)
    with page.expect_navigation(url="**/ui#transcribe"):
        page.click("button")


def test_a_shared_file_is_offered_and_sent_only_on_request(service: Service, visit: Visit) -> None:
    visitor = visit(service.url, shares=True)
    page = visitor.page
    manifest = httpx.get(f"{service.url}/web/manifest.webmanifest").json()
    assert manifest["share_target"]["action"] == "../share"
    visitor.until("navigator.serviceWorker.ready.then(({ active }) => active.state === 'activated')")
    before = len(jobs(service))
    file: FilePayload = {"name": "voice message.wav", "mimeType": "audio/wav", "buffer": recording(0)}
    share(page, service, "", file)
    visitor.see("#shared .job:has-text('voice message.wav')")
    assert page.url == f"{service.url}/ui#transcribe"
    assert len(jobs(service)) == before
    share(page, service, "nothing to keep")  # the file waits
    page.evaluate(
        "void (XMLHttpRequest.prototype.send = function () { this.dispatchEvent(new ProgressEvent('error')) })"
    )
    page.click("#shared >> text=Transcribe")
    visitor.see("#uploads .job[data-state=failed]")
    page.reload()  # it was not sent
    page.click("#shared >> text=Transcribe")
    visitor.see(f"#jobs {row('voice message.wav')}[data-state=completed]")
    visitor.until("caches.open('parley.shared').then((cache) => cache.keys()).then((keys) => !keys.length)")
    page.reload()
    visitor.see(row("voice message.wav"))
    assert page.locator("#shared .job").count() == 0
    share(page, service, "Listen to this: https://example.org/a.mp3.")
    visitor.until("document.getElementById('url')?.value === 'https://example.org/a.mp3'")
    answer = httpx.post(f"{service.url}/share", content=bytes(1_000_000))  # as without the service worker
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui#transcribe")
    assert [one for one in visitor.complaints if "ERR_FAILED" not in one] == []


def test_voices_are_played_and_devices_are_chosen(service: Service, visit: Visit) -> None:
    visitor = visit(service.url + PAGE, whole=True)  # the shell forgets the devices' ids at each load
    page = visitor.page
    page.click("#settings summary")
    page.select_option("#voice", "woman")
    page.evaluate(
        """(() => {
          const play = HTMLMediaElement.prototype.play;
          HTMLMediaElement.prototype.play = function () {
            HTMLMediaElement.prototype.play = play;
            return Promise.reject(new DOMException("too long after the press", "NotAllowedError"));
          };
        })()"""
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.post_data or "") if "speech" in request.url else None)
    page.click("#voice-play")
    visitor.see("#voice-trouble:has-text('press again')")
    page.click("#voice-play")
    [body] = asked
    assert '"voice":"woman"' in body
    visitor.see("#voice-play:has-text('Stop')")
    visitor.see("#voice-play:has-text('Play a sample')")  # it has ended
    assert page.inner_text("#voice-trouble") == ""
    visitor.until("document.querySelectorAll('[name=microphone] option').length > 2")
    page.select_option("[name=microphone]", label="Fake Audio Input 2")
    page.select_option("[name=loudspeaker_device]", label="Fake Audio Output 2")
    page.reload()
    visitor.until("document.querySelectorAll('[name=microphone] option').length > 2")
    chosen = "[name=microphone], [name=loudspeaker_device]"
    assert page.locator(chosen).evaluate_all("all => all.map(({ selectedOptions }) => selectedOptions[0].text)") == [
        "Fake Audio Input 2",
        "Fake Audio Output 2",
    ]
    page.evaluate(
        "localStorage.setItem('parley.devices', JSON.stringify({ microphone: 'unplugged', loudspeaker: '' }))"
    )
    page.reload()
    visitor.until("document.querySelectorAll('[name=microphone] option').length > 2")
    page.click("#settings summary")
    page.select_option("[name=loudspeaker_device]", label="Fake Audio Output 2")
    assert page.evaluate("JSON.parse(localStorage.getItem('parley.devices')).microphone") == "unplugged"
    visitor.until("document.getElementById('player').sinkId !== ''")  # recordings are played on it, too
    page.select_option("[name=microphone]", label="Fake Audio Input 2")
    record(visitor, 0.5)
    tracks = "transcribe.recording.recorder.streams[0].getAudioTracks()[0].label"
    assert page.evaluate(f"import('/web/app.js').then(({{ transcribe }}) => {tracks})") == "Fake Audio Input 2"
    page.click("#record-stop")
    assert visitor.complaints == []


def test_a_better_model_is_installed_from_the_card(
    visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with package_index.serve() as index, in_process(tmp_path, MODEL_SOURCES="index") as service:
        monkeypatch.setenv("PIP_INDEX_URL", index.address)
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_RETRIES", "0")
        known(monkeypatch, packed(index, "tested", {"weights.bin": bytes(3000)}))
        monkeypatch.setitem(upgrades.BETTER, ("stt", "scripted"), ("tested",))
        visitor = visit(service.url)
        page = visitor.page
        page.route("**/upgrades/*", lambda route: route.fulfill(status=401))
        page.click("#upgrades >> text=Download")
        visitor.see("#upgrades:has-text('This service needs an access key.')")
        page.unroute("**/upgrades/*")
        downloading = {"state": "downloading", "done": 10, "total": 100}
        states: list[int | dict[str, Any]] = [downloading, 502, downloading | {"done": 60}, 502]

        def answer(route: Route) -> None:
            if not states:
                route.continue_()
            elif isinstance(now := states.pop(0), int):
                route.fulfill(status=now)
            else:
                told = httpx.get(f"{service.url}/upgrades").json()
                told["models"][0] |= now
                route.fulfill(json=told)

        page.route("**/upgrades", answer)
        page.click("#upgrades >> text=Download")
        visitor.see("#upgrades:has-text('60 %')")  # although the request before has failed
        assert page.evaluate("document.activeElement.parentElement.id") == "upgrades", "the focus stays in the row"
        visitor.see("#upgrades:has-text('Installed. Restart the service to use it.')")
        assert page.text_content("#announcer") == "tested: Installed. Restart the service to use it."
        assert page.evaluate("document.activeElement.parentElement.id") == "upgrades"
        assert (tmp_path / "models" / "tested" / "weights.bin").stat().st_size == 3000
        assert [one for one in visitor.complaints if "status of 502" not in one and "status of 401" not in one] == []

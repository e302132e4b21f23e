"""The library in a real browser: search in all transcripts, names, tags and pins, several jobs at once, insights."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from tests.browser.conftest import Visit
from tests.browser.test_transcribe import NAMELESS, PAGE, fits, row
from tests.in_process import in_process
from tests.jobs.conftest import recording
from tests.jobs.test_endpoints import done
from tests.server_process import Service
from tests.servers.chat import FakeChat
from tests.servers.running import running

pytestmark = pytest.mark.real_time
SAID = "The heron waits by the river."


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    model = FakeChat(reply="**Birds**\n- A heron waits [0:01].")
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(running(model.app())) as url:
        settings = {"LLM_ENGINE": "openai", "LLM_OPENAI_URL": f"{url}/v1", "JOB_KEEP_HOURS": "144"}
        with in_process(tmp_path_factory.mktemp("library"), heard=SAID, **settings) as started:
            with httpx.Client(base_url=started.url, timeout=60) as client:
                for name in ("a.wav", "b.wav", "c.wav"):
                    made = client.post("/jobs", files={"files": (name, recording(0))}).json()
                    done(client, made["jobs"][0]["job_id"], "completed")
            yield started


def test_the_library_is_searched_arranged_and_cleared(service: Service, visit: Visit, tmp_path: Path) -> None:
    visitor = visit(service.url + PAGE)
    page = visitor.page
    visitor.see(f"{row('a.wav')}:has-text('deleted in 6 days')")
    page.fill("#jobs-search", "RIVER")
    visitor.until("document.querySelectorAll('.snippet').length === 3")
    assert visitor.words(".snippet mark >> nth=0") == "river"
    page.click(".hit:has-text('a.wav') .snippet")
    visitor.see("#result-name:has-text('a.wav')")
    visitor.until("!document.getElementById('player').paused")
    page.fill("#jobs-search", "")
    # Name, tag and pin.
    page.click("#shelf >> text=Rename")
    page.fill(".new-name", "heron.wav")
    page.press(".new-name", "Enter")
    visitor.see(row("heron.wav"))
    page.fill(".add-tag input", "birds")
    page.press(".add-tag input", "Enter")
    page.click("#shelf >> text=Pin")
    visitor.see(f"{row('heron.wav')}:has-text('pinned') .tag:has-text('birds')")
    assert "deleted" not in visitor.words(row("heron.wav"))
    page.select_option("#jobs-filter", label="birds (1)")
    visitor.until("document.querySelectorAll('#jobs .job').length === 1")
    page.select_option("#jobs-filter", index=0)
    visitor.until("document.querySelectorAll('#jobs .job').length === 3")
    # The language model.
    page.click(".insight-actions >> text=Summary")
    visitor.see(".insight[data-state=completed] >> text=Birds")
    assert visitor.words(".insight-text p >> nth=1") == "• A heron waits 0:01."
    page.click(".insight-text .time")
    visitor.until("document.getElementById('player').currentTime >= 1")
    assert page.evaluate(NAMELESS) == []
    fits(visitor, tmp_path / "arranged")
    # Several at once.
    page.set_viewport_size({"width": 1100, "height": 800})
    page.click("#choose-jobs")
    page.click("#selection >> text=All")
    assert visitor.words("#selection output") == "3 selected"
    with page.expect_download() as download:
        page.click("#selection >> text=Download")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert sorted(archive.namelist()) == ["b.txt", "c.txt", "heron.txt"]
    page.uncheck(f"{row('heron.wav')} .chosen")
    page.click("#selection >> text=Delete")
    page.click("#selection >> text=Really delete?")
    visitor.until("document.querySelectorAll('#jobs .job').length === 1")
    visitor.see(row("heron.wav"))
    assert visitor.complaints == []

"""The page's Status tab: what it shows of the running service, and to which callers."""

from pathlib import Path

import httpx
import pytest

from tests.browser.conftest import Visit
from tests.in_process import in_process
from tests.questions import sample
from tests.server_process import ServerProcess, ask

pytestmark = pytest.mark.real_time
BARS = "document.querySelectorAll('.chart rect').length"
BROKEN = """[...document.querySelectorAll('.status :is(th, td)')].flatMap((cell) => {
  const broken = [];
  const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node.parentElement.closest('.long-name')) continue;
    for (const { 0: word, index } of node.data.matchAll(/[^\\s-]+/g)) {
      const range = new Range();
      range.setStart(node, index);
      range.setEnd(node, index + word.length);
      if (new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size > 1) broken.push(word);
    }
  }
  return broken;
})"""
"""Words of the table that stand on two lines."""


def test_the_last_turns_are_a_chart_and_a_list(server: ServerProcess, visit: Visit, tmp_path: Path) -> None:
    with server.connect() as connection:
        ask(connection, sample("hello"))
    visitor = visit(f"{server.url}/#status")
    page = visitor.page
    visitor.until(f"{BARS} >= 1")
    before = page.evaluate(BARS)
    with server.connect() as connection:
        ask(connection, sample("hello"))
        visitor.until(f"{BARS} > {min(before, 99)} || {before} === 100")  # the page refreshes without a click
        visitor.until("document.querySelector('.figures dd').textContent !== '0'")
    told = page.get_attribute(".chart", "aria-label") or ""
    assert "turns. Median time to first audio" in told
    titles = page.locator(".chart rect title").all_text_contents()  # other tests have turns in this service, too
    assert max(title.count("·") for title in titles) >= 2
    page.click(".turn-table summary")
    visitor.until("document.querySelector('.turn-table').open")
    assert page.locator(".turn-table li").count() == page.evaluate(BARS)
    assert page.locator(".status tbody tr").count() == 3
    assert "whisper" in visitor.words(".status tbody")
    with page.expect_response(f"{server.url}/status"):
        pass
    page.wait_for_timeout(300)
    assert page.evaluate("document.querySelector('.turn-table').open")  # also after a refresh
    visitor.fits(tmp_path / "status")
    page.route("**/status", lambda route: None)  # without an answer, no refresh draws the chart again
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 844})
        visitor.until(
            "Math.abs(document.querySelector('.chart').getScreenCTM().a - 1) < 0.02"
        )  # labels keep their size
    assert visitor.complaints == []


def test_only_permitted_callers_see_the_status_tab(visit: Visit, tmp_path: Path) -> None:
    with in_process(tmp_path, API_KEYS="boss:admin:right,guest:talk:wrong") as server:
        assert httpx.get(f"{server.url}/status").status_code == 401
        assert httpx.get(f"{server.url}/status", headers={"Authorization": "Bearer wrong"}).status_code == 403
        visitor = visit(f"{server.url}/#status", language="es")
        visitor.see(".status-says:not([hidden])")
        assert "clave" in visitor.words(".status-says")
        visitor.sign_in("wrong")
        visitor.until("document.querySelector('.status-says').textContent.includes('admin')")
        visitor.page.click("#settings summary")
        visitor.page.click("#sign-in-open")
        visitor.sign_in("right")
        visitor.see(".figures")
        visitor.until("document.querySelector('.status-says').hidden")
        assert visitor.words(".figures dt >> nth=0") == "Conversaciones"


def test_the_tables_words_are_not_broken_but_long_names_are(visit: Visit, tmp_path: Path) -> None:
    with in_process(tmp_path) as server:
        visitor = visit(f"{server.url}/#status", language="de-DE")
        page = visitor.page
        visitor.see(".status tbody tr")
        told = httpx.get(f"{server.url}/status").json()
        path = f"/srv/{'very-long-folder/' * 8}model.bin"
        load = {"running": 12, "waiting": 3, "loaded": 2, "replicas": 2, "restarts": 1}
        for engine in told["engines"]:
            engine |= {"load": load, "device": "NVIDIA Datacenter-GPU", "notes": [f"The weights are in {path} now."]}
        page.route("**/status", lambda route: route.fulfill(json=told))
        visitor.see(".long-name >> nth=0")
        for width in (1440, 700, 390):
            page.set_viewport_size({"width": width, "height": 844})
            assert page.evaluate(BROKEN) == [], width
            assert page.evaluate("document.querySelector('.status').scrollWidth <= window.innerWidth"), width
            assert page.evaluate(
                "document.querySelector('.status table').scrollWidth <= document.querySelector('.status').clientWidth"
            ), width
        assert visitor.complaints == []


def test_a_conversation_continues_behind_the_status_tab(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    visitor.ask("what is two plus three")
    visitor.page.click("nav a[href='#status']")
    visitor.see(".figures")
    visitor.page.click("nav a[href='#talk']")
    visitor.see("text=2 plus 3 is 5.")
    assert visitor.complaints == []


def test_a_user_is_recorded_only_after_consent_and_can_stop_the_recording(visit: Visit, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    with in_process(tmp_path, RECORD="true", RECORDINGS_DIR=str(folder)) as server:
        visitor = visit(server.url)
        visitor.see("#may-record")
        visitor.fits(tmp_path / "consent")
        visitor.ask("what is one plus one")
        visitor.see("text=1 plus 1 is 2.")
        assert visitor.page.is_hidden("#recorded")
        visitor.page.click("#settings summary")
        visitor.page.click("#new")
        visitor.page.click("#may-record-yes")
        assert visitor.page.is_hidden("#may-record")
        visitor.ask("what is two plus three")
        visitor.see("#recorded:not([hidden])")
        assert visitor.words("#recorded p") == "This conversation is recorded."
        visitor.page.click("#recorded button")
        visitor.until("document.querySelector('#recorded button').hidden")
        assert "erased" in visitor.words("#recorded p")
        visitor.ask("what is two plus four")
        assert visitor.complaints == []
    assert [path.name for path in folder.glob("*/")] == [".erased"]

"""Visibility of the next thing that a user needs, in a window and on a phone, and no movement during the load."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Route, ViewportSize

from tests.browser.conftest import Visit, Visitor, said
from tests.browser.test_transcribe import PAGE, row
from tests.in_process import in_process
from tests.jobs.conftest import recording
from tests.server_process import Service

pytestmark = pytest.mark.real_time
WINDOW: ViewportSize = {"width": 1280, "height": 720}
PHONE: ViewportSize = {"width": 390, "height": 844}
SIZES = (WINDOW, PHONE)
UNCOVERED = """(selector) => {
  const element = document.querySelector(selector);
  const { left, right, top, bottom } = element.getBoundingClientRect();
  return [top + 2, bottom - 2].every((y) => element.contains(document.elementFromPoint((left + right) / 2, y)));
}"""
"""Whether the top and the bottom of an element are visible, and nothing covers them."""
PLACE = """(selector) => {
  const { x, y, width, height } = document.querySelector(selector).getBoundingClientRect();
  const tops = [y + 2, y + height - 2].map((at) => document.elementFromPoint(x + width / 2, at));
  return [x, y, width, height, ...tops.map((top) => top?.cloneNode().outerHTML), innerWidth, innerHeight];
}"""
"""An element's place, what is on top there, and the size of the window."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with in_process(tmp_path_factory.mktemp("service"), heard="The heron waits.") as running:
        yield running


def in_sight(visitor: Visitor, selector: str) -> None:
    visitor.see(selector)
    try:
        visitor.until(UNCOVERED, selector)
    except AssertionError:
        pytest.fail(f"{selector} is not in sight: {visitor.page.evaluate(PLACE, selector)}")


def test_the_button_that_saves_a_persona(service: Service, visit: Visit) -> None:
    visitor = visit(service.url)
    visitor.page.click("#personas-edit")
    for size in SIZES:
        visitor.page.set_viewport_size(size)
        in_sight(visitor, "#persona-form [type=submit]")


@pytest.mark.parametrize("size", SIZES, ids=["window", "phone"])
def test_the_button_that_stops_a_recording(service: Service, visit: Visit, size: ViewportSize) -> None:
    visitor, models = visit("about:blank", microphone=said(60.0)), list[Route]()
    page = visitor.page
    page.set_viewport_size(size)
    page.route("**/models", lambda route: models.append(route))
    page.goto(service.url + PAGE)
    visitor.started()
    page.click("#options-summary")
    page.click("#record")
    in_sight(visitor, "#record-stop")
    visitor.wait(lambda: models, "the page asks for the models")
    models[0].continue_()  # another option, which pushes down what is below
    visitor.see("#job-options [name=model_id]")
    page.wait_for_timeout(300)
    in_sight(visitor, "#record-stop")
    page.locator(".intake").evaluate("intake => intake.scrollTo(0, intake.scrollHeight)")
    in_sight(visitor, "#record-stop")


def test_what_a_search_has_found(service: Service, visit: Visit) -> None:
    httpx.post(f"{service.url}/jobs", files={"files": ("bird.wav", recording(0))}, timeout=60).raise_for_status()
    visitor = visit(service.url + PAGE)
    visitor.page.set_viewport_size(WINDOW)
    visitor.see(f"{row('bird.wav')}[data-state=completed]")
    visitor.page.click("#options-summary")
    visitor.page.fill("#jobs-search", "heron")
    in_sight(visitor, "#hits .snippet")
    in_sight(visitor, "#jobs-search")


def test_nothing_moves_while_the_page_loads(service: Service, visit: Visit) -> None:
    visitor = visit(service.url)
    for size in SIZES:
        visitor.page.set_viewport_size(size)
        visitor.page.reload()
        visitor.until("document.querySelectorAll('#engines .stage').length === 3")
        visitor.page.wait_for_timeout(500)  # the observer tells of a shift after the next frame
        moved = visitor.page.evaluate(
            "new Promise((done) => new PerformanceObserver((list) => done(list.getEntries().map(({ value }) => value)))"
            "  .observe({ type: 'layout-shift', buffered: true }) ?? setTimeout(() => done([]), 500))"
        )
        assert sum(moved) < 0.03, moved

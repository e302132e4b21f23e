"""axe-core finds no violation on any tab or in any dialog, on a desktop and on a phone, in light and dark colours."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from tests.browser.conftest import SCHEMES, Visit, Visitor, said
from tests.browser.test_transcribe import give
from tests.in_process import in_process
from tests.jobs.conftest import recording
from tests.npm import install
from tests.server_process import Service

pytestmark = pytest.mark.real_time
LOOKS = ((1440, 900), (390, 844))
ALL = "axe.run(document, { resultTypes: ['violations'] })"
COLOURS = "axe.run(document, { runOnly: ['color-contrast'], resultTypes: ['violations'] })"
"""The only rule on which the colours have an effect."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with in_process(tmp_path_factory.mktemp("axe"), heard="The heron waits.") as running:
        yield running


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library's source."""
    folder = tmp_path_factory.mktemp("npm")
    install(folder, "axe-core@4.14.1")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


def violations(visitor: Visitor, axe: str) -> list[str]:
    """The rules that the page breaks, each with an element."""
    page, found = visitor.page, list[str]()
    if not page.evaluate("'axe' in window"):
        page.evaluate(f"(() => {{ {axe} }})()")
    for (width, height), scheme in product(LOOKS, SCHEMES):
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        result: dict[str, Any] = page.evaluate(ALL if scheme == SCHEMES[0] else COLOURS)
        for broken in result["violations"]:
            found.append(f"{width} {scheme}: {broken['id']}: {broken['nodes'][0]['html'][:200]}")
    return found


def test_axe_finds_no_violation_on_any_tab(service: Service, visit: Visit, axe: str) -> None:
    visitor = visit(service.url, microphone=said("what_time_is_it", 60.0))
    page = visitor.page
    visitor.see("#basic")
    assert violations(visitor, axe) == []
    for name in ("talks", "personas"):
        page.click("#talks-open" if name == "talks" else "#personas-edit")
        visitor.see(f"#{name}[open]")
        assert violations(visitor, axe) == []
        page.click(f"#{name}-close")
    visitor.ask("tell me a story")
    page.click("#settings summary")
    assert violations(visitor, axe) == []
    page.click("#sign-in-open")
    assert violations(visitor, axe) == []
    page.click("#sign-in-later")
    page.click("#tabs a:has-text('Transcribe')")
    assert violations(visitor, axe) == []
    give(visitor, ("heron.wav", recording(0)), ("empty.wav", b""))
    page.set_viewport_size({"width": 1440, "height": 900})
    visitor.see("#jobs .job[data-state=completed]")
    page.click("#record")
    visitor.see("#record-stop")
    assert violations(visitor, axe) == []
    page.click("#record-stop")
    page.click("#jobs .open >> nth=-1")
    visitor.see("#transcript .paragraph")
    assert violations(visitor, axe) == []
    page.set_viewport_size({"width": 1440, "height": 900})
    page.locator("#transcript .word").first.dblclick()
    visitor.see(".segment[contenteditable]")
    assert violations(visitor, axe) == []
    page.keyboard.press("Escape")
    page.evaluate("document.getElementById('consent').showModal()")
    assert violations(visitor, axe) == []
    page.click("#consent-cancel")
    page.set_viewport_size({"width": 1440, "height": 900})
    page.fill("#jobs-search", "heron")
    visitor.see("#hits .snippet")
    assert violations(visitor, axe) == []
    page.set_viewport_size({"width": 1440, "height": 900})
    page.click("#tabs a:has-text('Status')")
    visitor.see(".figures")
    assert violations(visitor, axe) == []

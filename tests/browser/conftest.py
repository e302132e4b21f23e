"""Debian's Chromium, without a window, with a WAV file as its microphone."""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserType, Page, sync_playwright

from pipeline.audio import Clip, encode_wav
from pipeline.media import decode_blocking
from tests.questions import sample

RATE_HZ = 48_000
LOUDNESS = 0.25
"""Of the samples: the browser's gain control makes quiet speech loud, and tears what is as loud as a recording."""
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
]
ALLOWED = "--use-fake-ui-for-media-stream"
"""The microphone may be used, without a question."""
DEADLINE_MS = 120_000
"""For whatever is waited for: the machine may be busy."""


def chromium_path() -> str:
    """Where Chromium is; the tests fail without it, unless somebody says that there shall be none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    if os.environ.get("PARLEY_NO_BROWSER") == "1":
        pytest.skip("PARLEY_NO_BROWSER=1")
    pytest.fail("No Chromium here: `make services` installs it; PARLEY_NO_BROWSER=1 leaves these tests out.")


def said(*parts: str | float) -> Clip:
    """What the microphone hears: names of samples, and seconds of silence."""
    clips = [
        decode_blocking(sample(part), max_seconds=60).at(RATE_HZ)
        if isinstance(part, str)
        else Clip(np.zeros(int(part * RATE_HZ), np.float32), RATE_HZ)
        for part in parts
    ]
    return Clip(LOUDNESS * Clip.join(clips, RATE_HZ).samples, RATE_HZ)


@dataclass
class Visitor:
    """A page in a browser of its own, and what went wrong in it."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings of the console, and exceptions."""

    def see(self, selector: str, **options: Any) -> None:
        self.page.wait_for_selector(selector, timeout=DEADLINE_MS, **options)

    def words(self, selector: str) -> str:
        """What is written there, without what is there for screen readers or for the eye only."""
        return self.page.inner_text(selector).strip()

    def talk(self, expression: str) -> Any:
        """Something of the running `Talk`, which the page's own module hands out."""
        return self.page.evaluate(f"import('/web/app.js').then(({{ talk }}) => {expression})")

    def until(self, expression: str, argument: Any = None) -> None:
        """Until this JavaScript says true. Playwright's own waiting needs `eval`, which the page forbids."""
        self.wait(lambda: self.page.evaluate(expression, argument), expression)

    def wait(self, condition: Callable[[], object], what: object = "") -> None:
        """Until this is so, while the page goes on."""
        deadline = time.monotonic() + DEADLINE_MS / 1000
        while not condition():
            assert time.monotonic() < deadline, what
            self.page.wait_for_timeout(50)

    def listen(self, seconds: float) -> None:
        """Until so much of the microphone's sound has left for the service."""
        self.until(f"import('/web/app.js').then(({{ talk }}) => talk.turns.clock.sentMs > {1000 * seconds})")

    def ask(self, words: str) -> None:
        """Type it, and wait until its answer begins."""
        before = self.page.locator(".reply p").count()
        self.page.fill("#words", words)
        self.page.press("#words", "Enter")
        self.until("before => document.querySelectorAll('.reply p').length > before", before)


Visit = Callable[..., Visitor]


@pytest.fixture(scope="module")
def chromium() -> Iterator[BrowserType]:
    """Ended with the module: while it runs, its event loop is in the way of asynchronous tests."""
    chromium_path()
    with sync_playwright() as playwright:
        yield playwright.chromium


@pytest.fixture(scope="module")
def usual(chromium: BrowserType) -> Iterator[Callable[[], Browser]]:
    """A browser for all pages that need none with flags of its own."""
    running: list[Browser] = []

    def browser() -> Browser:
        if not running or not running[-1].is_connected():
            running.append(_launch(chromium, [ALLOWED]))
        return running[-1]

    yield browser
    for one in running:
        one.close()


def _launch(chromium: BrowserType, flags: Sequence[str]) -> Browser:
    return chromium.launch(executable_path=chromium_path(), args=[*FLAGS, *flags], timeout=DEADLINE_MS)


@pytest.fixture
def visit(chromium: BrowserType, usual: Callable[[], Browser], tmp_path: Path) -> Iterator[Visit]:
    """Opens a page, each with a profile of its own. microphone: what it hears; refused: whether it may not hear."""
    with ExitStack() as stack:

        def open_page(
            url: str,
            *,
            microphone: Clip | None = None,
            refused: bool = False,
            size: tuple[int, int] = (1100, 800),
            scheme: str = "light",
            language: str = "en-US",
            flags: Sequence[str] = (),
        ) -> Visitor:
            own = [*flags]
            if microphone is not None:
                wav = tmp_path / "microphone.wav"
                wav.write_bytes(encode_wav(microphone))
                own.append(f"--use-file-for-fake-audio-capture={wav}%noloop")
            if own or refused:
                browser = _launch(chromium, own if refused else [ALLOWED, *own])
                stack.callback(browser.close)
            else:
                browser = usual()
            context = browser.new_context(
                viewport={"width": size[0], "height": size[1]},
                color_scheme=scheme,  # type: ignore[arg-type]
                locale=language,
            )
            stack.callback(context.close)
            visitor = Visitor(context.new_page())
            page = visitor.page
            page.set_default_timeout(DEADLINE_MS)
            page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
            page.on("console", lambda told: _complain(visitor, told.type, told.text))
            page.goto(url)
            return visitor

        yield open_page


def _complain(visitor: Visitor, kind: str, words: str) -> None:
    if kind in ("error", "warning"):
        visitor.complaints.append(f"{kind}: {words}")


def low_contrasts(visitor: Visitor) -> list[Any]:
    """Texts whose contrast with what they lie on is below WCAG's 4.5 to 1."""
    found: list[Any] = visitor.page.evaluate(
        """(() => {
          const channels = (color) => {
            const canvas = document.createElement('canvas').getContext('2d');
            canvas.fillStyle = color;
            canvas.fillRect(0, 0, 1, 1);
            return [...canvas.getImageData(0, 0, 1, 1).data];
          };
          const light = (color) => {
            const [r, g, b] = channels(color).map((value) => {
              const share = value / 255;
              return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const ground = (element) => {
            for (let e = element; e; e = e.parentElement) {
              const color = getComputedStyle(e).backgroundColor;
              if (channels(color)[3] === 255) return color;
            }
            return 'white';
          };
          const texts = [...document.querySelectorAll('p, span, b, small, label, summary, button, h1, h2, li, s')];
          return texts.filter((element) => element.checkVisibility() && !element.closest('.unseen, .skip'))
            .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
            .map((element) => {
              const style = getComputedStyle(element);
              const [one, other] = [light(style.color), light(ground(element))].sort((a, b) => b - a);
              return [element.textContent.trim().slice(0, 30), style.opacity, (one + 0.05) / (other + 0.05)];
            }).filter(([, , contrast]) => contrast < 4.5);
        })()"""
    )
    return found

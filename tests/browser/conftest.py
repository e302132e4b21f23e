"""Debian's Chromium, headless, with a WAV file as its microphone.

Most tests run in its headless shell, where that is installed: the same engine without the parts around it, such as tabs
and permissions, which need half of the CPU time of a page.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserType, Error, Page, sync_playwright

from pipeline.audio.clip import Clip, encode_wav
from pipeline.audio.decode import decode_blocking
from tests.browser.profiles import Profiles
from tests.questions import sample

RATE_HZ = 48_000
LOUDNESS = 0.25
"""Level of the samples: the browser's gain control makes quiet speech loud, and distorts speech as loud as a recording.
"""
OTHER_NAME = "parley.example"
"""Another host name of this machine. The browser resolves no other names: pages can reach only this machine."""
SHARED_TAB = "shared tab"
"""Title of the tab that is shared when a page asks for one."""
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--enable-features=NetworkServiceInProcess2",  # saves a tenth of the CPU time of a page's load
    "--renderer-process-limit=1",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    f"--host-resolver-rules=MAP {OTHER_NAME} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    f"--auto-select-tab-capture-source-by-title={SHARED_TAB}",
]
ALLOWED = "--use-fake-ui-for-media-stream"
"""Grants the microphone permission without a prompt."""
DEADLINE_MS = 60_000
"""Timeout for every wait: six times the longest that is not for a recording, because the machine can be busy."""
LOOK_MS = 5_000
"""Timeout for a look at the page of a failed test."""
LOOKING = """async (argument) => {{
  for (const end = performance.now() + 1000; performance.now() < end;) {{
    const found = {};
    if (await (typeof found === 'function' ? found(argument) : found)) return true;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }}
  return false;
}}"""
"""Waits up to a second until an expression, or a function of the argument, is true; returns whether it is."""
NO_SCROLLING = "document.documentElement.scrollWidth <= window.innerWidth"
SIZES = ((1100, 800), (390, 844), (320, 568), (740, 360))
LANGUAGE = "en-US"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


SHELL = "chromium-headless-shell"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def chromium_path(*, whole: bool = False) -> str:
    """Path of Chromium; whole: not of its headless shell. The tests fail without it, unless PARLEY_NO_BROWSER is 1."""
    for name in BROWSERS if whole else (SHELL, *BROWSERS):
        if path := shutil.which(name):
            return path
    if os.environ.get("PARLEY_NO_BROWSER") == "1":
        pytest.skip("PARLEY_NO_BROWSER=1")
    pytest.fail("Chromium is not installed: run `make services`, or set PARLEY_NO_BROWSER=1 to skip these tests.")


def said(*parts: str | Clip | float) -> Clip:
    """The microphone's sound: names of samples, clips, and seconds of silence."""
    clips = [
        decode_blocking(sample(part), max_seconds=60).at(RATE_HZ)
        if isinstance(part, str)
        else part.at(RATE_HZ)
        if isinstance(part, Clip)
        else Clip(np.zeros(int(part * RATE_HZ), np.float32), RATE_HZ)
        for part in parts
    ]
    return Clip(LOUDNESS * Clip.join(clips, RATE_HZ).samples, RATE_HZ)


@dataclass
class Visitor:
    """A page in its own browser profile, and the errors on it."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings of the console, and exceptions."""

    def fits(self, picture: Path, *more: str) -> None:
        """Check the page in each size, light and dark: it needs no horizontal scrolling, its texts are readable, and
        these other expressions are true. Of a look that fails, a picture is kept: `picture` with the look in its
        name."""
        for width, height in SIZES:
            self.page.set_viewport_size({"width": width, "height": height})
            for scheme in SCHEMES:
                self.page.emulate_media(color_scheme=scheme)
                found = [one for one in (NO_SCROLLING, *more) if not self.page.evaluate(one)] + low_contrasts(self)
                if found:
                    look = f"{picture}-{width}x{height}-{scheme}.png"
                    self.page.screenshot(path=look)
                    pytest.fail(f"{look}: {found}")

    def started(self) -> None:
        """Wait until the page's program runs: the load event does not wait for it, and clicks before it are lost."""
        self.until("!document.getElementById('words')?.disabled")

    def reload(self) -> None:
        self.page.reload()
        self.started()

    def seen(self) -> str:
        """Describe the page: its address, errors, texts and focus."""
        try:
            texts = self.page.locator("body").aria_snapshot(timeout=LOOK_MS)
            texts = re.sub(r"\n +- option .*(?<!\[selected\])$", "", texts, flags=re.MULTILINE)
        except Error as error:
            texts = str(error)
        return "\n".join([self.page.url, *self.complaints, texts])

    def see(self, selector: str, **options: Any) -> None:
        self.page.wait_for_selector(selector, timeout=DEADLINE_MS, **options)

    def words(self, selector: str) -> str:
        """The visible text of an element, without parts only for screen readers or only for the eye."""
        return self.page.inner_text(selector).strip()

    def talk(self, expression: str) -> Any:
        """Return a property of the running `Talk`, which the page's own module exports."""
        return self.page.evaluate(f"import('/web/app.js').then(({{ talk }}) => {expression})")

    def until(self, expression: str, argument: Any = None) -> None:
        """Wait in the page until this JavaScript returns true, also after a navigation. Playwright's own wait needs
        `eval`, which the page forbids."""
        self.wait(lambda: self._holds(expression, argument), expression)

    def _holds(self, expression: str, argument: Any) -> bool:
        """Whether this JavaScript returns true within a second. Asking the page each time takes more CPU time."""
        try:
            return bool(self.page.evaluate(LOOKING.format(expression), argument))
        except Error as error:
            if "navigation" not in str(error):
                raise
            return False

    def wait(self, condition: Callable[[], object], what: object = "") -> None:
        """Wait until the condition holds, while the page keeps running."""
        deadline = time.monotonic() + DEADLINE_MS / 1000
        while not condition():
            assert time.monotonic() < deadline, what
            self.page.wait_for_timeout(50)

    def listen(self, seconds: float) -> None:
        """Wait until this many seconds of the microphone's sound have been sent to the service."""
        self.until(f"import('/web/app.js').then(({{ talk }}) => talk.turns.clock.sentMs > {1000 * seconds})")

    def sign_in(self, key: str) -> None:
        """Give this key to the card that asks for one."""
        self.page.fill("#key", key)
        self.page.press("#key", "Enter")
        self.see("#sign-in", state="hidden")

    def ask(self, words: str) -> None:
        """Type the text, and wait until its reply begins."""
        before = self.page.locator(".reply p").count()
        self.page.fill("#words", words)
        self.page.press("#words", "Enter")
        self.until("before => document.querySelectorAll('.reply p').length > before", before)


Visit = Callable[..., Visitor]
VISITORS = pytest.StashKey[list[Visitor]]()
GetBrowser = Callable[[bool, bool], Browser]
SILENCE = Clip(np.zeros(RATE_HZ, np.float32), RATE_HZ)


@pytest.fixture(scope="package")
def chromium() -> Iterator[BrowserType]:
    """Ends with this folder's tests: while Chromium's event loop runs, asynchronous tests cannot."""
    chromium_path()
    with sync_playwright() as playwright:
        yield playwright.chromium


@pytest.fixture(scope="package")
def microphone_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the browsers' microphone plays, from its beginning each time it is opened."""
    return tmp_path_factory.mktemp("microphone") / "sound.wav"


@pytest.fixture(scope="package")
def browser(chromium: BrowserType, microphone_file: Path) -> Iterator[GetBrowser]:
    """Return a running browser: the same one for all pages, because a start takes a second of CPU time. whole: not only
    the headless shell; allowed: with permission for the microphone."""
    flags = [*FLAGS, f"--use-file-for-fake-audio-capture={microphone_file}%noloop"]
    running: dict[tuple[bool, bool], Browser] = {}

    def get(whole: bool, allowed: bool) -> Browser:
        found = running.get((whole, allowed))
        if found is None or not found.is_connected():
            found = running[whole, allowed] = chromium.launch(
                executable_path=chromium_path(whole=whole),
                args=[*flags, ALLOWED] if allowed else flags,
                timeout=DEADLINE_MS,
            )
        return found

    yield get
    for one in running.values():
        one.close()


@pytest.fixture(scope="package")
def profiles() -> Profiles:
    """Profiles of the headless shell in English, with permission for the microphone."""
    return Profiles()


@pytest.fixture
def visit(
    request: pytest.FixtureRequest, browser: GetBrowser, profiles: Profiles, microphone_file: Path
) -> Iterator[Visit]:
    """Open a page in a profile without stored data, of a user who prefers reduced motion, because animations take a
    fifth of the CPU time of a conversation.

    microphone: the sound that it records, from when it is opened; whole: whether the headless shell is not enough;
    refused: whether the permission for the microphone is denied, for which it is not; calls: whether the browser has
    WebRTC; shares: whether it has service workers, behind which Playwright does not see every request; clock: whether
    the test sets the clock, which is the profile's; starts: whether to wait until the page's program runs."""
    visitors = request.node.stash.setdefault(VISITORS, [])
    visitors.clear()  # of an attempt before
    with ExitStack() as stack:

        def open_page(
            url: str,
            *,
            microphone: Clip = SILENCE,
            whole: bool = False,
            refused: bool = False,
            calls: bool = True,
            shares: bool = False,
            clock: bool = False,
            size: tuple[int, int] = SIZES[0],
            language: str = LANGUAGE,
            starts: bool = True,
        ) -> Visitor:
            microphone_file.write_bytes(encode_wav(microphone))
            whole = whole or refused
            running = browser(whole, not refused)
            options: dict[str, Any] = {
                "viewport": {"width": SIZES[0][0], "height": SIZES[0][1]},
                "color_scheme": SCHEMES[0],
                "locale": language,
                "reduced_motion": "reduce",
            }
            if whole or shares or clock or language != LANGUAGE:
                context = stack.enter_context(running.new_context(**options))
            else:
                context = stack.enter_context(profiles.use(running, options))
            visitor = Visitor(context.new_page())
            visitors.append(visitor)
            page = visitor.page
            if size != SIZES[0]:
                page.set_viewport_size({"width": size[0], "height": size[1]})
            if not calls:
                page.add_init_script("delete window.RTCPeerConnection")
            if not shares:
                page.add_init_script("delete Navigator.prototype.serviceWorker")
            page.set_default_timeout(DEADLINE_MS)
            page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
            page.on("console", lambda told: _complain(visitor, told.type, told.text))
            page.goto(url)
            if starts:
                visitor.started()
            return visitor

        yield open_page


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report what the pages of a failed test show."""
    report = yield
    if report.failed:
        visitors: list[Visitor] = item.stash.get(VISITORS, [])
        for number, visitor in enumerate(visitors, 1):
            report.sections.append((f"page {number}", visitor.seen()))
    return report


def _complain(visitor: Visitor, kind: str, words: str) -> None:
    if kind in ("error", "warning"):
        visitor.complaints.append(f"{kind}: {words}")


def low_contrasts(visitor: Visitor) -> list[Any]:
    """Texts whose contrast with their background is below WCAG's 4.5 to 1."""
    found: list[Any] = visitor.page.evaluate(
        """(() => {
          const known = new Map();
          const channels = (color) => {
            if (!known.has(color)) {
              const canvas = document.createElement('canvas').getContext('2d');
              canvas.fillStyle = color;
              canvas.fillRect(0, 0, 1, 1);
              known.set(color, [...canvas.getImageData(0, 0, 1, 1).data]);
            }
            return known.get(color);
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

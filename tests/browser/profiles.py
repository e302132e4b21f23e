"""Browser profiles that tests use one after the other, each cleared of what pages have stored."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, CDPSession, Frame


@dataclass
class Profile:
    """A profile whose process and cache stay: in a new one, the load of a page takes half as much CPU time
    again, because a process is started, and the page's files are fetched once more."""

    context: BrowserContext
    _keeper: CDPSession = field(init=False)
    """Session of an empty page, which keeps the process running."""
    _origins: set[str] = field(default_factory=set)
    """Origins whose pages may have stored something."""

    def __post_init__(self) -> None:
        self._keeper = self.context.new_cdp_session(self.context.new_page())
        self.context.on("page", lambda page: page.on("framenavigated", self._note))

    def _note(self, frame: Frame) -> None:
        url = urlsplit(frame.url)
        if url.netloc:
            self._origins.add(f"{url.scheme}://{url.netloc}")

    def clear(self) -> None:
        """Close the pages, and remove what they have stored, except files in the browser's cache."""
        for page in self.context.pages[1:]:
            page.close()
        self.context.clear_permissions()
        while self._origins:
            self._keeper.send("Storage.clearDataForOrigin", {"origin": self._origins.pop(), "storageTypes": "all"})


class Profiles:
    """Profiles of one kind that are not in use."""

    def __init__(self) -> None:
        self._free: list[Profile] = []

    @contextmanager
    def use(self, browser: Browser, options: dict[str, Any]) -> Iterator[BrowserContext]:
        """Yield a profile of this browser, with these options of `Browser.new_context`."""
        self._free = [one for one in self._free if one.context.browser is browser]
        profile = self._free.pop() if self._free else Profile(browser.new_context(**options))
        yield profile.context
        profile.clear()
        self._free.append(profile)

"""`/docs` and `/redoc` in a browser that can reach only the service."""

from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.browser.conftest import Visit
from tests.in_process import in_process
from tests.server_process import ServerProcess

pytestmark = pytest.mark.real_time


def test_routes_are_shown_and_tried_out_without_the_internet(visit: Visit, tmp_path: Path) -> None:
    visitor = visit("about:blank")
    page, asked = visitor.page, set[str]()
    # Redoc's logo is elsewhere: the page's policy refuses it, and it is never requested.
    page.on("requestfinished", lambda request: asked.add(urlsplit(request.url).netloc))
    with in_process(tmp_path, API_KEYS="sesame") as server:
        page.goto(f"{server.url}/docs")
        page.click("button.authorize")
        page.fill(".auth-container input", "sesame")
        page.click(".auth-container button.authorize")
        page.click(".auth-container button.btn-done")
        route = ".opblock:has([data-path='/v1/audio/voices']):has(.opblock-summary-get)"
        page.click(f"{route} .opblock-summary-control")
        page.click(f"{route} .try-out__btn")
        page.click(f"{route} .execute")
        visitor.see(f"{route} .live-responses-table >> text=woman")
        assert visitor.complaints == []
        page.goto(f"{server.url}/redoc")
        visitor.see("h2 >> text=Talk: a recording in, text and speech out; or live")
    assert asked - {""} == {f"127.0.0.1:{server.port}"}  # "": URLs of data


def test_docs_have_a_strict_content_security_policy(server: ServerProcess) -> None:
    for path in ("/docs", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/redoc", "/docs/redoc.standalone.js"):
        policy = httpx.get(server.url + path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["/docs/", "/docs/swagger-editor.js", "/docs/..%2f__init__.py"])
def test_other_files_are_not_found(server: ServerProcess, path: str) -> None:
    assert httpx.get(server.url + path).status_code == 404

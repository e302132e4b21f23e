"""The page: `GET /` for browsers (other clients get the JSON of `server.ops.health`), `/ui`, and `/web/…`."""

import asyncio
from pathlib import Path
from urllib.parse import parse_qs

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.datastructures import Headers
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from server.ops import health
from server.pages.accept import accepts_gzip, wants_html
from server.pages.assembled import SHARE_WORKER, WEB, Assembled, assembled, language_for, version
from server.pages.compressed import compressed_file

HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of the page and its files: browsers run no code from other hosts and no inline code, except the page's import
map; and they load a new version at once."""

FOR_EVER = "public, max-age=31536000, immutable"
"""`Cache-Control` of a file whose address has its version."""

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
async def root(request: Request) -> Response:
    """Return the page to a browser, and `health.root` to a program."""
    if wants_html(request.headers.get("accept", "")):
        return await _page(request)
    told = await health.root(request)
    return JSONResponse(told.model_dump(mode="json", exclude_unset=True), headers={"Vary": "Accept"})


@router.api_route("/ui", methods=["GET", "HEAD"])
async def ui(request: Request) -> Response:
    """Return the page to any client."""
    return await _page(request)


@router.post("/share")
async def share() -> Response:
    """Lead a browser without the page's service worker, which takes what is shared, to the page. The body is not
    read."""
    return Response(status_code=303, headers={**HEADERS, "Location": "/ui#transcribe"})


class PageFiles(StaticFiles):
    """The page's files, with its headers, compressed where the client accepts it. Starlette provides ETags and the
    protection against path traversal."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # Starlette asserts that it gets HTTP only
            await send({"type": "websocket.close", "code": 1008})
            return
        await super().__call__(scope, receive, send)

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        asked_for = Headers(scope=scope)
        whole = scope["method"] == "GET" and "range" not in asked_for
        if isinstance(response, FileResponse) and whole and accepts_gzip(asked_for.get("accept-encoding", "")):
            response = await _compressed(response) or response
        response.headers.update(HEADERS | {"Vary": "Accept-Encoding"})
        if path == SHARE_WORKER:
            response.headers["Service-Worker-Allowed"] = "../"  # shares are sent to a path beside the page
        [asked] = parse_qs(scope["query_string"].decode("latin-1")).get("v", [""])[:1]
        if asked and asked == await asyncio.to_thread(version, path):
            response.headers["Cache-Control"] = FOR_EVER
        return response


async def _compressed(response: FileResponse) -> Response | None:
    """Return the response with its file in gzip; None if that is not smaller."""
    path = Path(response.path)
    file = response.stat_result
    if file is None:
        file = await asyncio.to_thread(path.stat)
    packed = await asyncio.to_thread(compressed_file, path, file.st_mtime_ns, file.st_size)
    if packed is None:
        return None
    kept = {name: value for name, value in response.headers.items() if name not in ("content-length", "accept-ranges")}
    return Response(packed, headers=kept | {"content-encoding": "gzip"})


class Page(Response):
    """The assembled page."""

    def __init__(self, page: Assembled, *, unchanged: bool, gzip: bool) -> None:
        """unchanged: whether the client has it already. gzip: whether the client accepts it compressed."""
        headers = {**HEADERS, "ETag": page.etag, "Vary": "Accept, Accept-Language, Accept-Encoding"}  # see `root`
        policy = HEADERS["Content-Security-Policy"]
        headers["Content-Security-Policy"] = policy.replace("script-src 'self'", f"script-src 'self' {page.inline}")
        if unchanged:
            super().__init__(b"", 304, headers, "text/html")
        elif gzip:
            super().__init__(page.compressed, 200, headers | {"Content-Encoding": "gzip"}, "text/html")
        else:
            super().__init__(page.html, 200, headers, "text/html")


async def _page(request: Request) -> Response:
    accepted = request.headers.get("accept-language", "")
    page = await asyncio.to_thread(lambda: assembled(language_for(accepted)))  # both look into `web/`
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    gzip = accepts_gzip(request.headers.get("accept-encoding", ""))
    return Page(page, unchanged=page.etag in known, gzip=gzip)


def add_page(app: FastAPI) -> None:
    """Serve the page. Call this before adding `health.router`, because both define `/`."""
    app.include_router(router)
    app.mount("/web", PageFiles(directory=WEB), name="web")

"""`/docs` and `/redoc`: Swagger UI and Redoc for `/openapi.json`. Their files are served from this host, so they work
without the internet."""

from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

from server.pages.assembled import WEB
from server.pages.ui import HEADERS, PageFiles

FILES = ("swagger-ui.css", "swagger-ui-bundle.js", "redoc.standalone.js")
"""Files of the package that are served."""
EMPTY = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
"""Hash of an empty style sheet."""


def _policy(*changes: tuple[str, str]) -> dict[str, str]:
    """Return the page's headers with these changes of its Content Security Policy."""
    policy = HEADERS["Content-Security-Policy"]
    for old, new in changes:
        policy = policy.replace(old, new)
    return HEADERS | {"Content-Security-Policy": policy}


# Swagger UI's icons are data URLs in its style sheet.
DOCS_HEADERS = _policy(("img-src 'self'", "img-src 'self' data:"))
# Redoc creates an empty style sheet and adds its rules by script; it searches in a worker.
REDOC_HEADERS = _policy(
    ("img-src 'self'", "img-src 'self' data:"),
    ("style-src 'self'", f"style-src 'self' {EMPTY}"),
    ("media-src", "worker-src blob:; media-src"),
)

router = APIRouter(include_in_schema=False)


@router.api_route("/docs", methods=["GET", "HEAD"])
async def docs() -> Response:
    """Return the page that contains Swagger UI."""
    return FileResponse(WEB / "docs.html", media_type="text/html", headers=DOCS_HEADERS)


@router.api_route("/redoc", methods=["GET", "HEAD"])
async def redoc() -> Response:
    """Return the page that contains Redoc."""
    return FileResponse(WEB / "redoc.html", media_type="text/html", headers=REDOC_HEADERS)


class ReferenceFiles(PageFiles):
    """The files of Swagger UI and Redoc that the pages need."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        if path not in FILES:
            raise HTTPException(404)
        return await super().get_response(path, scope)


def add_docs(app: FastAPI) -> None:
    """Serve `/docs` and `/redoc` instead of FastAPI's own pages, whose scripts come from another server."""
    # Locate the package without importing it: its code is for FastAPI's own pages.
    package = find_spec("fastapi_offline")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'fastapi_offline'", name="fastapi_offline")
    app.include_router(router)
    app.mount("/docs", ReferenceFiles(directory=Path(package.origin).parent / "static"), name="docs")

"""`/docs`: Swagger UI for `/openapi.json`. Its files are served from this host, so it works without the internet."""

from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

from server.pages.ui import HEADERS, WEB, PageFiles

FILES = ("swagger-ui.css", "swagger-ui-bundle.js")
"""Files of the package that are served; it also contains an editor."""
DOCS_HEADERS = HEADERS | {
    # Swagger UI's icons are data URLs in its style sheet.
    "Content-Security-Policy": HEADERS["Content-Security-Policy"].replace("img-src 'self'", "img-src 'self' data:")
}

router = APIRouter(include_in_schema=False)


@router.api_route("/docs", methods=["GET", "HEAD"])
async def docs() -> Response:
    """Return the page that contains Swagger UI."""
    return FileResponse(WEB / "docs.html", media_type="text/html", headers=DOCS_HEADERS)


class SwaggerFiles(PageFiles):
    """The two files of Swagger UI that the page needs."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        if path not in FILES:
            raise HTTPException(404)
        return await super().get_response(path, scope)


def add_docs(app: FastAPI) -> None:
    """Serve `/docs` instead of FastAPI's own page, whose script comes from another server."""
    # Locate the package without importing it: its code is for other web frameworks.
    package = find_spec("swagger_ui")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'swagger_ui'", name="swagger_ui")
    app.include_router(router)
    app.mount("/docs", SwaggerFiles(directory=Path(package.origin).parent / "static"), name="docs")

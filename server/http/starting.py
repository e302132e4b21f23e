"""The service before its models are loaded: the page and monitoring get responses, all other requests a refusal."""

from dataclasses import dataclass, field

from fastapi import FastAPI
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.errors import Overloaded
from pipeline.support.progress import Progress, Report
from server.access.rules import READ, Open, rule_for
from server.http.draining import RETRY_S, refuse
from server.state import has_started


class Loading(Overloaded):
    """The models are not loaded yet."""

    code = "starting"

    def __init__(self) -> None:
        super().__init__("The service is starting; try again in a moment.", retry_after_s=RETRY_S)


@dataclass(slots=True)
class Start:
    """The progress of a start."""

    also: Report | None = None
    """Gets the same reports."""
    _steps: dict[str, Progress] = field(default_factory=dict)

    @property
    def steps(self) -> list[Progress]:
        """The present step of each stage that is not ready, in the order in which they began."""
        return list(self._steps.values())

    def report(self, step: Progress) -> None:
        """See `pipeline.support.progress.Report`."""
        key = step.stage or step.task
        if step.ended:
            self._steps.pop(key, None)
        else:
            self._steps[key] = step
        if self.also is not None:
            self.also(step)


def show_start(app: FastAPI, start: Start) -> None:
    """Make the progress available to `steps_of`."""
    app.state.start = start


def steps_of(connection: HTTPConnection) -> list[Progress]:
    """Return the progress of the application's start; empty if it is not known."""
    start = getattr(connection.app.state, "start", None)
    return start.steps if isinstance(start, Start) else []


class StartingMiddleware:
    """Refuse requests with 503 until the application has its state, except those that everybody may read: the page,
    its files, and monitoring."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or has_started(HTTPConnection(scope)) or _is_open(scope):
            await self._app(scope, receive, send)
        else:
            await refuse(Loading(), scope, receive, send)


def _is_open(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] not in READ:
        return False
    return rule_for(scope["path"], scope["method"]).needed is Open.ALL

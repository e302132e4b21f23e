"""The open deployment, as routes and WebSockets use it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.requests import HTTPConnection

if TYPE_CHECKING:  # every package of `server` imports this module
    from jobs.service import Jobs
    from pipeline.assistant import Assistant
    from server.access import Access
    from server.http.draining import Draining
    from server.openai.chat.recent import Recent
    from server.ops.upgrades import Upgrades
    from server.talk.resume import Resumable
    from server.webrtc.registry import Calls


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The objects that all connections share, from the start of the application to its stop."""

    assistant: "Assistant"
    access: "Access"
    draining: "Draining"
    jobs: "Jobs"
    resumable: "Resumable"
    """Live conversations that can continue on another connection."""
    calls: "Calls"
    """Open calls over WebRTC."""
    recent: "Recent"
    """Spoken replies and transcripts of recent chats."""
    upgrades: "Upgrades"
    """Installations of better models."""
    started: int
    """Unix time."""


def keep_state(app: FastAPI, state: State) -> None:
    """Make the state available to all connections of the application."""
    app.state.parley = state


def state_of(connection: HTTPConnection) -> State:
    """Return the state of the application that a connection reached."""
    return opened_state(connection.app)


def opened_state(app: FastAPI) -> State:
    """Return the state of an application whose lifespan has begun."""
    state = app.state.parley
    assert isinstance(state, State)  # noqa: S101  # `keep_state` ran before the first connection
    return state


def has_started(connection: HTTPConnection) -> bool:
    """Whether the application has its state: its lifespan has begun."""
    return hasattr(connection.app.state, "parley")

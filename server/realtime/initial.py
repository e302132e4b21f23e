"""The configuration with which a session begins: that of its client secret, and that of its request."""

import json

from openai.types.realtime import SessionUpdateEvent

from pipeline.errors import BadInput
from pipeline.support.json_text import BadJson, parsed
from pipeline.support.json_types import Json
from server.realtime.config import Config
from server.realtime.errors import RealtimeError
from server.realtime.parsing import MAX_EVENT_CHARS, parse


def session_of(text: str) -> Json:
    """Return the session in a form field. Raises BadInput."""
    try:
        return parsed(text, most_chars=MAX_EVENT_CHARS)
    except BadJson as error:
        raise BadInput(f"'session' {error}.", code="invalid_value", param="session") from None


def begin_with(config: Config, session: Json) -> None:
    """Apply a configuration, as `session.update` would. Raises BadInput."""
    try:
        event, _ = parse(json.dumps({"type": "session.update", "session": session}))
        assert isinstance(event, SessionUpdateEvent)  # noqa: S101  # by its type
        config.update(event)
    except RealtimeError as error:
        raise BadInput(error.message, code=error.code, param=error.param) from None

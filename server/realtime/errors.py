"""Errors as the Realtime API says them."""

from typing import Any

from pipeline.errors import ParleyError

SERVER_CODES = frozenset(
    {"internal", "overloaded", "draining", "timeout", "stt_failed", "tts_failed", "llm_unavailable"}
)
"""Errors of ours that are not the client's fault."""


class RealtimeError(Exception):
    """What a client has sent cannot be used; the session goes on."""

    def __init__(self, message: str, *, code: str, param: str | None = None, event_id: str | None = None) -> None:
        """code: as OpenAI's server says it. param: the field, as a path. event_id: the client's, if it had one."""
        super().__init__(message)
        self.message, self.code, self.param, self.event_id = message, code, param, event_id


def error_event(
    message: str, code: str, *, param: str | None = None, event_id: str | None = None, type: str | None = None
) -> dict[str, Any]:
    """The server event `error`."""
    kind = type or ("server_error" if code in SERVER_CODES else "invalid_request_error")
    return {
        "type": "error",
        "error": {"type": kind, "code": code, "message": message, "param": param, "event_id": event_id},
    }


def as_event(error: RealtimeError | ParleyError, event_id: str | None) -> dict[str, Any]:
    """The server event for an error that was raised while a client event was handled."""
    if isinstance(error, RealtimeError):
        return error_event(error.message, error.code, param=error.param, event_id=error.event_id or event_id)
    return error_event(error.message, error.code, event_id=event_id)

"""Errors in the format of the Realtime API."""

from pipeline.errors import ParleyError

SERVER_CODES = frozenset(
    {"internal", "overloaded", "draining", "timeout", "stt_failed", "tts_failed", "llm_unavailable"}
)
"""Codes of our errors that are not the client's fault."""


class RealtimeError(ParleyError):
    """An invalid client event; the session continues."""

    def __init__(self, message: str, *, code: str, param: str | None = None, event_id: str | None = None) -> None:
        """code: OpenAI's error code. param: the path of the field. event_id: ID of the client event, if it had one."""
        super().__init__(message, code=code)
        self.param, self.event_id = param, event_id


def error_event(
    message: str, code: str, *, param: str | None = None, event_id: str | None = None, type: str | None = None
) -> dict[str, object]:
    """Return the server event `error`."""
    kind = type or ("server_error" if code in SERVER_CODES else "invalid_request_error")
    return {
        "type": "error",
        "error": {"type": kind, "code": code, "message": message, "param": param, "event_id": event_id},
    }


def as_event(error: ParleyError, event_id: str | None) -> dict[str, object]:
    """Return the server event for an error raised while a client event was handled."""
    if isinstance(error, RealtimeError):
        return error_event(error.message, error.code, param=error.param, event_id=error.event_id or event_id)
    return error_event(error.message, error.code, event_id=event_id)

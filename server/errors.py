"""Errors as each protocol says them."""

from typing import Any

from pipeline.errors import Overloaded, ParleyError


def as_json(error: ParleyError) -> dict[str, Any]:
    """`{"error": {"code", "message"}}`, the form of /ws and of what has no form of its own."""
    body: dict[str, Any] = {"code": error.code, "message": error.message}
    if isinstance(error, Overloaded):
        body["retry_after_s"] = error.retry_after_s
    return {"error": body}

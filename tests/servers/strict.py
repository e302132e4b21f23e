"""Checks of strict chat templates and small contexts, as in the servers that have them."""

from collections.abc import Sequence
from typing import Any

ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/... (after the optional system message)"


def refused(messages: Sequence[dict[str, Any]]) -> str:
    """The error of a template as strict as Mistral's and Gemma's together; empty if there is none."""
    if any(message["role"] == "system" for message in messages[1:]):
        return "System role is only supported at the beginning"
    talk = [message for message in messages if message["role"] != "system"]
    if not talk or talk[0]["role"] != "user" or talk[-1]["role"] not in ("user", "tool"):
        return "Expected the user first, and the user or a tool last"
    pending: list[str] = []
    for number, message in enumerate(talk):
        if message["role"] == "tool":
            if not pending:
                return "Tool message without a tool call before it"
            pending.pop(0)
        elif pending:
            return "Not the same number of function calls and responses"
        pending = [call["function"]["name"] for call in message.get("tool_calls") or ()] or pending
        if not (message.get("content") or "").strip() and not message.get("tool_calls"):
            return f"Message {number} is empty"
    turns = [m["role"] for m in talk if m["role"] != "tool" and not m.get("tool_calls")]
    if any(role != ("user", "assistant")[number % 2] for number, role in enumerate(turns)):
        return ALTERNATE
    return ""


def tokens(messages: Sequence[dict[str, Any]]) -> int:
    """Approximate number of tokens: one per word."""
    return sum(4 + len((message.get("content") or "").split()) for message in messages)

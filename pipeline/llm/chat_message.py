"""Messages in the form that chat templates read: OpenAI's, with parsed arguments."""

from collections.abc import Mapping
from typing import NotRequired, TypedDict

from pipeline.support.json_types import Json


class CalledFunction(TypedDict):
    name: str
    arguments: Mapping[str, Json]


class FunctionCall(TypedDict):
    id: str
    type: str
    function: CalledFunction


class ChatMessage(TypedDict):
    role: str
    content: str
    tool_calls: NotRequired[list[FunctionCall]]
    tool_call_id: NotRequired[str]
    """In a tool's message, the id of the call that it is the result of."""
    name: NotRequired[str]
    """In a tool's message, the name of the function."""

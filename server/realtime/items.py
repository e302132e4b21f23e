"""Conversion between items of the conversation (`pipeline.conversation.history`) and those of the Realtime API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

from openai.types.realtime import (
    ConversationItem,
    RealtimeConversationItemAssistantMessage,
    RealtimeConversationItemFunctionCall,
    RealtimeConversationItemFunctionCallOutput,
    RealtimeConversationItemSystemMessage,
    RealtimeConversationItemUserMessage,
)

from pipeline.audio.clip import Clip
from pipeline.conversation.history import INTERRUPTED, Item, item_id
from pipeline.llm import Message, Tool, ToolCall
from pipeline.support.json_types import Json, JsonObject
from server.realtime.audio import Format, check_length, decoded, decoded_size, milliseconds, whole
from server.realtime.errors import RealtimeError
from server.realtime.parsing import check_known

MAX_TEXT_CHARS = 100_000
"""Maximum length of an item's text and of instructions."""
MAX_ID_CHARS = 64

Kind = Literal["message", "function_call", "function_call_output", "mcp_call", "mcp_list_tools"]


class ToolDescription(TypedDict):
    name: str
    description: str
    input_schema: Mapping[str, Json]


class ItemJson(TypedDict):
    """An item as the server reports it."""

    id: str
    type: Kind
    object: NotRequired[Literal["realtime.item"]]
    status: NotRequired[str]
    # Fields of a message:
    role: NotRequired[str]
    content: NotRequired[list[JsonObject]]
    # Fields of a call, its output, or a list of functions:
    call_id: NotRequired[str]
    name: NotRequired[str]
    arguments: NotRequired[str]
    output: NotRequired[str | None]
    server_label: NotRequired[str]
    error: NotRequired[Mapping[str, str] | None]
    tools: NotRequired[list[ToolDescription]]


@dataclass(slots=True)
class Shape:
    """The protocol's properties of an item, without its text, which the conversation holds."""

    kind: Kind
    role: str = ""
    content: str = ""
    """The type of a message's content: input_text, input_audio, output_text, output_audio."""
    status: str = "completed"
    server: str = ""
    """The server that ran an mcp_call, or whose functions an mcp_list_tools lists."""
    failed: bool = False
    tools: tuple[Tool, ...] = ()
    """The functions of an mcp_list_tools."""


@dataclass(frozen=True, slots=True)
class Given:
    """An item that a client has sent."""

    id: str
    shape: Shape
    message: Message | None = None
    """None: the item is sound without a transcript yet."""
    clip: Clip | None = None


def given(item: ConversationItem, format: Format, param: str = "item", *, limit_s: float) -> Given:
    """Convert a client's item. format: format of its sound. limit_s: maximum duration of that sound. Raises
    RealtimeError for content that no engine supports."""
    check_known(item, param)
    id = getattr(item, "id", None) or item_id()
    if len(id) > MAX_ID_CHARS:
        raise RealtimeError(
            f"'{param}.id' is longer than {MAX_ID_CHARS} characters.", code="invalid_value", param=param
        )
    match item:
        case RealtimeConversationItemFunctionCall():
            call = ToolCall(item.call_id or f"call_{id[-20:]}", item.name, item.arguments)
            return Given(id, Shape("function_call"), Message("assistant", "", calls=(call,)))
        case RealtimeConversationItemFunctionCallOutput():
            return Given(
                id, Shape("function_call_output"), Message("tool", _short(item.output, param), call_id=item.call_id)
            )
        case RealtimeConversationItemUserMessage():
            return _user(id, item, format, param, limit_s)
        case RealtimeConversationItemSystemMessage():
            text = "\n".join(part.text or "" for part in item.content)
            return Given(id, Shape("message", "system", "input_text"), Message("system", _short(text, param)))
        case RealtimeConversationItemAssistantMessage():
            text = "\n".join(part.text or part.transcript or "" for part in item.content)
            content = next((part.type for part in item.content if part.type), "output_text")
            return Given(id, Shape("message", "assistant", content), Message("assistant", _short(text, param)))
        case _:
            raise RealtimeError(
                f"Clients cannot create items of type '{item.type}'.",
                code="invalid_value",
                param=f"{param}.type",
            )


def _user(id: str, item: RealtimeConversationItemUserMessage, format: Format, param: str, limit_s: float) -> Given:
    texts: list[str] = []
    sounds: list[bytes] = []
    for index, part in enumerate(item.content):
        where = f"{param}.content[{index}]"
        if part.type == "input_image" or part.image_url:
            raise RealtimeError("Images are not supported.", code="unsupported_content_type", param=f"{where}.type")
        if part.audio and not part.transcript:
            size = sum(map(len, sounds)) + decoded_size(part.audio)
            check_length(milliseconds(size, format), limit_s, f"{where}.audio")
            sounds.append(decoded(part.audio, f"{where}.audio"))
        else:
            texts.append(part.text or part.transcript or "")
    sound = b"".join(sounds)
    content = "input_audio" if any(part.type == "input_audio" for part in item.content) else "input_text"
    if sound and any(texts):
        raise RealtimeError(
            "Send text and sound as two items.", code="unsupported_content_type", param=f"{param}.content"
        )
    if sound:
        return Given(id, Shape("message", "user", "input_audio"), clip=whole(sound, format))
    return Given(id, Shape("message", "user", content), Message("user", _short("\n".join(texts), param)))


def _short(text: str, param: str) -> str:
    if len(text) > MAX_TEXT_CHARS:
        raise RealtimeError(f"'{param}' is longer than {MAX_TEXT_CHARS} characters.", code="string_above_max_length")
    return text


def as_json(item: Item, shape: Shape) -> ItemJson:
    """Return an item as the server reports it, with the content that the conversation holds."""
    told: ItemJson = {"id": item.id, "object": "realtime.item", "type": shape.kind, "status": shape.status}
    call = next((call for message in item.messages for call in message.calls), None)
    output = next((message for message in item.messages if message.role == "tool"), None)
    match shape.kind:
        case "message":
            return {**told, "role": shape.role, "content": [_content(_words(item.messages, shape), shape)]}
        case "function_call" if call:
            return told | {"call_id": call.id, "name": call.name, "arguments": call.arguments}
        case "function_call_output" if output:
            return told | {"call_id": output.call_id or "", "output": output.content}
        case "mcp_list_tools":
            tools: list[ToolDescription] = [
                {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
                for tool in shape.tools
            ]
            return {"id": item.id, "type": "mcp_list_tools", "server_label": shape.server, "tools": tools}
        case "mcp_call":
            return mcp_call(item.id, shape.server, call, output.content if output else None, failed=shape.failed)
        case _:
            return told


def _words(messages: Sequence[Message], shape: Shape) -> str:
    words = "".join(message.content for message in messages)
    # The mark is for the language model; the spoken text ends before it.
    return words.removesuffix(INTERRUPTED) if shape.role == "assistant" else words


def _content(words: str, shape: Shape) -> JsonObject:
    if shape.content == "input_audio":
        return {"type": "input_audio", "transcript": words or None}
    if shape.content == "output_audio":
        return {"type": "output_audio", "transcript": words}
    return {"type": shape.content, "text": words}


def mcp_call(id: str, server: str, call: ToolCall | None, output: str | None, *, failed: bool = False) -> ItemJson:
    """Return an item for a call of a function that the service runs."""
    return {
        "id": id,
        "type": "mcp_call",
        "server_label": server,
        "name": call.name if call else "",
        "arguments": call.arguments if call else "{}",
        "output": None if failed else output,
        "error": {"type": "tool_execution_error", "message": output or ""} if failed else None,
    }

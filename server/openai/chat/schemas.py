"""Response schemas of chat completions, for the OpenAPI document. The tests check the responses themselves with
OpenAI's client."""

from typing import Literal

from server.openapi import ResponseModel, like


class SpokenMessage(ResponseModel):
    """The sound of a reply."""

    id: str
    """A later request can send it as `audio: {id}` of an assistant's message."""
    data: str
    """The sound in base64."""
    transcript: str
    expires_at: int
    """Unix time until which the id is known."""


class FunctionCalled(ResponseModel):
    name: str
    arguments: str
    """A JSON object as the model wrote it."""


class ToolCalled(ResponseModel):
    """A function that the client must run."""

    id: str
    type: Literal["function"]
    function: FunctionCalled


class ReplyMessage(ResponseModel):
    """The reply."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None = None
    audio: SpokenMessage | None = None
    tool_calls: list[ToolCalled] | None = None


class Choice(ResponseModel):
    index: int
    message: ReplyMessage
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatUsage(ResponseModel):
    """Tokens, as the engine counted them or estimated."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(ResponseModel):
    """A reply."""

    model_config = like(
        {
            "id": "chatcmpl-1f0c…",
            "object": "chat.completion",
            "created": 1795195800,
            "model": "llama3.2",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "It is five past ten."},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 31, "completion_tokens": 7, "total_tokens": 38},
        }
    )

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage

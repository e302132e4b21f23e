"""The language model: the Protocol and the table of its engines."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model wants a function to be called."""

    id: str
    """Names the call to its result."""
    name: str
    arguments: str
    """A JSON object, as the model wrote it: it may be broken."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    language: str | None = None
    """ISO 639-1 code in which a user's message was spoken; the reply is expected in it."""
    calls: tuple[ToolCall, ...] = ()
    """What the assistant called; the content may be empty then."""
    call_id: str | None = None
    """Of a tool's message: the call that it answers."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one reply, as the engine counted them."""

    input_tokens: int
    output_tokens: int

    def __add__(self, other: "Usage") -> "Usage":
        """Of several requests."""
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)


@dataclass(frozen=True, slots=True)
class ReplyDelta:
    """The next piece of a reply. `usage` comes with the last one, whose text may be empty."""

    text: str
    usage: Usage | None = None
    calls: tuple[ToolCall, ...] = ()
    """Functions that the model wants to be called; the reply goes on when it is asked again with their results."""


class LanguageModel(Protocol):
    """One language model, shared by all sessions."""

    def reply(
        self, messages: Sequence[Message], *, tools: Sequence[Tool] = (), must_call: bool = False
    ) -> AsyncGenerator[ReplyDelta, None]:
        """Stream the assistant's next message.

        must_call: one of the tools has to be called, as far as the engine can make its model do so.
        Closing the generator (`aclose`) stops the model at once.
        Raises EngineError when the model is away, refuses, or breaks off in mid-reply.
        """
        ...


ENGINES: dict[str, str] = {
    "ollama": "pipeline.llm.ollama",
    "openai": "pipeline.llm.openai",
    "builtin": "pipeline.llm.builtin",
}
"""Engine name → module; see `pipeline.engines` for what a module provides."""

AUTO_ORDER = ("ollama", "builtin")
"""What `auto` tries, best first; the last one always works."""

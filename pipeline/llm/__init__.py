"""The language model: the Protocol and the table of its engines."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    language: str | None = None
    """ISO 639-1 code in which a user's message was spoken; the reply is expected in it."""


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


@dataclass(frozen=True, slots=True)
class ReplyDelta:
    """The next piece of a reply. `usage` comes with the last one, whose text may be empty."""

    text: str
    usage: Usage | None = None


class LanguageModel(Protocol):
    """One language model, shared by all sessions."""

    def reply(self, messages: Sequence[Message], *, tools: Sequence[Tool] = ()) -> AsyncGenerator[ReplyDelta, None]:
        """Stream the assistant's next message.

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

"""The language model: the Protocol and the table of its engines."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Literal, Protocol

from pipeline.support.json_types import Json, JsonObject


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model's request to call a function."""

    id: str
    """Links the call to its result."""
    name: str
    arguments: str
    """A JSON object as the model wrote it, possibly malformed."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    language: str | None = None
    """ISO 639-1 code of the language of a user's message; the reply should be in the same language."""
    calls: tuple[ToolCall, ...] = ()
    """Functions that the assistant called; the content can then be empty."""
    call_id: str | None = None
    """In a tool's message, the id of the call that it is the result of."""
    clock: datetime | None = None
    """In the system message, the time for models that have no clock; None: none."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model can call; `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: Mapping[str, Json]

    def as_function(self) -> JsonObject:
        """Return it in OpenAI's form, which Ollama and chat templates read, too."""
        function: JsonObject = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one reply, as the engine counted them."""

    input_tokens: int
    output_tokens: int

    def __add__(self, other: "Usage") -> "Usage":
        """Add the tokens of several requests."""
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)


@dataclass(frozen=True, slots=True)
class Generation:
    """How a model writes one reply. None: as the deployment's settings or the model's server say."""

    llm_model: str | None = None
    """Another model of the same server (`pipeline.llm.offered`)."""
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = None
    """Token limit of the reply; LLM_MAX_TOKENS limits it, too."""
    stop: tuple[str, ...] = ()
    """Texts before which the reply ends."""
    response_format: Mapping[str, Json] | None = None
    """The form that the reply must have: OpenAI's `json_object` or `json_schema`."""


CLOCK = "current_time"
"""Name of the function that tells a model the time."""

TEMPERATURE = 0.7
"""Sampling temperature of a reply whose client and persona choose none."""
AS_SET = Generation()
"""The deployment's own settings."""


@dataclass(frozen=True, slots=True)
class ReplyDelta:
    """The next chunk of a reply. `usage` comes with the last one, whose text can be empty."""

    text: str
    usage: Usage | None = None
    calls: tuple[ToolCall, ...] = ()
    """Functions that the model wants to call; another request with their results continues the reply."""
    cut: bool = False
    """Whether the reply ended at its token limit; only in the last one."""


class LanguageModel(Protocol):
    """A language model, shared by all sessions."""

    def reply(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        must_call: bool = False,
        generation: Generation = AS_SET,
    ) -> AsyncGenerator[ReplyDelta, None]:
        """Stream the assistant's next message.

        must_call: the model must call one of the tools, as far as the engine can enforce that. generation: options that
        the engine does not have (see USES) have no effect.
        Closing the generator (`aclose`) stops the model at once.
        Raises EngineError when the model is unreachable, refuses the request, or fails during the reply.
        """
        ...


ENGINES: dict[str, str] = {
    "ollama": "pipeline.llm.ollama",
    "openai": "pipeline.llm.openai",
    "local": "pipeline.llm.local",
    "builtin": "pipeline.llm.builtin",
}
"""Engine name → module; see `pipeline.engines` for what a module provides."""

_SERVED = frozenset(field.name for field in fields(Generation))
USES: Mapping[str, frozenset[str]] = {
    "ollama": _SERVED,
    "openai": _SERVED,
    "local": frozenset({"temperature", "top_p", "max_tokens", "stop"}),
    "builtin": frozenset(),
}
"""Engine name → the fields of `Generation` that it uses."""

AUTO_ORDER = ("ollama", "builtin")
"""Engines that `auto` tries, best first; the last one always works. With LOCAL_LLM, `local` stands in for it."""

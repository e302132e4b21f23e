"""The body of a chat completion."""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from fastapi import Request
from pydantic import BaseModel, Field, JsonValue, StringConstraints, ValidationError, model_validator

from pipeline.errors import Overloaded
from pipeline.llm import USES, Generation, Tool
from pipeline.support.json_text import BadJson, parsed, separators
from pipeline.support.json_types import Json
from pipeline.tools import Choice
from server.access import held_of
from server.access.limits import RETRY_S
from server.access.rules import SMALL, WITH_SOUND
from server.errors import BadField, bad_field, field_errors
from server.openai.speech import VoiceId
from server.openapi import like
from server.parameters import NullIsAbsent

MAX_MESSAGES = 1000
MAX_PARTS = 100
MAX_TOOLS = 128
MAX_STOPS, MAX_STOP_CHARS = 4, 100
SEPARATORS, ESCAPES = SMALL // 2, 500_000
"""Commas, colons and brackets in a body: as many as a small one can have. Parsed JSON takes about 30 times as much
memory as its text, except for long strings, such as sound in base64."""
REFUSED: Mapping[str, str] = {
    "function_call": "It is deprecated: send tool_choice.",
    "functions": "It is deprecated: send tools.",
    "logit_bias": "No engine here uses it.",
    "logprobs": "No engine here returns them.",
    "moderation": "There is no moderation here.",
    "top_logprobs": "No engine here returns them.",
    "web_search_options": "There is no web search here.",
}
"""Fields that change the response in a way that is not possible here, and why they are refused."""
UNSUPPORTED: Mapping[str, str] = {"image_url": "Images are not supported.", "file": "Files are not supported."}
"""Types of parts of a message that no engine here can use, and the error for each."""
NO_EFFECT = (
    "metadata", "prediction", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning_effort",
    "safety_identifier", "service_tier", "store", "user", "verbosity",
)  # fmt: skip
"""Fields without an effect, which the response says in a header."""

FunctionName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class InputAudio(BaseModel):
    """A recording."""

    data: str = Field(min_length=1, description="Base64.")
    format: str = Field(default="wav", max_length=20, description="wav, mp3, …; the recording itself decides.")


class Part(NullIsAbsent):
    """A part of a message."""

    type: Literal["text", "refusal", "input_audio"]
    text: str = ""
    refusal: str = ""
    input_audio: InputAudio | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.type == "input_audio" and self.input_audio is None:
            raise ValueError("A part of the type input_audio needs input_audio.")
        return self


class CalledFunction(BaseModel):
    name: str = Field(max_length=200)
    arguments: str = "{}"


class Call(BaseModel):
    """A function call of an earlier reply."""

    id: str = Field(max_length=200)
    type: Literal["function"] = "function"
    function: CalledFunction


class SpokenReply(BaseModel):
    """Names an earlier spoken reply."""

    id: str = Field(max_length=200)


class ChatMessage(NullIsAbsent):
    """A message."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[Part], Field(max_length=MAX_PARTS, fail_fast=True)] = ""
    refusal: str = ""
    audio: SpokenReply | None = None
    tool_calls: list[Call] = Field(default=[], max_length=MAX_TOOLS, fail_fast=True)
    tool_call_id: str = ""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        sound = isinstance(self.content, list) and any(part.type == "input_audio" for part in self.content)
        if sound and self.role != "user":
            raise ValueError("Only a user's message can contain input_audio.")
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("A message of a tool needs tool_call_id.")
        return self


class Function(NullIsAbsent):
    name: FunctionName
    description: str = ""
    parameters: dict[str, JsonValue] = Field(default={})


class FunctionTool(BaseModel):
    """A function that the client runs."""

    type: Literal["function"]
    function: Function


class AudioOptions(BaseModel):
    """How the reply is spoken."""

    voice: str | VoiceId
    format: Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"]


class StreamOptions(NullIsAbsent):
    include_usage: bool = False


class ResponseFormat(NullIsAbsent):
    """The form of the reply's text."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, JsonValue] = Field(default={})


class ChatRequest(NullIsAbsent):
    """A conversation, and how to reply to it."""

    model_config = like(
        {
            "model": "gpt-audio",
            "modalities": ["text", "audio"],
            "audio": {"voice": "alloy", "format": "wav"},
            "messages": [{"role": "user", "content": "What time is it?"}],
        }
    )

    model: str = Field(default="", max_length=200, description="By default the loaded model.")
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)
    modalities: list[Literal["text", "audio"]] = Field(default=["text"], max_length=2)
    audio: AudioOptions | None = Field(default=None, description="Needed for the modality audio.")
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    tools: list[FunctionTool] = Field(default=[], max_length=MAX_TOOLS, fail_fast=True)
    tool_choice: JsonValue = None
    parallel_tool_calls: bool = True
    response_format: ResponseFormat = ResponseFormat(type="text")
    max_completion_tokens: int | None = Field(default=None, ge=1, description="At most LLM_MAX_TOKENS.")
    max_tokens: int | None = Field(default=None, ge=1, description="Deprecated: max_completion_tokens.")
    stop: str | Annotated[list[str], Field(max_length=MAX_STOPS)] = Field(default=[])
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    n: Literal[1] = 1

    @property
    def aloud(self) -> bool:
        """Whether the reply is spoken."""
        return "audio" in self.modalities

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts before which the reply ends."""
        return tuple(one for one in ([self.stop] if isinstance(self.stop, str) else self.stop) if one)

    def generation(self, engine: str) -> Generation:
        """Return how the model writes. Raises BadField for a form that this engine cannot write."""
        form = self.response_format
        if form.type != "text" and "response_format" not in USES.get(engine, ("response_format",)):
            told = f"The language model ({engine}) cannot be held to a form; send response_format text."
            raise BadField("response_format", told, code="unsupported_value")
        schema = {"json_schema": form.json_schema} if form.type == "json_schema" else {}
        return Generation(
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            stop=self.stops,
            response_format=None if form.type == "text" else {"type": form.type, **schema},
        )

    def check(self) -> None:
        """Raises BadField for fields that contradict each other."""
        if self.aloud and self.audio is None:
            raise BadField("audio", "The modality audio needs audio, with voice and format.")
        if self.aloud and self.stream and self.audio is not None and self.audio.format != "pcm16":
            raise BadField("audio.format", "With stream, audio.format must be pcm16.", code="unsupported_value")
        if len(self.stops) > MAX_STOPS or any(len(one) > MAX_STOP_CHARS for one in self.stops):
            raise BadField("stop", f"stop has at most {MAX_STOPS} texts of {MAX_STOP_CHARS} characters.")
        if self.response_format.type == "json_schema" and "schema" not in self.response_format.json_schema:
            raise BadField("response_format.json_schema", "json_schema needs a schema.")

    def functions(self) -> tuple[list[Tool], Choice]:
        """Return the functions that the model may call, and whether it must. Raises BadField."""
        given = [one.function for one in self.tools]
        tools = {one.name: Tool(one.name, one.description, one.parameters) for one in given}
        match self.tool_choice:
            case None | "auto":
                return [*tools.values()], "auto"
            case "none":
                return [], "none"
            case "required":
                return [*tools.values()], "required"
            case {"type": "function", "function": {"name": str(name)}} if name in tools:
                return [tools[name]], "required"
            case {"type": "allowed_tools", "allowed_tools": {"mode": "auto" | "required" as mode, "tools": list(some)}}:
                return _allowed(tools, some), mode
        raise BadField("tool_choice", "tool_choice is not none, auto, required, or one of the functions in tools.")


def _allowed(tools: Mapping[str, Tool], some: Sequence[JsonValue]) -> list[Tool]:
    """Return the functions of an `allowed_tools`. Raises BadField."""
    allowed: list[Tool] = []
    for one in some:
        match one:
            case {"type": "function", "function": {"name": str(name)}} if name in tools:
                allowed.append(tools[name])
            case _:
                raise BadField("tool_choice", "allowed_tools names a function that is not in tools.")
    return allowed


def _check_parts(messages: object) -> None:
    """Raises BadField for the first image or file in messages that are not validated yet."""
    for number, message in enumerate(messages if isinstance(messages, list) else ()):
        parts = message.get("content") if isinstance(message, dict) else None
        for index, part in enumerate(parts if isinstance(parts, list) else ()):
            kind = part.get("type") if isinstance(part, dict) else None
            if isinstance(kind, str) and kind in UNSUPPORTED:
                where = f"messages.{number}.content.{index}.type"
                raise BadField(where, f"{UNSUPPORTED[kind]} Send text or input_audio.", code="unsupported_content_type")


class Received:
    """A request's body, read and checked."""

    def __init__(self, body: Json) -> None:
        """Raises BadField."""
        told = body if isinstance(body, Mapping) else {}
        self._given = {name for name, value in told.items() if value is not None}
        for name, why in REFUSED.items():
            if told.get(name):
                raise BadField(name, f"{name} is not supported. {why}", code="unsupported_parameter")
        _check_parts(told.get("messages"))
        try:
            self.wanted = ChatRequest.model_validate(body)
        except ValidationError as error:
            raise bad_field(field_errors(error), body) from None
        self.wanted.check()

    def ignored(self, engine: str) -> list[str]:
        """Return the given fields without an effect on this engine."""
        options = {field.name for field in dataclasses.fields(Generation)}
        unused = options - USES.get(engine, options) - {"response_format"}
        if "max_tokens" in unused:
            unused.add("max_completion_tokens")
        return sorted(self._given & (unused | {*NO_EFFECT}))


async def received(request: Request) -> Received:
    """Read a request's body: with sound, it can be too large for the event loop. Raises BadField, Overloaded."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise BadField("body", "Send JSON, with Content-Type: application/json.")
    body = await request.body()
    if len(body) <= SMALL:
        return read(body)
    if not held_of(request).take(2 * len(body)):  # for its parsed texts and its sound, until the response has ended
        raise Overloaded("Too many bytes are held; retry soon.", retry_after_s=RETRY_S)
    return await asyncio.to_thread(read, body)


def read(body: bytes) -> Received:
    """Parse and check a body. Raises BadField."""
    try:
        if len(body) > SMALL and separators(body) > SEPARATORS:
            raise BadJson("has too many values")
        if len(body) > SMALL and body.count(b"\\u") > ESCAPES:
            raise BadJson("has too many escaped characters")
        value = parsed(body.decode(), most_chars=WITH_SOUND)
    except UnicodeDecodeError:
        raise BadField("body", "The body is not valid JSON.") from None
    except BadJson as error:
        raise BadField("body", f"The body {error}.") from None
    return Received(value)

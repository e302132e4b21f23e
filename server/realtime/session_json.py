"""The session object of the Realtime API, as the client sees it. The `openai` package's types validate its changes."""

from collections.abc import Mapping
from typing import Literal, NotRequired, Required, TypedDict

from pydantic import BaseModel

from pipeline.support.json_types import Json
from server.realtime.audio import FormatJson
from server.realtime.noise_reduction import NoiseReduction


class TurnDetection(TypedDict, total=False):
    type: Required[Literal["server_vad", "semantic_vad"]]
    create_response: Required[bool]
    interrupt_response: Required[bool]
    # Only for semantic_vad:
    eagerness: str
    # Only for server_vad:
    threshold: float
    prefix_padding_ms: int
    silence_duration_ms: int
    idle_timeout_ms: int | None


class Transcription(TypedDict, total=False):
    model: str
    prompt: str | None
    language: str | None
    languages: list[str] | None
    keywords: list[str] | None
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None


class AudioInput(TypedDict):
    format: FormatJson
    noise_reduction: NoiseReduction | None
    transcription: Transcription | None
    turn_detection: TurnDetection | None


class VoiceId(TypedDict):
    id: str


class AudioOutput(TypedDict):
    format: FormatJson
    voice: str | VoiceId
    speed: float | None


class Audio(TypedDict):
    input: AudioInput
    output: NotRequired[AudioOutput]
    """Not in a transcription session."""


class ToolJson(TypedDict, total=False):
    type: str
    name: str | None
    description: str | None
    parameters: Json
    # Only for an MCP server:
    server_label: str
    server_url: str | None
    connector_id: str | None
    tunnel_id: str | None


class ChoiceJson(TypedDict):
    type: str
    name: NotRequired[str | None]


AnyTool = BaseModel | ToolJson
"""A tool of the session, or of one event."""
ToolChoice = BaseModel | ChoiceJson | str | None


class SessionJson(TypedDict):
    id: str
    object: str
    type: Literal["realtime", "transcription"]
    expires_at: int
    include: list[str] | None
    audio: Audio
    # Not in a transcription session:
    model: NotRequired[str]
    instructions: NotRequired[str | None]
    output_modalities: NotRequired[list[str] | None]
    max_output_tokens: NotRequired[int | str]
    tools: NotRequired[list[ToolJson] | None]
    tool_choice: NotRequired[str | ChoiceJson | None]
    tracing: NotRequired[None]
    truncation: NotRequired[Json]
    prompt: NotRequired[Mapping[str, Json] | None]

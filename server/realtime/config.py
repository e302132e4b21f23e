"""The configuration of a client's session (`session.update`), and the options of a `Session` from it."""

import copy
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, cast

from openai.types.realtime import SessionUpdateEvent
from pydantic import BaseModel

from pipeline.assistant import Assistant
from pipeline.conversation.reply_options import ReplyOptions
from pipeline.errors import BadInput
from pipeline.listening.options import LIMITS, LiveOptions
from pipeline.llm import Tool
from pipeline.personas import ConversationOptions
from pipeline.tools import Choice, Toolbox
from pipeline.voices.catalogue import Voice
from server.realtime.audio import Format, as_json
from server.realtime.errors import RealtimeError
from server.realtime.items import MAX_TEXT_CHARS
from server.realtime.noise_reduction import NoiseReduction, default_noise_reduction, noise_reduction_of
from server.realtime.parsing import check_known
from server.realtime.session_json import (
    AnyTool,
    ChoiceJson,
    SessionJson,
    ToolChoice,
    ToolJson,
    Transcription,
    TurnDetection,
    VoiceId,
)
from server.realtime.transcription import hearing_of

EAGERNESS: dict[str, dict[str, object]] = {
    "low": {"silence_ms": 900, "max_silence_ms": 8000},
    "medium": {"silence_ms": 500, "max_silence_ms": 4000},
    "high": {"silence_ms": 300, "max_silence_ms": 2000},
}
"""Options for each `eagerness` of semantic_vad; `max_silence_ms` is OpenAI's. "auto" is "medium"."""
SERVERS_OWN = frozenset({"id", "object", "expires_at"})
"""Fields of a session that a client cannot change; they are ignored when a client sends a whole session back."""
DETECTION_OPTIONS: Mapping[Literal["prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms"], str] = {
    "prefix_padding_ms": "preroll_ms", "silence_duration_ms": "silence_ms", "idle_timeout_ms": "idle_prompt_s",
}  # fmt: skip
"""Numbers of server_vad → the corresponding options of a conversation."""
TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Function names that model servers accept."""
MAX_TOKENS = 4096
MAX_TOOLS = 128
SPEEDS = (0.25, 1.5)


class Config:
    """One session's configuration: `json`, which the client sees, and the options derived from it."""

    def __init__(
        self,
        assistant: Assistant,
        *,
        model: str,
        transcription: bool,
        lives_s: float,
        timings: bool = False,
        lead_ms: int | None = None,
        speaker_lock: str | None = None,
        conversation_options: ConversationOptions | None = None,
    ) -> None:
        """model: the model name that the client requested; it is only echoed. lives_s: seconds until the session
        expires. timings: whether each response reports the times of its turn. lead_ms: for sound on the tracks of a
        call, whose formats are not the session's: how far ahead of real time it is passed to the track. speaker_lock,
        conversation_options: None: the deployment's. Raises BadInput."""
        self._lead_ms, self._speaker_lock = lead_ms, speaker_lock
        self._assistant = assistant
        self.timings = timings
        conversation_options = conversation_options or ConversationOptions(
            assistant.settings.system_prompt, assistant.voice()
        )
        self._generation = conversation_options.generation
        self._usual_instructions = conversation_options.system_prompt
        self._hears = next((engine.model or engine.engine for engine in assistant.engines), "")
        hearing: Transcription = {"model": self._hears}
        if conversation_options.language:
            hearing["language"] = conversation_options.language
        self.json: SessionJson = {
            "id": f"sess_{secrets.token_hex(10)}",
            "object": "realtime.transcription_session" if transcription else "realtime.session",
            "type": "transcription" if transcription else "realtime",
            "expires_at": int(time.time() + lives_s),
            "include": None,
            "audio": {
                "input": {
                    "format": as_json("audio/pcm"),
                    "noise_reduction": default_noise_reduction(assistant.settings.noise_reduction),
                    "transcription": hearing,
                    "turn_detection": _turn_detection({"type": "server_vad"}),
                }
            },
        }
        if not transcription:
            self.json |= {
                "model": model,
                "instructions": conversation_options.system_prompt,
                "output_modalities": ["audio"],
                "max_output_tokens": "inf",
                "tools": [],
                "tool_choice": "auto",
                "tracing": None,
                "truncation": "auto",
                "prompt": None,
            }
            self.json["audio"]["output"] = {
                "format": as_json("audio/pcm"),
                "voice": conversation_options.voice.name,
                "speed": 1.0,
            }
        self._derive(self.json)

    @property
    def transcription(self) -> bool:
        """Whether it is a transcription session, which transcribes and never replies."""
        return bool(self.json["type"] == "transcription")

    @property
    def transcribes(self) -> bool:
        """Whether the client wants transcripts."""
        return self.transcription or self.json["audio"]["input"]["transcription"] is not None

    def update(self, event: SessionUpdateEvent) -> None:
        """Apply the whole event, or nothing if any part is invalid. Raises RealtimeError."""
        wished = event.session.model_dump(mode="json", exclude_unset=True)
        if wished["type"] != self.json["type"]:
            raise RealtimeError(
                f"This is a {self.json['type']} session. Connect with ?intent=transcription for a transcription "
                "session, without it for a realtime session.",
                code="invalid_value",
                param="session.type",
            )
        check_known(event.session, "session", passed_over=SERVERS_OWN)
        known = {*self.json, "reasoning", "parallel_tool_calls"} - SERVERS_OWN
        changed = cast(
            SessionJson, _merged(self.json, {name: value for name, value in wished.items() if name in known})
        )
        for side in filter(None, (changed["audio"]["input"], changed["audio"].get("output"))):
            if self._lead_ms is not None or not (side["format"] or {}).get("type"):
                side["format"] = as_json("audio/pcm")
        changed["audio"]["input"]["turn_detection"] = _turn_detection(changed["audio"]["input"]["turn_detection"])
        if (transcription := changed["audio"]["input"]["transcription"]) is not None:
            transcription["model"] = transcription.get("model") or self._hears
        if "model" in self.json:
            changed["model"] = changed["model"] or self.json["model"]
        changed["audio"]["input"]["noise_reduction"] = noise_reduction_of(
            changed["audio"]["input"]["noise_reduction"], self.json["audio"]["input"]["noise_reduction"]
        )
        # Not supported: report null, so that the client sees it. Traces belong to the operator.
        if "tracing" in changed:
            changed["tracing"] = None
        self._derive(changed)
        self.json = changed

    def _derive(self, json: SessionJson) -> None:
        """Set the options derived from a configuration. Raises RealtimeError and changes nothing if it is invalid."""
        heard = json["audio"]["input"]
        hearing = hearing_of(heard["transcription"] or {}, self._assistant.recognisers)
        detection = heard["turn_detection"]
        partial_ms = hearing.partial_ms if json["type"] == "transcription" else 0
        options = self._options(detection, heard["noise_reduction"], partial_ms)
        reply_options = ReplyOptions(
            answers=json["type"] == "realtime" and detection is not None and detection["create_response"] is not False,
            keeps_all=detection is None,
            hint=hearing.hint,
            languages=hearing.languages,
            words=bool(json["include"]),  # logprobs, the only includable field, need words
            generation=self._generation,
        )
        voice = self._assistant.voice()
        if json["type"] == "realtime":
            if json.get("prompt"):
                raise RealtimeError(
                    "Stored prompts are not supported; send instructions.", code="invalid_value", param="session.prompt"
                )
            if len(json["instructions"] or "") > MAX_TEXT_CHARS:
                raise RealtimeError(
                    f"'session.instructions' is longer than {MAX_TEXT_CHARS} characters.",
                    code="string_above_max_length",
                    param="session.instructions",
                )
            speed = json["audio"]["output"].get("speed")
            if speed is not None and not SPEEDS[0] <= speed <= SPEEDS[1]:
                raise RealtimeError(
                    f"'session.audio.output.speed' must be from {SPEEDS[0]} to {SPEEDS[1]}.",
                    code="invalid_value",
                    param="session.audio.output.speed",
                )
            voice = self.voice(json["audio"]["output"]["voice"], "session.audio.output.voice")
            reply_options = replace(
                reply_options,
                aloud=aloud(json["output_modalities"], "session.output_modalities"),
                max_tokens=max_tokens(json["max_output_tokens"], "session.max_output_tokens"),
                speed=speed or 1.0,
                tools=self.toolbox(json["tools"] or [], json["tool_choice"], "session"),
            )
            self.output_format: Format = json["audio"]["output"]["format"]["type"]
        self.input_format: Format = heard["format"]["type"]
        usual = self._assistant.settings.speech_language
        self.language = hearing.language or (usual if not hearing.languages else None) or None
        self.options, self.reply_options, self.voice_now = options, reply_options, voice
        self.instructions: str = json.get("instructions") or ""
        self.own_instructions = self.instructions != self._usual_instructions
        """Whether the client gave the instructions; they then reach the model as they are."""

    def _options(
        self, detection: TurnDetection | None, reduction: NoiseReduction | None, partial_ms: int | None
    ) -> LiveOptions:
        """partial_ms: None: the deployment's."""
        options = LiveOptions.of(self._assistant.settings)
        wishes: dict[str, object] = {
            "turn_detection": detection is not None,
            "idle_prompt_s": 0,
            "noise_reduction": 0.0 if reduction is None else reduction["strength"],
        }
        if partial_ms is not None:
            wishes["partial_ms"] = partial_ms
        if self._lead_ms is not None:
            wishes["lead_ms"] = self._lead_ms
        if self._speaker_lock is not None:
            wishes["speaker_lock"] = self._speaker_lock
        if detection is not None:
            wishes["interruptible"] = detection["interrupt_response"] is not False
            if detection["type"] == "semantic_vad":
                eagerness = detection["eagerness"]
                wishes |= {"adaptive_endpointing": True, **EAGERNESS.get(eagerness, EAGERNESS["medium"])}
            else:
                if not 0 <= detection["threshold"] <= 1:
                    raise _no_detection("threshold", "must be from 0 to 1.")
                wishes |= {
                    "adaptive_endpointing": False,
                    "vad_threshold": min(0.95, max(0.05, detection["threshold"])),
                }
                for field, name in DETECTION_OPTIONS.items():
                    number = detection[field] or 0
                    low, high = LIMITS[name]
                    scale = 1000 if name.endswith("_s") else 1
                    if not low * scale <= number <= high * scale:
                        raise _no_detection(field, f"must be from {low * scale:g} to {high * scale:g}.")
                    wishes[name] = number / scale
        return options.changed(wishes)

    # --- options that a single response can also set ---

    def voice(self, wanted: str | VoiceId, param: str) -> Voice:
        """Return the voice with that name (or {"id"}), or the deployment's voice for OpenAI's names. Raises
        RealtimeError."""
        name = wanted.get("id") if isinstance(wanted, dict) else wanted
        try:
            return self._assistant.openai_voice(str(name or ""))
        except BadInput as error:
            raise RealtimeError(error.message, code="invalid_value", param=param) from None

    def toolbox(self, tools: Sequence[AnyTool], choice: ToolChoice, param: str) -> Toolbox:
        """Return the client's and the operator's functions with the tool choice. Raises RealtimeError."""
        if len(tools) > MAX_TOOLS:
            raise RealtimeError(f"There are more than {MAX_TOOLS} tools.", code="invalid_value", param=f"{param}.tools")
        client: list[Tool] = []
        for index, tool in enumerate(tools):
            given = _tool_json(tool)
            where = f"{param}.tools[{index}]"
            if given.get("type") == "mcp":
                self._check_mcp(given, where)
                continue
            if not (name := given.get("name")):
                raise RealtimeError(
                    f"Missing required parameter: '{where}.name'.", code="missing_required_parameter", param=where
                )
            if not TOOL_NAME.fullmatch(name):
                raise RealtimeError(
                    f"'{where}.name' must match {TOOL_NAME.pattern}.", code="invalid_value", param=f"{where}.name"
                )
            parameters = given.get("parameters")
            if not isinstance(parameters, dict | None):
                raise RealtimeError(
                    f"'{where}.parameters' must be an object.", code="invalid_type", param=f"{where}.parameters"
                )
            schema = parameters or {"type": "object", "properties": {}}
            client.append(Tool(name, given.get("description") or "", schema))
        toolbox = replace(self._assistant.tools, client=client, choice=_choice(choice))
        if toolbox.choice not in ("auto", "none", "required") and not toolbox.tools(live=True):
            raise RealtimeError(
                f"Tool choice '{toolbox.choice[:64]}' not found in 'tools' parameter.",
                code="invalid_value",
                param=f"{param}.tool_choice",
            )
        return toolbox

    def _check_mcp(self, tool: ToolJson, where: str) -> None:
        """Check that a client names only MCP servers that the operator has configured: it must not make this service
        connect to others. Raises RealtimeError."""
        servers = {function.server for function in self._assistant.tools.functions.values()}
        elsewhere = tool.get("server_url") or tool.get("connector_id") or tool.get("tunnel_id")
        if elsewhere or tool["server_label"] not in servers:
            there = ", ".join(sorted(servers)) or "none"
            raise RealtimeError(
                f"The service's operator configures MCP servers; available: {there}. Name one as server_label, without "
                "server_url, connector_id and tunnel_id.",
                code="invalid_value",
                param=where,
            )

    def shown_servers(self, tools: Sequence[AnyTool] | None = None) -> set[str]:
        """Return the servers whose calls the client wants to see, because it lists them among its tools."""
        listed = self.json.get("tools") if tools is None else tools
        given = map(_tool_json, listed or ())
        return {tool["server_label"] for tool in given if tool.get("type") == "mcp"}


def aloud(modalities: Sequence[str] | None, param: str) -> bool:
    """Whether the reply is spoken. Raises RealtimeError."""
    if not modalities or set(modalities) == {"audio"} or set(modalities) == {"audio", "text"}:
        return True
    if set(modalities) == {"text"}:
        return False
    raise RealtimeError(f"'{param}' must be ['audio'] or ['text'].", code="invalid_value", param=param)


def max_tokens(wanted: object, param: str) -> int | None:
    """Return the token limit, or None for "inf". Raises RealtimeError."""
    if wanted is None or wanted == "inf":
        return None
    if not isinstance(wanted, int) or not 1 <= wanted <= MAX_TOKENS:
        raise RealtimeError(f"'{param}' must be from 1 to {MAX_TOKENS}, or 'inf'.", code="invalid_value", param=param)
    return wanted


def _no_detection(field: str, why: str) -> RealtimeError:
    param = f"session.audio.input.turn_detection.{field}"
    return RealtimeError(f"'{param}' {why}", code="invalid_value", param=param)


def _tool_json(tool: AnyTool) -> ToolJson:
    return cast(ToolJson, tool.model_dump(mode="json")) if isinstance(tool, BaseModel) else tool


def _choice(choice: ToolChoice) -> Choice:
    if isinstance(choice, str | None):
        return choice or "auto"
    given = cast(ChoiceJson, choice.model_dump(mode="json")) if isinstance(choice, BaseModel) else choice
    return given.get("name") or "required"


def _turn_detection(wanted: Mapping[str, object] | None) -> TurnDetection | None:
    """Return the turn detection with defaults for omitted fields."""
    if wanted is None:
        return None
    common = {"type": wanted["type"], "create_response": True, "interrupt_response": True}
    if wanted["type"] == "semantic_vad":
        defaults = {**common, "eagerness": "auto"}
    else:
        defaults = {
            **common, "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500, "idle_timeout_ms": None,
        }  # fmt: skip
    whole = {name: default if wanted.get(name) is None else wanted[name] for name, default in defaults.items()}
    return cast(TurnDetection, whole)


_WHOLE = frozenset({"turn_detection", "transcription", "noise_reduction", "format", "tools", "tool_choice", "include"})
"""Fields that are replaced as a whole: their parts are meaningless without each other."""


def _merged(current: Mapping[str, object], wished: Mapping[str, object]) -> dict[str, object]:
    """Return the configuration with a client's changes. Omitted fields stay, and so do fields set to null where null
    has no meaning."""
    merged = copy.deepcopy(dict(current))
    for name, value in wished.items():
        before = merged.get(name)
        if isinstance(value, dict) and isinstance(before, dict) and name not in _WHOLE:
            merged[name] = _merged(before, value)
        elif value is not None or name in _WHOLE or before is None:
            merged[name] = value
    return merged

"""WebSockets in the OpenAPI document: each is a GET that is answered with 101, with its query parameters.

OpenAPI has no other form for them. The messages are in docs/protocol.md, docs/realtime.md and docs/translation.md.
"""

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields

from pipeline.audio.clip import MAX_RATE_HZ, MIN_RATE_HZ
from pipeline.listening.options import LIMITS, LiveOptions
from pipeline.support.json_types import JsonObject


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter."""

    name: str
    description: str
    schema: JsonObject

    @property
    def described(self) -> JsonObject:
        """Its parameter object."""
        return {"name": self.name, "in": "query", "description": self.description, "schema": self.schema}


TEXT: JsonObject = {"type": "string"}
SWITCH: JsonObject = {"type": "boolean", "default": False}
VOICE = Parameter("voice", "Name of a voice; by default VOICE_NAME.", TEXT)
LANGUAGE = Parameter("language", "Language of the speech (ISO 639-1); by default it is detected.", TEXT)
SYSTEM = Parameter("system", "System prompt of this conversation.", {"type": "string", "maxLength": 8_000})
PERSONA = Parameter("persona", "Id of a persona (`/personas`); other parameters change it.", TEXT)
LLM_MODEL = Parameter("llm_model", "A language model of `/llm-models`; by default the deployment's.", TEXT)
TEMPERATURE = Parameter(
    "temperature",
    "Sampling temperature; by default that of the persona, or 0.7.",
    {"type": "number", "minimum": 0, "maximum": 2},
)
RECORD = Parameter(
    "record", "0: do not record this conversation, if the service records.", {"type": "string", "enum": ["0", "1"]}
)
RATE = Parameter(
    "rate",
    "The sound is raw 16-bit mono PCM at this rate, in Hz; without it, a WAV or another file.",
    {"type": "integer", "minimum": MIN_RATE_HZ, "maximum": MAX_RATE_HZ},
)


def _options() -> list[Parameter]:
    """Return a parameter for each option of a live conversation."""
    found = []
    for field in fields(LiveOptions):
        assert field.default is not MISSING  # noqa: S101  # each option has a default
        kind = {bool: "boolean", int: "integer", float: "number", str: "string"}[type(field.default)]
        schema: JsonObject = {"type": kind}
        if field.name in LIMITS:
            schema["minimum"], schema["maximum"] = LIMITS[field.name]
        found.append(Parameter(field.name, "With stream=1: an option of the conversation (docs/protocol.md).", schema))
    return found


@dataclass(frozen=True, slots=True)
class Socket:
    """A WebSocket. refusals: HTTP statuses of an invalid query; empty: it is an error on the open connection."""

    tag: str
    summary: str
    description: str
    parameters: Sequence[Parameter]
    subprotocol: str = ""
    refusals: Sequence[int] = ()


SOCKETS: dict[str, Socket] = {
    "/ws": Socket(
        "conversations",
        "Talk: a recording in, text and speech out; or live",
        "WebSocket. Send an audio file as one binary message; a JSON message with `transcription` and `llama` and a "
        "WAV come back. With `stream=1` it is a live conversation: send sound as it is recorded.",
        [
            Parameter("stream", "1: a live conversation.", {"type": "string", "enum": ["0", "1"]}),
            PERSONA, VOICE, LANGUAGE, SYSTEM, LLM_MODEL, TEMPERATURE, RECORD, RATE,
            Parameter("resume", "With stream=1: token of the conversation to resume.", TEXT),
            *_options(),
        ],
        "parley",
    ),
    "/v1/realtime": Socket(
        "conversations",
        "Talk in the form of OpenAI's Realtime API",
        "WebSocket. Client and server events are OpenAI's.",
        [
            Parameter("model", "Any name; it is reported back.", {"type": "string", "default": "gpt-realtime"}),
            PERSONA, LLM_MODEL, TEMPERATURE,
            Parameter("intent", "Open a transcription session.", {"type": "string", "enum": ["transcription"]}),
            RECORD,
            Parameter("timings", "Add each response's times to its metadata.", SWITCH),
            Parameter("speaker_lock", "Name of an enrolled voice: answer only its speaker; off: everybody.", TEXT),
        ],
        "realtime",
        (400,),
    ),
    "/v1/realtime/translations": Socket(
        "conversations",
        "Translate speech while it is spoken",
        "WebSocket. Client and server events are those of OpenAI's translation sessions.",
        [Parameter("model", "Any name; it is reported back.", TEXT)],
        "realtime",
        (400,),
    ),
    "/api/v1/streaming": Socket(
        "transcription",
        "Transcribe a recording while it arrives",
        "WebSocket. Send the recording in binary messages, then `{\"action\": \"stop\"}`; `{\"transcription\"}` comes "
        "back.",
        [
            LANGUAGE,
            Parameter("prompt", "Names and style to expect.", TEXT),
            Parameter("partials", "Send `{\"partial\"}` while the recording arrives.", SWITCH),
            RATE,
        ],
    ),
}  # fmt: skip
"""Path → its description. Paths of telephone providers are not part of the document."""


def paths() -> dict[str, JsonObject]:
    """Return the path item of each WebSocket, without the errors that all routes have."""
    return {path: {"get": _operation(path, socket)} for path, socket in SOCKETS.items()}


def _operation(path: str, socket: Socket) -> JsonObject:
    opened: JsonObject = {"description": "The connection is open."}
    if socket.subprotocol:
        header: JsonObject = {
            "description": "The subprotocol, if the client offers it.",
            "schema": {"type": "string", "enum": [socket.subprotocol]},
        }
        opened["headers"] = {"Sec-WebSocket-Protocol": header}
    return {
        "tags": [socket.tag],
        "summary": socket.summary,
        "description": socket.description,
        "operationId": f"socket{path.replace('/', '_')}",
        "parameters": [parameter.described for parameter in socket.parameters],
        "responses": {"101": opened},
    }

"""The table of all fields that a client of the Realtime API can send, in `docs/openai-fields.md`: the types of the
installed `openai` package, and for each field its effect and a trial that finds it out.

python -m tests.realtime.fields    write the table into the document
"""

import asyncio
import importlib
import json
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import httpx
from openai.types import realtime
from openai.types.realtime import translations
from typing_extensions import is_typeddict
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from pipeline.conversation.turn import Stages
from pipeline.errors import BadInput
from pipeline.llm import Message
from pipeline.settings import HOME, Settings
from pipeline.tools import Function, Toolbox, function_of
from server.realtime import items
from server.realtime.config import Config
from server.realtime.errors import RealtimeError
from server.realtime.handlers import HANDLERS
from server.realtime.initial import begin_with
from server.realtime.parsing import EVENTS, parse, sent_input
from server.realtime.requests import requested
from server.realtime.session import RealtimeSession
from server.realtime.translations.config import EVENTS as TRANSLATION_EVENTS
from server.realtime.translations.config import TranslationConfig
from tests import virtual_time
from tests.realtime.desk import Desk, assistant, hold
from tests.realtime.document_part import write
from tests.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS
from tests.server_process import Service
from tests.webrtc.caller import offer

DOCUMENT = HOME / "docs" / "openai-fields.md"
BEGIN, END = "<!-- realtime: made by python -m tests.realtime.fields -->", "<!-- end of realtime -->"
USED, NO_EFFECT, REFUSED = "used", "no effect", "refused"
ELSEWHERE = "AudioTranscriptionParam"
"""The type that has a table of its own in the document."""
FEW = 8
"""More fields than these are "all" in the document, if they have the same effect."""


def _modules() -> Iterator[ModuleType]:
    for package in (realtime, translations):
        for found in pkgutil.iter_modules(package.__path__):
            if found.name.endswith(("_param", "_params")):
                yield importlib.import_module(f"{package.__name__}.{found.name}")


def types() -> dict[str, frozenset[str]]:
    """Return name → fields of each type that a client can send. Types of one name and different fields have the name of
    the last type of their module before them."""
    found: dict[str, set[frozenset[str]]] = {}
    places: list[tuple[str, str, frozenset[str]]] = []
    for module in _modules():
        own = [one for one in vars(module).values() if is_typeddict(one) and one.__module__ == module.__name__]
        for one in own:
            fields = frozenset(one.__annotations__)
            found.setdefault(one.__name__, set()).add(fields)
            places.append((own[-1].__name__, one.__name__, fields))
    return {
        name if len(found[name]) == 1 else f"{owner}.{name}": fields
        for owner, name, fields in places
        if name != ELSEWHERE
    }


@dataclass(frozen=True)
class Found:
    """Outcome of a trial."""

    effect: str
    code: str = ""
    param: str = ""
    """Field that a refusal names."""


Trial = Callable[[Service], Found]


@dataclass(frozen=True)
class Field:
    """A field's documented effect, and a trial of it."""

    effect: str
    how: str
    trial: Trial
    code: str = ""
    """Code of the error, for a refused field."""


def used(trial: Trial, how: str = "") -> Field:
    return Field(USED, how, trial)


def no_effect(trial: Trial, how: str = "") -> Field:
    return Field(NO_EFFECT, how, trial)


def refused(trial: Trial, code: str = "invalid_value", how: str = "") -> Field:
    return Field(REFUSED, how or f"`{code}`", trial, code)


# --- trials ---


async def look() -> str:
    """Look around."""
    return "fine"


def _assistant() -> Any:
    function = Function(function_of(look).tool, function_of(look).run, server="garden")
    stages = Stages(ScriptedSTT(), ScriptedLLM(), ScriptedTTS())
    return assistant(stages, Settings(idle_timeout_s=0), Toolbox({"look": function}))


def refusal(error: RealtimeError | BadInput) -> Found:
    return Found(REFUSED, error.code, error.param or "")


def _derived(config: Config) -> tuple[object, ...]:
    output = config.output_format if not config.transcription else None
    return (
        config.options, config.reply_options, config.voice_now, config.input_format, output, config.instructions,
        config.language, config.transcription, config.transcribes, config.shown_servers(),
    )  # fmt: skip


def session(changed: object, before: object = None, *, kind: str = "realtime") -> Trial:
    """Whether a change of a session's configuration changes anything but the report of it. before: configuration
    before the change."""

    def trial(_: Service) -> Found:
        config = Config(_assistant(), model="test", transcription=kind == "transcription", lives_s=60)
        if before is not None:
            begin_with(config, {"type": kind, **before})  # type: ignore[dict-item]
        first = _derived(config)
        try:
            begin_with(config, {"type": kind, **changed})  # type: ignore[dict-item]
        except BadInput as error:
            return refusal(error)
        return Found(USED if _derived(config) != first else NO_EFFECT)

    return trial


def heard(kind: str = "realtime", **changed: object) -> Trial:
    return session({"audio": {"input": changed}}, kind=kind)


def detection(before: Mapping[str, object] | None = None, **changed: object) -> Trial:
    """Change the turn detection."""
    first = before or {"type": "server_vad"}
    return session(
        {"audio": {"input": {"turn_detection": {**first, **changed}}}}, {"audio": {"input": {"turn_detection": first}}}
    )


def tool(first: Mapping[str, object], **changed: object) -> Trial:
    return session({"tools": [{**first, **changed}]}, {"tools": [first]})


def spoken(**changed: object) -> Trial:
    return session({"audio": {"output": changed}})


def item(first: Mapping[str, object], **changed: object) -> Trial:
    """Whether an item with this field is another item for the conversation."""

    def of(sent: Mapping[str, object]) -> tuple[object, ...]:
        event, _ = parse(json.dumps({"type": "conversation.item.create", "item": sent}))
        one = items.given(event.item, "audio/pcm", limit_s=60)  # type: ignore[attr-defined]
        return one.id, one.shape, one.message, one.clip and one.clip.samples.tobytes()

    def trial(_: Service) -> Found:
        plain = {"id": "item_1", **first}
        try:
            return Found(USED if of({**plain, **changed}) != of(plain) else NO_EFFECT)
        except RealtimeError as error:
            return refusal(error)

    return trial


def content(role: str, first: Mapping[str, object], **changed: object) -> Trial:
    base = {"type": "message", "role": role}
    return item({**base, "content": [first]}, content=[{**first, **changed}])


def response(changed: object, before: object = None) -> Trial:
    """Whether a field of `response.create` changes the response."""

    async def run() -> Found:
        session = RealtimeSession(_assistant(), model="test", transcription=False, record=False, timings=False)
        async with session:
            begin_with(session.config, before or {"type": "realtime"})  # type: ignore[arg-type]
            session.configure()
            session.live.conversation.place(Message("user", "hello"), id="item_known")
            session.translation.know(
                session.live.conversation.get("item_known"), items.Shape("message", "user", "input_text")
            )
            found = []
            for asked in ({}, changed):
                event, sent = parse(json.dumps({"type": "response.create", "response": asked}))
                wanted = requested(session, event.response, sent_input(sent))  # type: ignore[attr-defined]
                found.append((wanted.reply_options, wanted.asked, wanted.messages))
            return Found(USED if found[0] != found[1] else NO_EFFECT)

    def trial(_: Service) -> Found:
        try:
            return virtual_time.run(run())
        except RealtimeError as error:
            return refusal(error)

    return trial


def translated(changed: object, before: object = None) -> Trial:
    """Whether a change of a translation session changes anything but the report of it."""

    def trial(_: Service) -> Found:
        config = TranslationConfig(model="test", lives_s=60, noise_reduction=0.0)
        config.begin_with(before or {})  # type: ignore[arg-type]
        first = config.language, config.noise_reduction, config.transcribes
        try:
            config.begin_with(changed)  # type: ignore[arg-type]
        except BadInput as error:
            return refusal(error)
        second = config.language, config.noise_reduction, config.transcribes
        return Found(USED if first != second else NO_EFFECT)

    return trial


def names() -> Trial:
    """Whether the name of a session's model changes anything but the report of it."""

    def trial(_: Service) -> Found:
        one = _assistant()
        found = [_derived(Config(one, model=name, transcription=False, lives_s=60)) for name in ("a", "b")]
        return Found(USED if found[0] != found[1] else NO_EFFECT)

    return trial


def translation_names(_: Service) -> Found:
    """Whether the name of a translation's model changes anything but the report of it."""
    found = [TranslationConfig(model=name, lives_s=60, noise_reduction=0.0) for name in ("a", "b")]
    same = len({(one.language, one.noise_reduction, one.transcribes) for one in found}) == 1
    return Found(NO_EFFECT if same and found[1].json["model"] == "b" else USED)


def wrong(trial: Trial, param: str) -> Trial:
    """Try a field with one right value, or one that names something: it is used if a wrong value is refused, by its
    name."""

    def tried(service: Service) -> Found:
        found = trial(service)
        return Found(USED) if found.effect == REFUSED and found.param.endswith(param) else Found(NO_EFFECT)

    return tried


def event(kind: str, **fields: object) -> Trial:
    """Send an event to a running session."""

    def trial(_: Service) -> Found:
        found: list[Found] = []

        async def script(desk: Desk) -> None:
            id = desk.send(kind, **fields)
            await desk.silence(100)
            told = [one["error"] for one in desk.of("error") if one["error"]["event_id"] == id]
            found.append(Found(REFUSED, told[0]["code"], told[0]["param"] or "") if told else Found(USED))

        hold(script)
        return found[0]

    return trial


def of_event(kind: str, of: str = "realtime") -> dict[str, Field]:
    """Return the fields that each event has: its type selects the handler, and an error repeats its id."""
    events = EVENTS if of == "realtime" else TRANSLATION_EVENTS

    def selects(_: Service) -> Found:
        model = events[kind]
        return Found(USED if of != "realtime" or model in HANDLERS else NO_EFFECT)

    def repeats(_: Service) -> Found:
        try:
            parse(json.dumps({"type": kind, "event_id": "mine", **LEAST.get(kind, {}), "unknown": 1}), events)
        except RealtimeError as error:
            return Found(USED if error.event_id == "mine" and error.param == "unknown" else NO_EFFECT)
        return Found(NO_EFFECT)

    return {"type": used(selects), "event_id": used(repeats, "an error repeats it")}


def requests(path: str, *, method: str = "POST", **sent: Any) -> Trial:
    """Send an HTTP request."""

    def trial(service: Service) -> Found:
        answer = httpx.request(method, f"{service.url}{path}", timeout=60, **sent)
        if answer.is_success:
            return Found(USED)
        told = answer.json()["error"]
        return Found(REFUSED, told["code"], told["param"] or "")

    return trial


def secret(sent: object, path: str = "/v1/realtime/client_secrets") -> Trial:
    return requests(path, json=sent)


def form(**fields: str) -> Trial:
    return requests("/v1/realtime/calls", files={name: (None, value) for name, value in fields.items()})


def call(**fields: str) -> Trial:
    """Open a call with an offer that is valid."""
    return lambda service: form(sdp=asyncio.run(offer()), **fields)(service)


def connects(query: str) -> Trial:
    def trial(service: Service) -> Found:
        try:
            with connect(f"ws://127.0.0.1:{service.port}/v1/realtime?{query}") as connection:
                connection.recv(timeout=60)
        except InvalidStatus as error:
            told = json.loads(error.response.body or b"")["error"]
            return Found(REFUSED, told["code"], told["param"] or "")
        return Found(USED)

    return trial


def whole(names_: str, field: Callable[[], Field]) -> dict[str, Field]:
    """Return the same field for each name."""
    return {name: field() for name in names_.split()}


# --- what is sent ---

LOGPROBS = ["item.input_audio_transcription.logprobs"]
TEXT = {"type": "input_text", "text": "hello"}
MESSAGE = {"type": "message", "role": "user", "content": [TEXT]}
TOLD = {"type": "output_text", "text": "hello"}
CALL = {"type": "function_call", "name": "look", "arguments": "{}", "call_id": "call_1"}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "fine"}
TOOL = {"type": "function", "name": "tides", "description": "Tell the tides.", "parameters": {"type": "object"}}
MCP: dict[str, object] = {"type": "mcp", "server_label": "garden"}
SOUND = "AAAAAAAA"
VAD = {"type": "server_vad"}
SEMANTIC: dict[str, object] = {"type": "semantic_vad"}
PROMPT = {"id": "pmpt_1"}
LEAST: dict[str, dict[str, object]] = {
    "session.update": {"session": {"type": "realtime"}},
    "input_audio_buffer.append": {"audio": SOUND},
    "conversation.item.create": {"item": MESSAGE},
    "conversation.item.delete": {"item_id": "absent"},
    "conversation.item.retrieve": {"item_id": "absent"},
    "conversation.item.truncate": {"item_id": "absent", "content_index": 0, "audio_end_ms": 0},
    "session.input_audio_buffer.append": {"audio": SOUND},
}
"""Required fields of events, besides their type."""
TRANSLATION = {"model": "gpt-realtime-translate"}
OPERATOR = "the operator configures it"


def approvals() -> dict[str, dict[str, Field]]:
    """Return the fields of the filters of MCP tools, of a session and of a response."""
    found: dict[str, dict[str, Field]] = {}
    for place, prefix in ((_session_mcp, "Mcp"), (_response_mcp, "")):
        found[f"{prefix}AllowedToolsMcpToolFilter"] = {
            "read_only": no_effect(place(allowed_tools={"read_only": True}), "all functions of the server are offered"),
            "tool_names": no_effect(
                place(allowed_tools={"tool_names": ["a"]}), "all functions of the server are offered"
            ),
        }
        name = f"{prefix}RequireApprovalMcpToolApprovalFilter"
        for kind in ("always", "never"):
            found[f"{name}{kind.title()}"] = {
                "read_only": no_effect(place(require_approval={kind: {"read_only": True}}), OPERATOR),
                "tool_names": no_effect(place(require_approval={kind: {"tool_names": ["a"]}}), OPERATOR),
            }
        found[name] = {
            kind: no_effect(place(require_approval={kind: {"read_only": True}}), OPERATOR)
            for kind in ("always", "never")
        }
    return found


def _session_mcp(**changed: object) -> Trial:
    return tool(MCP, **changed)


def _response_mcp(**changed: object) -> Trial:
    return response({"tools": [{**MCP, **changed}]}, {"type": "realtime", "tools": [MCP]})


def mcp(place: Callable[..., Trial]) -> dict[str, Field]:
    """Return the fields of an MCP server among the tools."""
    elsewhere = "a client cannot make the service connect to other servers"
    return {
        "server_label": used(wrong(place(server_label="absent"), ".tools[0]"), "a server of the operator"),
        "type": used(wrong(place(type="absent"), ".tools[0].type")),
        **{
            name: refused(place(**{name: value}), how=f"`invalid_value`: {elsewhere}")
            for name, value in (
                ("server_url", "https://mcp.example/"), ("connector_id", "connector_gmail"), ("tunnel_id", "tunnel_1"),
            )
        },
        **{
            name: no_effect(place(**{name: value}), OPERATOR)
            for name, value in (
                ("authorization", "token"), ("headers", {"a": "b"}), ("server_description", "A garden."),
                ("defer_loading", True), ("allowed_callers", ["direct"]), ("require_approval", "always"),
            )
        },
        "allowed_tools": no_effect(place(allowed_tools=["absent"]), "all functions of the server are offered"),
    }  # fmt: skip


def message(first: Mapping[str, object]) -> dict[str, Field]:
    """Return the fields of a message. first: its content."""
    role = {"input_text": "user", "output_text": "assistant"}[str(first["type"])]
    base = {"type": "message", "role": role, "content": [first]}
    return {
        "content": used(item(base, content=[{**first, "text": "other"}])),
        "role": used(wrong(item(base, role="absent"), "role")),
        **of_item(base),
    }


def of_item(first: Mapping[str, object]) -> dict[str, Field]:
    """Return the fields that all items have."""
    return {
        "type": used(wrong(item(first, type="absent"), "item.type")),
        "id": used(item(first, id="item_other"), "at most 64 characters"),
        "object": no_effect(item(first, object="realtime.item")),
        "status": no_effect(item(first, status="incomplete"), "it is reported as `completed`"),
    }


def not_created(kind: str, fields: str, **sent: object) -> dict[str, Field]:
    """Return the fields of an item that clients cannot create."""

    def trial(_: Service) -> Found:
        event, __ = parse(json.dumps({"type": "conversation.item.create", "item": {"type": kind, "id": "a", **sent}}))
        try:
            items.given(event.item, "audio/pcm", limit_s=60)  # type: ignore[attr-defined]
        except RealtimeError as error:
            return refusal(error)
        return Found(USED)

    return whole(fields, lambda: refused(trial, how="`invalid_value`: only the service makes such items"))


APPROVAL: dict[str, object] = {"approval_request_id": "a", "approve": True}
RUN = {"server_label": "garden", "name": "look", "arguments": "{}"}
LISTED = {"server_label": "garden", "tools": [{"name": "a", "input_schema": {}}]}


def common(place: Callable[..., Trial], where: str) -> dict[str, Field]:
    """Return the fields that a session and a response have in common. place: a trial of them."""
    return {
        "instructions": used(place({"instructions": "Be brief."}), "the system prompt"),
        "max_output_tokens": used(place({"max_output_tokens": 7}), "1 to 4,096, or `inf`"),
        "output_modalities": used(place({"output_modalities": ["text"]}), "`audio` or `text`"),
        "parallel_tool_calls": no_effect(place({"parallel_tool_calls": False})),
        "prompt": refused(place({"prompt": PROMPT}), how="`invalid_value`: stored prompts do not exist here"),
        "reasoning": no_effect(place({"reasoning": {"effort": "low"}})),
        "tool_choice": used(place({"tool_choice": "none"}), "`auto`, `none`, `required`, or a function"),
        "tools": used(place({"tools": [TOOL]}), "at most 128"),
        "audio": used(place({"audio": {"output": {"voice": "woman"}}}), f"{where}, below"),
    }


SESSION: dict[str, Field] = {
    "type": used(wrong(session({"type": "absent"}), "session.type"), "`realtime`"),
    **common(session, "`RealtimeAudioConfigParam`"),
    "include": used(session({"include": LOGPROBS}), "log-probabilities of words"),
    "model": no_effect(names(), "it is reported back"),
    "tracing": no_effect(session({"tracing": "auto"}), "null in the session: the operator configures traces"),
    "truncation": no_effect(session({"truncation": "disabled"}), "`HISTORY_TOKENS` bounds the history"),
}
CALLS = "/v1/realtime/calls/call_1"
TELEPHONE = "404: telephone calls come over [Twilio and AudioSocket](telephone.md)"
CALL_FIELDS = (
    "type audio include instructions max_output_tokens model output_modalities parallel_tool_calls prompt reasoning "
    "tool_choice tools tracing truncation"
)
TABLE: dict[str, dict[str, Field]] = {
    # sessions
    "RealtimeSessionCreateRequestParam": SESSION,
    "RealtimeTranscriptionSessionCreateRequestParam": {
        "type": used(wrong(session({"type": "absent"}, kind="transcription"), "session.type"), "`transcription`"),
        "audio": used(heard("transcription", turn_detection=None)),
        "include": used(session({"include": LOGPROBS}, kind="transcription"), "log-probabilities of words"),
    },
    "RealtimeAudioConfigParam": {
        "input": used(heard(turn_detection=None)),
        "output": used(spoken(speed=1.2)),
    },
    "RealtimeTranscriptionSessionAudioParam": {"input": used(heard("transcription", turn_detection=None))},
    **{
        name: {
            "format": used(heard(kind, format={"type": "audio/pcmu"})),
            "noise_reduction": used(heard(kind, noise_reduction={"type": "far_field"}), "RNNoise before the detector"),
            "transcription": used(heard(kind, transcription={"language": "pt"}), "`AudioTranscriptionParam`, above"),
            "turn_detection": used(heard(kind, turn_detection=None), "null: the client decides about turns"),
        }
        for name, kind in (
            ("RealtimeAudioConfigInputParam", "realtime"),
            ("RealtimeTranscriptionSessionAudioInputParam", "transcription"),
        )
    },
    "RealtimeAudioConfigOutputParam": {
        "format": used(spoken(format={"type": "audio/pcma"})),
        "speed": used(spoken(speed=1.2), "0.25 to 1.5"),
        "voice": used(spoken(voice="woman"), "a voice of this deployment; OpenAI's names mean `VOICE_NAME`"),
    },
    "VoiceID": {"id": used(spoken(voice={"id": "woman"}))},
    "AudioPCM": {
        "type": used(wrong(heard(format={"type": "audio/absent"}), "format.type")),
        "rate": used(wrong(heard(format={"type": "audio/pcm", "rate": 16_000}), "format.rate"), "24,000"),
    },
    "AudioPCMU": {"type": used(heard(format={"type": "audio/pcmu"}))},
    "AudioPCMA": {"type": used(heard(format={"type": "audio/pcma"}))},
    "NoiseReduction": {
        "type": no_effect(session(
            {"audio": {"input": {"noise_reduction": {"type": "near_field"}}}},
            {"audio": {"input": {"noise_reduction": {"type": "far_field"}}}},
        ), "the strength decides"),
        "strength": used(session(
            {"audio": {"input": {"noise_reduction": {"type": "far_field", "strength": 0.5}}}},
            {"audio": {"input": {"noise_reduction": {"type": "far_field"}}}},
        ), "0 to 1"),
    },
    "ServerVad": {
        "type": used(detection(SEMANTIC, **VAD)),
        "create_response": used(detection(create_response=False)),
        "idle_timeout_ms": used(detection(idle_timeout_ms=6_000)),
        "interrupt_response": used(detection(interrupt_response=False)),
        "prefix_padding_ms": used(detection(prefix_padding_ms=500), "0 to 2,000"),
        "silence_duration_ms": used(detection(silence_duration_ms=700), "100 to 10,000"),
        "threshold": used(detection(threshold=0.7), "0 to 1, clamped to 0.05 to 0.95"),
    },
    "SemanticVad": {
        "type": used(detection(VAD, **SEMANTIC)),
        "create_response": used(detection(SEMANTIC, create_response=False)),
        "eagerness": used(detection(SEMANTIC, eagerness="high")),
        "interrupt_response": used(detection(SEMANTIC, interrupt_response=False)),
    },
    "RealtimeReasoningParam": {"effort": no_effect(session({"reasoning": {"effort": "high"}}))},
    "TracingConfiguration": {
        name: no_effect(session({"tracing": {name: value}}), "null in the session: the operator configures traces")
        for name, value in (("group_id", "a"), ("metadata", {"a": "b"}), ("workflow_name", "a"))
    },
    "RealtimeTruncationRetentionRatioParam": {
        name: no_effect(session(
            {"truncation": {"type": "retention_ratio", "retention_ratio": 0.5, "token_limits": {}, **changed}}
        ), "`HISTORY_TOKENS` bounds the history")
        for name, changed in (
            ("retention_ratio", {"retention_ratio": 0.4}), ("type", {}),
            ("token_limits", {"token_limits": {"post_instructions": 500}}),
        )
    },
    "TokenLimits": {
        "post_instructions": no_effect(session(
            {"truncation": {
                "type": "retention_ratio", "retention_ratio": 0.5, "token_limits": {"post_instructions": 500},
            }}
        ), "`HISTORY_TOKENS` bounds the history"),
    },
    # tools
    "RealtimeFunctionToolParam": {
        "description": used(tool(TOOL, description="Other.")),
        "name": used(tool(TOOL, name="winds"), "letters, digits, `_`, `-`; at most 64"),
        "parameters": used(tool(TOOL, parameters={"type": "object", "properties": {"a": {"type": "string"}}})),
        "type": used(wrong(tool(TOOL, type="absent"), ".tools[0].type")),
    },
    "Mcp": mcp(_session_mcp),
    "RealtimeResponseCreateMcpToolParam": mcp(_response_mcp),
    **approvals(),
    # connecting
    "RealtimeConnectParams": {
        "call_id": refused(connects("call_id=call_1"), how="`invalid_value`: telephone calls come another way"),
        "model": no_effect(names(), "it is reported back"),
    },
    "ClientSecretCreateParams": {
        "expires_after": used(wrong(secret({"expires_after": 5}), "expires_after"), "10 to 7,200 s, by default 600"),
        "session": used(wrong(secret({"session": {"type": "realtime", "prompt": PROMPT}}), "session.prompt"),
                        "as in `session.update`; a translation's needs a `model`"),
    },
    "ExpiresAfter": {
        "anchor": used(wrong(secret({"expires_after": {"anchor": "absent"}}), "anchor"), "`created_at`"),
        "seconds": used(wrong(secret({"expires_after": {"seconds": 9}}), "seconds"), "10 to 7,200"),
    },
    "CallCreateParams": {
        "sdp": used(wrong(form(session="{}"), "sdp"), "the offer; as a form, or alone as `application/sdp`"),
        "session": used(wrong(call(session=json.dumps({"type": "realtime", "prompt": PROMPT})), "session.prompt"),
                        "as in `session.update`"),
    },
    "CallAcceptParams": whole(CALL_FIELDS, lambda: refused(
        requests(f"{CALLS}/accept", json={"type": "realtime"}), "not_found", TELEPHONE
    )),
    "CallRejectParams": {"status_code": refused(
        requests(f"{CALLS}/reject", json={"status_code": 486}), "not_found", TELEPHONE
    )},
    "CallReferParams": {"target_uri": refused(
        requests(f"{CALLS}/refer", json={"target_uri": "tel:+1"}), "not_found", TELEPHONE
    )},
    # events
    "SessionUpdateEventParam": {
        **of_event("session.update"), "session": used(wrong(event("session.update", session=1), "session")),
    },
    "InputAudioBufferAppendEventParam": {
        **of_event("input_audio_buffer.append"),
        "audio": used(wrong(event("input_audio_buffer.append", audio="?"), "audio"), "base64, at most 15 MB"),
    },
    "InputAudioBufferClearEventParam": of_event("input_audio_buffer.clear"),
    "InputAudioBufferCommitEventParam": of_event("input_audio_buffer.commit"),
    "OutputAudioBufferClearEventParam": of_event("output_audio_buffer.clear"),
    "ConversationItemCreateEventParam": {
        **of_event("conversation.item.create"),
        "item": used(wrong(event("conversation.item.create", item={"type": "absent"}), "item.type")),
        "previous_item_id": used(wrong(
            event("conversation.item.create", item=MESSAGE, previous_item_id="absent"), "previous_item_id"
        )),
    },
    **{
        f"ConversationItem{name.title()}EventParam": {
            **of_event(f"conversation.item.{name}"),
            "item_id": used(wrong(event(f"conversation.item.{name}", item_id="absent"), "item_id")),
        }
        for name in ("delete", "retrieve")
    },
    "ConversationItemTruncateEventParam": {
        **of_event("conversation.item.truncate"),
        "item_id": used(wrong(
            event("conversation.item.truncate", item_id="absent", content_index=0, audio_end_ms=0), "item_id"
        )),
        "content_index": used(wrong(
            event("conversation.item.truncate", item_id="absent", content_index="x", audio_end_ms=0), "content_index"
        ), "0"),
        "audio_end_ms": used(wrong(
            event("conversation.item.truncate", item_id="absent", content_index=0, audio_end_ms="x"), "audio_end_ms"
        )),
    },
    "ResponseCancelEventParam": {
        **of_event("response.cancel"),
        "response_id": used(wrong(event("response.cancel", response_id="absent"), "response_id")),
    },
    **{
        name: {
            **of_event("response.create"),
            "response": used(wrong(event("response.create", response={"prompt": PROMPT}), "response.prompt")),
        }
        for name in ("ResponseCreateEventParam", "ResponseCreateEventWithReferencesParam")
    },
    # responses
    **{
        name: {
            **common(response, "`Output`"),
            "conversation": used(response({"conversation": "none"}), "`none`: out of band"),
            "input": used(response({"input": [MESSAGE]}), "without sound"),
            "metadata": used(response({"metadata": {"a": "b"}}), "it comes back with the response"),
        }
        for name in ("RealtimeResponseCreateParamsParam", "RealtimeResponseCreateParamsWithReferencesParam")
    },
    "RealtimeResponseCreateAudioOutputParam": {"output": used(response({"audio": {"output": {"voice": "woman"}}}))},
    "Output": {
        "format": used(response({"audio": {"output": {"format": {"type": "audio/pcmu"}}}})),
        "voice": used(response({"audio": {"output": {"voice": "woman"}}})),
    },
    "OutputVoiceID": {"id": used(response({"audio": {"output": {"voice": {"id": "woman"}}}}))},
    "ResponseItemReferenceParam": {
        "id": used(wrong(response({"input": [{"type": "item_reference", "id": "absent"}]}), "input[0]")),
        "type": used(response({"input": [{"type": "item_reference", "id": "item_known"}]})),
    },
    # items
    "RealtimeConversationItemUserMessageParam": message(TEXT),
    "RealtimeConversationItemUserMessageParam.Content": {
        "audio": used(item({**MESSAGE, "content": [{"type": "input_audio", "transcript": "a"}]},
                           content=[{"type": "input_audio", "audio": SOUND}]), "without a transcript"),
        "detail": no_effect(content("user", TEXT, detail="low"), "of images"),
        "image_url": refused(content("user", TEXT, image_url="data:image/png;base64,AAAA"), "unsupported_content_type"),
        "text": used(content("user", TEXT, text="other")),
        "transcript": used(item({**MESSAGE, "content": [{"type": "input_audio", "transcript": "a"}]},
                                content=[{"type": "input_audio", "transcript": "b"}]), "instead of the sound"),
        "type": used(wrong(content("user", TEXT, type="absent"), "type")),
    },
    "RealtimeConversationItemSystemMessageParam": {
        **of_item({"type": "message", "role": "system", "content": [TEXT]}),
        "content": used(content("system", TEXT, text="other")),
        "role": used(wrong(item({"type": "message", "role": "system", "content": [TEXT]}, role="absent"), "role")),
    },
    "RealtimeConversationItemSystemMessageParam.Content": {
        "text": used(content("system", TEXT, text="other")),
        "type": used(wrong(content("system", TEXT, type="absent"), "type")),
    },
    "RealtimeConversationItemAssistantMessageParam": message(TOLD),
    "RealtimeConversationItemAssistantMessageParam.Content": {
        "audio": no_effect(content("assistant", {"type": "output_audio", "transcript": "a"}, audio=SOUND),
                           "the transcript counts"),
        "text": used(content("assistant", TOLD, text="other")),
        "transcript": used(content("assistant", {"type": "output_audio", "transcript": "a"}, transcript="b")),
        "type": used(content("assistant", {"type": "output_text", "transcript": "a"}, type="output_audio")),
    },
    "RealtimeConversationItemFunctionCallParam": {
        **of_item(CALL),
        "arguments": used(item(CALL, arguments='{"a": 1}')),
        "call_id": used(item(CALL, call_id="call_2")),
        "name": used(item(CALL, name="other")),
    },
    "RealtimeConversationItemFunctionCallOutputParam": {
        **of_item(RESULT),
        "call_id": used(item(RESULT, call_id="call_2")),
        "output": used(item(RESULT, output="other"), "at most 100,000 characters"),
    },
    "RealtimeMcpApprovalResponseParam": not_created(
        "mcp_approval_response", "id approval_request_id approve type reason", **APPROVAL
    ),
    "RealtimeMcpApprovalRequestParam": not_created(
        "mcp_approval_request", "id arguments name server_label type", **RUN
    ),
    "RealtimeMcpListToolsParam": not_created("mcp_list_tools", "server_label tools type id", **LISTED),
    "Tool": not_created("mcp_list_tools", "input_schema name annotations description", **LISTED),
    "RealtimeMcpToolCallParam": not_created(
        "mcp_call", "id arguments name server_label type approval_request_id error output", **RUN
    ),
    **{
        name: not_created("mcp_call", " ".join(error), error=error, **RUN)
        for name, error in (
            ("RealtimeMcpProtocolErrorParam", {"code": 1, "message": "a", "type": "protocol_error"}),
            ("RealtimeMcpToolExecutionErrorParam", {"message": "a", "type": "tool_execution_error"}),
            ("RealtimeMcphttpErrorParam", {"code": 1, "message": "a", "type": "http_error"}),
        )
    },
    # translations
    "RealtimeTranslationSessionCreateRequestParam": {
        "model": no_effect(translation_names, "required in a client secret; it is reported back"),
        "audio": used(translated({"audio": {"output": {"language": "pt"}}})),
    },
    "RealtimeTranslationSessionUpdateRequestParam": {
        "audio": used(translated({"audio": {"output": {"language": "pt"}}})),
    },
    "Audio": {
        "input": used(translated({"audio": {"input": {"transcription": {"model": "a"}}}})),
        "output": used(translated({"audio": {"output": {"language": "pt"}}})),
    },
    "AudioInput": {
        "noise_reduction": used(translated({"audio": {"input": {"noise_reduction": {"type": "near_field"}}}})),
        "transcription": used(translated({"audio": {"input": {"transcription": {"model": "a"}}}}),
                              "the speaker's words are sent, too"),
    },
    "AudioInputNoiseReduction": {
        "type": no_effect(translated(
            {"audio": {"input": {"noise_reduction": {"type": "far_field"}}}},
            {"audio": {"input": {"noise_reduction": {"type": "near_field"}}}},
        ), "the strength decides"),
        "strength": used(translated(
            {"audio": {"input": {"noise_reduction": {"type": "near_field", "strength": 0.5}}}},
            {"audio": {"input": {"noise_reduction": {"type": "near_field"}}}},
        ), "0 to 1"),
    },
    "AudioInputTranscription": {
        "model": no_effect(translated(
            {"audio": {"input": {"transcription": {"model": "b"}}}},
            {"audio": {"input": {"transcription": {"model": "a"}}}},
        ), "it is reported back"),
    },
    "AudioOutput": {"language": used(translated({"audio": {"output": {"language": "pt"}}}), "the language to speak")},
    "RealtimeTranslationInputAudioBufferAppendEventParam": {
        **of_event("session.input_audio_buffer.append", "translation"),
        "audio": used(wrong(lambda _: _parsed(type="session.input_audio_buffer.append", audio=1), "audio"),
                      "base64 of PCM at 24 kHz"),
    },
    "RealtimeTranslationSessionUpdateEventParam": {
        **of_event("session.update", "translation"),
        "session": used(wrong(lambda _: _parsed(type="session.update", session=1), "session")),
    },
    "RealtimeTranslationSessionCloseEventParam": of_event("session.close", "translation"),
}  # fmt: skip
"""Type → field → its effect."""


def _parsed(**sent: object) -> Found:
    try:
        parse(json.dumps(sent), TRANSLATION_EVENTS)
    except RealtimeError as error:
        return refusal(error)
    return Found(USED)


def render() -> str:
    """Render the table: fields of a type with the same effect are one line."""
    lines = ["", "| type | field | effect | how |", "|---|---|---|---|"]
    for name, fields in TABLE.items():
        together: dict[tuple[str, str], list[str]] = {}
        for field, told in fields.items():
            together.setdefault((told.effect, told.how), []).append(f"`{field}`")
        for (effect, how), of in together.items():
            shown = "all" if len(of) == len(fields) > FEW else ", ".join(of)
            lines.append(f"| `{name}` | {shown} | {effect} | {how} |")
    return "\n".join([*lines, ""])


def all_fields() -> Sequence[tuple[str, str]]:
    """Return type and name of each field."""
    return [(name, field) for name, fields in TABLE.items() for field in fields]


def main() -> None:
    write(DOCUMENT, BEGIN, END, render())


if __name__ == "__main__":
    main()

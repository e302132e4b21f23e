"""One response of the Realtime API: translates the events of a turn into `response.…` server events, in order. Sound in
them is bytes, which become base64 where they are sent (`Connection.send`)."""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.audio.clip import Clip
from pipeline.conversation import events
from pipeline.conversation.history import item_id
from pipeline.conversation.reply_options import ReplyOptions
from pipeline.llm import Message, ToolCall, Usage
from pipeline.support.json_types import JsonObject
from server.realtime.audio import Format, SoundOut, as_json
from server.realtime.items import ItemJson, mcp_call

ServerEvent = dict[str, object]
TIMINGS = "timings_ms"
"""Key of the times in a response's metadata."""
MAX_METADATA = 16
"""Maximum number of pairs in the metadata, from the API."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of a requested response."""

    aloud: bool
    format: Format
    voice: str
    max_output_tokens: int | str = "inf"
    metadata: dict[str, str] | None = None
    conversation_id: str | None = None
    """None: the response is out of band, not part of the conversation."""
    shown_servers: set[str] = field(default_factory=set)
    """The servers whose function calls the client sees."""
    timings: bool = False
    """Whether the end of the response reports the times of its turn."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A response that a client requests."""

    reply_options: ReplyOptions
    asked: Asked
    messages: Sequence[Message] | None = None
    """Messages to reply to instead of the conversation's; None: the conversation's."""
    plain: bool = True
    """Whether the response uses the session's own options."""


class Response:
    """One response. Each method yields the server events to send."""

    def __init__(self, asked: Asked, item_id: str, before: Callable[[str], str | None]) -> None:
        """item_id: ID of the response's message. before: returns the ID of the item before a given item."""
        self.id = f"resp_{secrets.token_hex(10)}"
        self.asked = asked
        self.item_id = item_id
        self.handed_over = False
        """Whether the response has handed a function call to the client."""
        self.cancelled_by_client = False
        self._before = before
        self._sound = SoundOut(asked.format)
        self._text = ""
        self._message_index: int | None = None
        self._output: list[ItemJson] = []
        self._running: dict[int, events.ToolStarted] = {}
        """Visible calls that have not ended, by their index in the output."""
        self._spoke = False

    # --- events of the turn ---

    def created(self) -> Iterator[ServerEvent]:
        yield {"type": "response.created", "response": self._json("in_progress")}

    def said(self, text: str) -> Iterator[ServerEvent]:
        """Translate the next part of the reply's text."""
        if self._message_index is None:
            yield from self._message_added()
        self._text += text
        kind = "response.output_audio_transcript.delta" if self.asked.aloud else "response.output_text.delta"
        yield {"type": kind, **self._place(), "delta": text}

    def spoke(self, clip: Clip) -> Iterator[ServerEvent]:
        """Translate the next sound of the reply."""
        delta = self._sound.take(clip)
        if delta and self._message_index is not None:
            self._spoke = True
            yield {"type": "response.output_audio.delta", **self._place(), "delta": delta}

    def called(self, event: events.ToolCalled) -> Iterator[ServerEvent]:
        """Hand a function call to the client."""
        self.handed_over = True
        call, item = event.call, _function_call(event.call, event.item_id or item_id())
        index = self._add(item)
        opened: ItemJson = {**item, "status": "in_progress", "arguments": ""}
        place = {"response_id": self.id, "item_id": item["id"], "output_index": index, "call_id": call.id}
        yield from self._added(index, opened)
        yield {"type": "response.function_call_arguments.delta", **place, "delta": call.arguments}
        yield {
            "type": "response.function_call_arguments.done", **place, "name": call.name, "arguments": call.arguments,
        }  # fmt: skip
        yield from self._done(index, item)

    def started(self, event: events.ToolStarted) -> Iterator[ServerEvent]:
        """Translate the start of a function call that the service runs."""
        if event.server not in self.asked.shown_servers:
            return
        item = mcp_call(event.item_id or item_id(), event.server, event.call, None)
        index = self._add(item)
        self._running[index] = event
        place = {"response_id": self.id, "item_id": item["id"], "output_index": index}
        yield from self._added(index, item)
        yield {"type": "response.mcp_call_arguments.delta", **place, "delta": event.call.arguments}
        yield {"type": "response.mcp_call_arguments.done", **place, "arguments": event.call.arguments}
        yield {"type": "response.mcp_call.in_progress", "item_id": item["id"], "output_index": index}

    def ended(self, event: events.ToolEnded) -> Iterator[ServerEvent]:
        """Translate the end of such a call."""
        index = next((index for index, started in self._running.items() if started.call.id == event.call.id), None)
        if index is not None:
            del self._running[index]
            yield from self._call_ended(index, event.server, event.call, event.output, failed=event.failed)

    def finished(self, end: events.TurnCompleted | events.TurnInterrupted | events.TurnFailed) -> Iterator[ServerEvent]:
        """Translate the end of the turn."""
        usage: Usage | None = None
        details: JsonObject
        match end:
            case events.TurnCompleted(cut=True):
                status, details = "incomplete", {"type": "incomplete", "reason": "max_output_tokens"}
                usage = end.usage
            case events.TurnCompleted():
                status, details, usage = "completed", {"type": "completed"}, end.usage
            case events.TurnInterrupted():
                reason = "client_cancelled" if self.cancelled_by_client else "turn_detected"
                status, details = "cancelled", {"type": "cancelled", "reason": reason}
            case events.TurnFailed():
                error: JsonObject = {"type": "server_error", "code": end.code, "message": end.message}
                status, details = "failed", {"type": "failed", "error": error}
        for index, started in self._running.items():
            yield from self._call_ended(index, started.server, started.call, "It was cancelled.", failed=True)
        if self._message_index is not None:
            yield from self._message_done("completed" if status == "completed" else "incomplete")
        told = self._json(status, details, usage or Usage(0, 0))
        if self.asked.timings:
            told["metadata"] = _with_timings(self.asked.metadata or {}, end.timings_ms)
        yield {"type": "response.done", "response": told}
        # The service has no limits of OpenAI's kind, but clients wait for the event.
        yield {"type": "rate_limits.updated", "rate_limits": []}

    # --- parts of these events ---

    def _call_ended(
        self, index: int, server: str, call: ToolCall, output: str, *, failed: bool
    ) -> Iterator[ServerEvent]:
        item = mcp_call(self._output[index]["id"], server, call, output, failed=failed)
        end = "failed" if failed else "completed"
        yield {"type": f"response.mcp_call.{end}", "item_id": item["id"], "output_index": index}
        yield from self._done(index, item)

    def _message_added(self) -> Iterator[ServerEvent]:
        item = self._message("in_progress")
        self._message_index = self._add(item)
        yield from self._added(self._message_index, {**item, "content": []})
        yield {"type": "response.content_part.added", **self._place(), "part": self._part()}

    def _message_done(self, status: str) -> Iterator[ServerEvent]:
        assert self._message_index is not None  # noqa: S101  # there is a message
        if self.asked.aloud:
            if tail := self._sound.end() if self._spoke and status == "completed" else b"":
                yield {"type": "response.output_audio.delta", **self._place(), "delta": tail}
            yield {"type": "response.output_audio.done", **self._place()}
            yield {"type": "response.output_audio_transcript.done", **self._place(), "transcript": self._text}
        else:
            yield {"type": "response.output_text.done", **self._place(), "text": self._text}
        yield {"type": "response.content_part.done", **self._place(), "part": self._part()}
        yield from self._done(self._message_index, self._message(status))

    def _add(self, item: ItemJson) -> int:
        self._output.append(item)
        return len(self._output) - 1

    def _added(self, index: int, item: ItemJson) -> Iterator[ServerEvent]:
        yield {"type": "response.output_item.added", "response_id": self.id, "output_index": index, "item": item}
        if self.asked.conversation_id is not None:
            yield {"type": "conversation.item.added", "previous_item_id": self._before(item["id"]), "item": item}

    def _done(self, index: int, item: ItemJson) -> Iterator[ServerEvent]:
        self._output[index] = item
        yield {"type": "response.output_item.done", "response_id": self.id, "output_index": index, "item": item}
        if self.asked.conversation_id is not None:
            yield {"type": "conversation.item.done", "previous_item_id": self._before(item["id"]), "item": item}

    def _place(self) -> ServerEvent:
        return {
            "response_id": self.id, "item_id": self.item_id, "output_index": self._message_index, "content_index": 0,
        }  # fmt: skip

    def _part(self) -> ServerEvent:
        return {"type": "audio", "transcript": self._text} if self.asked.aloud else {"type": "text", "text": self._text}

    def _message(self, status: str) -> ItemJson:
        content: JsonObject = (
            {"type": "output_audio", "transcript": self._text}
            if self.asked.aloud
            else {"type": "output_text", "text": self._text}
        )
        return {
            "id": self.item_id, "object": "realtime.item", "type": "message", "status": status, "role": "assistant",
            "content": [content],
        }  # fmt: skip

    def _json(self, status: str, details: JsonObject | None = None, usage: Usage | None = None) -> ServerEvent:
        asked = self.asked
        return {
            "id": self.id,
            "object": "realtime.response",
            "status": status,
            "status_details": details,
            "output": [*self._output] if details else [],
            "conversation_id": asked.conversation_id,
            "output_modalities": ["audio"] if asked.aloud else ["text"],
            "audio": {"output": {"format": as_json(asked.format), "voice": asked.voice}} if asked.aloud else None,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": asked.metadata,
            "usage": _usage(usage) if usage else None,
        }


def _with_timings(metadata: Mapping[str, str], timings_ms: Mapping[str, float]) -> dict[str, str] | None:
    """Return the client's metadata with the times as a text, because metadata values must be texts. Without the times
    if the client's own pairs already reach the maximum."""
    if not timings_ms or (len(metadata) >= MAX_METADATA and TIMINGS not in metadata):
        return dict(metadata) or None
    return {**metadata, TIMINGS: json.dumps(dict(timings_ms), separators=(",", ":"))}


def _function_call(call: ToolCall, id: str) -> ItemJson:
    return {
        "id": id, "object": "realtime.item", "type": "function_call", "status": "completed", "call_id": call.id,
        "name": call.name, "arguments": call.arguments,
    }  # fmt: skip


def _usage(usage: Usage) -> dict[str, object]:
    """Return the usage. All tokens are text tokens, because the language model handles only text."""
    return {
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "input_token_details": {
            "text_tokens": usage.input_tokens, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 0,
        },
        "output_token_details": {"text_tokens": usage.output_tokens, "audio_tokens": 0},
    }  # fmt: skip

"""One handler for each client event. Handlers only call the session, which decides what is allowed."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from openai.types.realtime import (
    ConversationItem,
    ConversationItemCreateEvent,
    ConversationItemDeleteEvent,
    ConversationItemRetrieveEvent,
    ConversationItemTruncateEvent,
    InputAudioBufferAppendEvent,
    InputAudioBufferClearEvent,
    InputAudioBufferCommitEvent,
    OutputAudioBufferClearEvent,
    ResponseCancelEvent,
    ResponseCreateEvent,
    SessionUpdateEvent,
)
from pydantic import BaseModel

from pipeline.errors import BadInput
from server.realtime.audio import decoded
from server.realtime.errors import RealtimeError
from server.realtime.items import as_json, given
from server.realtime.requests import requested

if TYPE_CHECKING:
    from server.realtime.connection import Connection

BYTES_PER_STEP = 1 << 15
"""Bytes of sound passed to the session at a time, up to 4 s (about 10 ms of work): other conversations run in
between."""
LARGE_CHARS = 2**18
"""Base64 longer than this is decoded in a thread."""
LEAST_MS = 100.0
"""Minimum duration of a commit; less is an error, as with OpenAI's server."""

E = TypeVar("E", bound=BaseModel)
Handler = Callable[["Connection", Any, dict[str, Any]], Awaitable[None]]
HANDLERS: dict[type[BaseModel], Handler] = {}


def handles(model: type[E]) -> Callable[[Callable[["Connection", E, dict[str, Any]], Awaitable[None]]], Handler]:
    """Register the handler of a client event. It receives the connection, the event, and the event as it was sent."""

    def register(handler: Callable[["Connection", E, dict[str, Any]], Awaitable[None]]) -> Handler:
        HANDLERS[model] = handler
        return handler

    return register


@handles(SessionUpdateEvent)
async def update(connection: "Connection", event: SessionUpdateEvent, sent: dict[str, Any]) -> None:
    connection.config.update(event)
    connection.configure()
    connection.translation.send({"type": "session.updated", "session": connection.config.json})
    connection.translation.list_tools(connection.assistant.tools.functions.values())


@handles(InputAudioBufferAppendEvent)
async def append(connection: "Connection", event: InputAudioBufferAppendEvent, sent: dict[str, Any]) -> None:
    if len(event.audio) > LARGE_CHARS:
        data = await asyncio.to_thread(decoded, event.audio, "audio")
    else:
        data = decoded(event.audio, "audio")
    length_ms = connection.sound.ms(len(data))
    limit_s = connection.assistant.settings.max_audio_seconds
    if connection.config.reply_options.keeps_all and connection.translation.uncommitted_ms + length_ms > 1000 * limit_s:
        raise RealtimeError(
            f"The buffer would hold more than {limit_s:g} seconds; commit or clear it.",
            code="input_audio_buffer_too_long",
            param="audio",
        )
    connection.translation.uncommitted_ms += length_ms
    for start in range(0, len(data), BYTES_PER_STEP):
        connection.session.hear(connection.sound.take(data[start : start + BYTES_PER_STEP]))
        if len(data) > BYTES_PER_STEP:
            await asyncio.sleep(0)


@handles(InputAudioBufferCommitEvent)
async def commit(connection: "Connection", event: InputAudioBufferCommitEvent, sent: dict[str, Any]) -> None:
    there_ms = connection.translation.uncommitted_ms
    empty = RealtimeError(
        f"Error committing input audio buffer: buffer too small. Expected at least {LEAST_MS:.0f}ms of audio, but "
        f"buffer only has {there_ms:.2f}ms of audio.",
        code="input_audio_buffer_commit_empty",
    )
    if there_ms < LEAST_MS:
        raise empty
    connection.session.hear(connection.sound.end())
    try:
        connection.session.note()
    except BadInput:
        raise empty from None


@handles(InputAudioBufferClearEvent)
async def clear(connection: "Connection", event: InputAudioBufferClearEvent, sent: dict[str, Any]) -> None:
    connection.session.clear()
    connection.sound.end()
    connection.translation.uncommitted_ms = 0.0
    connection.translation.send({"type": "input_audio_buffer.cleared"})


@handles(ConversationItemCreateEvent)
async def create(connection: "Connection", event: ConversationItemCreateEvent, sent: dict[str, Any]) -> None:
    if connection.config.transcription:
        raise RealtimeError("A transcription session does not accept items.", code="invalid_value", param="type")
    limit_s = connection.assistant.settings.max_audio_seconds
    read = functools.partial(given, event.item, connection.config.input_format, limit_s=limit_s)
    new = await asyncio.to_thread(read) if _has_long_sound(event.item) else read()
    session, translation = connection.session, connection.translation
    if new.message is not None and new.message.role == "tool" and not _is_called(connection, new.message.call_id):
        raise RealtimeError(
            f"Tool call ID {(new.message.call_id or '')[:64]!r} not found in conversation.",
            code="invalid_tool_call_id",
            param="item.call_id",
        )
    if (after := event.previous_item_id) is not None and after != "root" and not translation.knows(after):
        raise RealtimeError(
            f"Previous item with ID {after[:64]!r} not found in conversation.",
            code="item_create_invalid_previous_item_id",
            param="previous_item_id",
        )
    if new.id == translation.speaking:  # already sent, but not in the conversation before the utterance is over
        raise RealtimeError(
            f"The item {new.id[:64]!r} is the utterance in progress.",
            code="item_create_invalid_item_id",
            param="item.id",
        )
    try:
        if new.clip is not None:
            item = session.dictate(new.clip, id=new.id, after=after)
        else:
            assert new.message is not None  # noqa: S101  # either a clip or a message is set
            item = session.conversation.place(new.message, id=new.id, after=after)
    except BadInput as error:
        raise RealtimeError(error.message, code="item_create_invalid_item_id", param="item.id") from None
    translation.send(*translation.know(item, new.shape))


def _has_long_sound(item: ConversationItem) -> bool:
    parts: Any = getattr(item, "content", None) or ()
    return any(len(getattr(part, "audio", None) or "") > LARGE_CHARS for part in parts)


def _is_called(connection: "Connection", call_id: str | None) -> bool:
    items = connection.session.conversation.items
    # Newest first: a client usually sends the result of the last call.
    return any(call.id == call_id for item in reversed(items) for message in item.messages for call in message.calls)


@handles(ConversationItemDeleteEvent)
async def delete(connection: "Connection", event: ConversationItemDeleteEvent, sent: dict[str, Any]) -> None:
    _check(connection, event.item_id, "delete")
    connection.session.conversation.delete(event.item_id)
    del connection.translation.shapes[event.item_id]
    connection.translation.send({"type": "conversation.item.deleted", "item_id": event.item_id})


@handles(ConversationItemRetrieveEvent)
async def retrieve(connection: "Connection", event: ConversationItemRetrieveEvent, sent: dict[str, Any]) -> None:
    _check(connection, event.item_id, "retrieve")
    item = connection.session.conversation.get(event.item_id)
    told = as_json(item, connection.translation.shapes[event.item_id])
    connection.translation.send({"type": "conversation.item.retrieved", "item": told})


@handles(ConversationItemTruncateEvent)
async def truncate(connection: "Connection", event: ConversationItemTruncateEvent, sent: dict[str, Any]) -> None:
    _check(connection, event.item_id, "truncate")
    if event.content_index != 0:
        raise RealtimeError("A message has only content part 0.", code="invalid_value", param="content_index")
    if event.audio_end_ms < 0:
        raise RealtimeError("'audio_end_ms' must be 0 or more.", code="invalid_value", param="audio_end_ms")
    try:
        connection.session.truncate(event.item_id, event.audio_end_ms)
    except BadInput as error:
        param = "audio_end_ms" if error.code == "out_of_range" else "item_id"
        raise RealtimeError(error.message, code="invalid_value", param=param) from None
    connection.translation.send(
        {
            "type": "conversation.item.truncated",
            "item_id": event.item_id,
            "content_index": 0,
            "audio_end_ms": event.audio_end_ms,
        }
    )


def _check(connection: "Connection", item_id: str, action: str) -> None:
    """Raises RealtimeError unless the client knows an item with this ID."""
    if not connection.translation.knows(item_id):
        raise RealtimeError(
            f"Item with ID {item_id[:64]!r} not found in conversation.",
            code=f"item_{action}_invalid_item_id",
            param="item_id",
        )


@handles(ResponseCreateEvent)
async def respond(connection: "Connection", event: ResponseCreateEvent, sent: dict[str, Any]) -> None:
    if connection.config.transcription:
        raise RealtimeError("A transcription session does not create responses.", code="invalid_value", param="type")
    wanted = requested(connection, event.response, sent.get("response"))
    if wanted.asked.conversation_id is None:
        connection.answer_aside(wanted)
        return
    session, translation = connection.session, connection.translation
    if connection.defer(event, sent, wanted):
        return
    if session.answering:
        response = translation.response
        active = f": {response.id}" if response else ""
        raise RealtimeError(
            f"Conversation already has an active response in progress{active}. Wait until the response is finished "
            "before creating a new one.",
            code="conversation_already_has_active_response",
        )
    translation.request(session.respond(wanted.reply_options, instead=wanted.messages), wanted.asked)


@handles(ResponseCancelEvent)
async def cancel(connection: "Connection", event: ResponseCancelEvent, sent: dict[str, Any]) -> None:
    if event.response_id is not None and connection.cancel_aside(event.response_id):
        return
    response = connection.translation.response
    wrong = event.response_id is not None and (response is None or response.id != event.response_id)
    if wrong or not connection.session.answering:
        raise RealtimeError(
            "Cancellation failed: no active response found.", code="response_cancel_not_active", param="response_id"
        )
    connection.translation.cancel_by_client()
    connection.session.interrupt()


@handles(OutputAudioBufferClearEvent)
async def clear_output(connection: "Connection", event: OutputAudioBufferClearEvent, sent: dict[str, Any]) -> None:
    raise RealtimeError(
        "'output_audio_buffer.clear' is for WebRTC and SIP: over WebSocket the client holds the sound. Send "
        "response.cancel and conversation.item.truncate.",
        code="unknown_or_invalid_event",
        param="type",
    )

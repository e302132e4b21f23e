"""One handler for each client event. Handlers only call the session, which decides what is allowed."""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

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

from pipeline.errors import BadInput, ParleyError
from pipeline.support.json_types import JsonObject
from server.realtime.audio import LARGE_CHARS, decoded_aside
from server.realtime.errors import RealtimeError, as_event, error_event
from server.realtime.items import as_json, given
from server.realtime.parsing import sent_input
from server.realtime.requests import requested
from server.realtime.session import RealtimeSession

log = logging.getLogger(__name__)

BYTES_PER_STEP = 1 << 15
"""Bytes of sound passed to the session at a time, up to 4 s (about 10 ms of work): other conversations run in
between."""
LEAST_MS = 100.0
"""Minimum duration of a commit; less is an error, as with OpenAI's server."""

E = TypeVar("E", bound=BaseModel)
Handler = Callable[[RealtimeSession, Any, JsonObject], Awaitable[None]]
HANDLERS: dict[type[BaseModel], Handler] = {}


def handles(model: type[E]) -> Callable[[Callable[[RealtimeSession, E, JsonObject], Awaitable[None]]], Handler]:
    """Register the handler of a client event. It receives the session, the event, and the event as it was sent."""

    def register(handler: Callable[[RealtimeSession, E, JsonObject], Awaitable[None]]) -> Handler:
        HANDLERS[model] = handler
        return handler

    return register


async def handle(session: RealtimeSession, event: BaseModel, sent: JsonObject) -> None:
    """Handle a client event; report its errors to the client. sent: the event as it was sent."""
    event_id: str | None = getattr(event, "event_id", None)
    try:
        await HANDLERS[type(event)](session, event, sent)
    except ParleyError as error:
        session.translation.send(as_event(error, event_id))
    except Exception:
        log.exception("a client event failed")
        told = error_event("Something went wrong inside the service.", "internal", event_id=event_id)
        session.translation.send(told)


@handles(SessionUpdateEvent)
async def update(session: RealtimeSession, event: SessionUpdateEvent, sent: JsonObject) -> None:
    session.config.update(event)
    session.configure()
    session.translation.send({"type": "session.updated", "session": session.config.json})
    session.translation.list_tools(session.assistant.tools.functions.values())


@handles(InputAudioBufferAppendEvent)
async def append(session: RealtimeSession, event: InputAudioBufferAppendEvent, sent: JsonObject) -> None:
    data = await decoded_aside(event.audio, "audio")
    length_ms = session.sound.ms(len(data))
    limit_s = session.assistant.settings.max_audio_seconds
    if session.config.reply_options.keeps_all and session.translation.uncommitted_ms + length_ms > 1000 * limit_s:
        raise RealtimeError(
            f"The buffer would hold more than {limit_s:g} seconds; commit or clear it.",
            code="input_audio_buffer_too_long",
            param="audio",
        )
    session.translation.uncommitted_ms += length_ms
    session.live.ear.narrow_band = session.sound.narrow_band
    for start in range(0, len(data), BYTES_PER_STEP):
        step = data[start : start + BYTES_PER_STEP]
        session.live.hear(session.sound.take(step))
        if len(data) > BYTES_PER_STEP:
            await asyncio.sleep(0)
        await session.heard(session.sound.ms(len(step)) / 1000)


@handles(InputAudioBufferCommitEvent)
async def commit(session: RealtimeSession, event: InputAudioBufferCommitEvent, sent: JsonObject) -> None:
    there_ms = session.translation.uncommitted_ms
    empty = RealtimeError(
        f"Error committing input audio buffer: buffer too small. Expected at least {LEAST_MS:.0f}ms of audio, but "
        f"buffer only has {there_ms:.2f}ms of audio.",
        code="input_audio_buffer_commit_empty",
    )
    if there_ms < LEAST_MS:
        raise empty
    session.live.hear(session.sound.end())
    try:
        session.live.note()
    except BadInput:
        raise empty from None


@handles(InputAudioBufferClearEvent)
async def clear(session: RealtimeSession, event: InputAudioBufferClearEvent, sent: JsonObject) -> None:
    session.live.clear()
    session.sound.end()
    session.translation.uncommitted_ms = 0.0
    session.translation.send({"type": "input_audio_buffer.cleared"})


@handles(ConversationItemCreateEvent)
async def create(session: RealtimeSession, event: ConversationItemCreateEvent, sent: JsonObject) -> None:
    if session.config.transcription:
        raise RealtimeError("A transcription session does not accept items.", code="invalid_value", param="type")
    limit_s = session.assistant.settings.max_audio_seconds
    read = functools.partial(given, event.item, session.config.input_format, limit_s=limit_s)
    new = await asyncio.to_thread(read) if _has_long_sound(event.item) else read()
    live, translation = session.live, session.translation
    if new.message is not None and new.message.role == "tool" and not _is_called(session, new.message.call_id):
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
            item = live.dictate(new.clip, id=new.id, after=after)
        else:
            assert new.message is not None  # noqa: S101  # either a clip or a message is set
            item = live.conversation.place(new.message, id=new.id, after=after)
    except BadInput as error:
        raise RealtimeError(error.message, code="item_create_invalid_item_id", param="item.id") from None
    translation.send(*translation.know(item, new.shape))


def _has_long_sound(item: ConversationItem) -> bool:
    parts: Sequence[BaseModel] = getattr(item, "content", None) or ()
    return any(len(getattr(part, "audio", None) or "") > LARGE_CHARS for part in parts)


def _is_called(session: RealtimeSession, call_id: str | None) -> bool:
    items = session.live.conversation.items
    # Newest first: a client usually sends the result of the last call.
    return any(call.id == call_id for item in reversed(items) for message in item.messages for call in message.calls)


@handles(ConversationItemDeleteEvent)
async def delete(session: RealtimeSession, event: ConversationItemDeleteEvent, sent: JsonObject) -> None:
    _check(session, event.item_id, "delete")
    session.live.conversation.delete(event.item_id)
    del session.translation.shapes[event.item_id]
    session.translation.send({"type": "conversation.item.deleted", "item_id": event.item_id})


@handles(ConversationItemRetrieveEvent)
async def retrieve(session: RealtimeSession, event: ConversationItemRetrieveEvent, sent: JsonObject) -> None:
    _check(session, event.item_id, "retrieve")
    item = session.live.conversation.get(event.item_id)
    told = as_json(item, session.translation.shapes[event.item_id])
    session.translation.send({"type": "conversation.item.retrieved", "item": told})


@handles(ConversationItemTruncateEvent)
async def truncate(session: RealtimeSession, event: ConversationItemTruncateEvent, sent: JsonObject) -> None:
    _check(session, event.item_id, "truncate")
    if event.content_index != 0:
        raise RealtimeError("A message has only content part 0.", code="invalid_value", param="content_index")
    if event.audio_end_ms < 0:
        raise RealtimeError("'audio_end_ms' must be 0 or more.", code="invalid_value", param="audio_end_ms")
    try:
        session.live.truncate(event.item_id, event.audio_end_ms)
    except BadInput as error:
        param = "audio_end_ms" if error.code == "out_of_range" else "item_id"
        raise RealtimeError(error.message, code="invalid_value", param=param) from None
    session.translation.send(
        {
            "type": "conversation.item.truncated",
            "item_id": event.item_id,
            "content_index": 0,
            "audio_end_ms": event.audio_end_ms,
        }
    )


def _check(session: RealtimeSession, item_id: str, action: str) -> None:
    """Raises RealtimeError unless the client knows an item with this ID."""
    if not session.translation.knows(item_id):
        raise RealtimeError(
            f"Item with ID {item_id[:64]!r} not found in conversation.",
            code=f"item_{action}_invalid_item_id",
            param="item_id",
        )


@handles(ResponseCreateEvent)
async def respond(session: RealtimeSession, event: ResponseCreateEvent, sent: JsonObject) -> None:
    if session.config.transcription:
        raise RealtimeError("A transcription session does not create responses.", code="invalid_value", param="type")
    wanted = requested(session, event.response, sent_input(sent))
    if wanted.asked.conversation_id is None:
        session.out_of_band.respond(wanted)
        return
    live, translation = session.live, session.translation
    if session.deferral.defer(wanted, lambda: handle(session, event, sent)):
        return
    if live.answering:
        response = translation.response
        active = f": {response.id}" if response else ""
        raise RealtimeError(
            f"Conversation already has an active response in progress{active}. Wait until the response is finished "
            "before creating a new one.",
            code="conversation_already_has_active_response",
        )
    translation.request(live.respond(wanted.reply_options, instead=wanted.messages), wanted.asked)


@handles(ResponseCancelEvent)
async def cancel(session: RealtimeSession, event: ResponseCancelEvent, sent: JsonObject) -> None:
    if event.response_id is not None and session.out_of_band.cancel(event.response_id):
        return
    response = session.translation.response
    wrong = event.response_id is not None and (response is None or response.id != event.response_id)
    if wrong or not session.live.answering:
        raise RealtimeError(
            "Cancellation failed: no active response found.", code="response_cancel_not_active", param="response_id"
        )
    session.translation.cancel_by_client()
    session.live.interrupt()


@handles(OutputAudioBufferClearEvent)
async def clear_output(session: RealtimeSession, event: OutputAudioBufferClearEvent, sent: JsonObject) -> None:
    if session.player is None:
        raise RealtimeError(
            "'output_audio_buffer.clear' is for WebRTC and SIP: over WebSocket the client holds the sound. Send "
            "response.cancel and conversation.item.truncate.",
            code="unknown_or_invalid_event",
            param="type",
        )
    if session.live.answering:
        session.translation.cancel_by_client()
        session.live.interrupt()
    session.player.clear()

"""Options of the response that a `response.create` requests."""

from collections.abc import Sequence
from dataclasses import replace

from openai.types.realtime import RealtimeResponseCreateParams

from pipeline.llm import Message
from pipeline.support.json_types import Json
from server.realtime.config import aloud, max_tokens
from server.realtime.errors import RealtimeError
from server.realtime.items import given
from server.realtime.parsing import check_known
from server.realtime.responses import Wanted
from server.realtime.session import RealtimeSession

MAX_INPUT_CHARS = 500_000
"""Longest input of one response, with the items that it refers to."""


def requested(session: RealtimeSession, params: RealtimeResponseCreateParams | None, sent: Sequence[Json]) -> Wanted:
    """Return the session's options with the changes for this response. sent: the items of its input as they were sent.

    Raises RealtimeError.
    """
    asked = session.translation.asked()
    reply_options = session.config.reply_options
    if params is None:
        return Wanted(reply_options, asked)
    check_known(params.model_copy(update={"input": None}), "response")  # the input's items are checked below
    config = session.config
    if params.prompt is not None:
        raise RealtimeError("Stored prompts are not supported.", code="invalid_value", param="response.prompt")
    if params.instructions is not None:
        reply_options = replace(reply_options, instructions=params.instructions)
    if params.output_modalities:
        reply_options = replace(reply_options, aloud=aloud(params.output_modalities, "response.output_modalities"))
    if params.max_output_tokens is not None:
        reply_options = replace(
            reply_options, max_tokens=max_tokens(params.max_output_tokens, "response.max_output_tokens")
        )
    tools = params.tools if params.tools is not None else config.json["tools"] or []
    if params.tool_choice is not None or params.tools is None:
        choice = config.json["tool_choice"] if params.tool_choice is None else params.tool_choice
    else:  # the session's choice may name one of the session's tools, which this response replaces
        choice = config.json["tool_choice"] if isinstance(config.json["tool_choice"], str) else "auto"
    reply_options = replace(reply_options, tools=config.toolbox(tools, choice, "response"))
    voice, format = config.voice_now, asked.format
    output = params.audio.output if params.audio else None
    if output is not None:
        if output.voice is not None:
            chosen = output.voice if isinstance(output.voice, str) else output.voice.id
            voice = config.voice(chosen, "response.audio.output.voice")
        if output.format is not None:
            format = output.format.type or "audio/pcm"
    # Any other name is in band: a connection has one conversation.
    in_band = params.conversation != "none"
    return Wanted(
        replace(reply_options, voice=voice),
        replace(
            asked,
            aloud=reply_options.aloud,
            format=format,
            voice=voice.name,
            max_output_tokens=params.max_output_tokens or asked.max_output_tokens,
            metadata=params.metadata,
            conversation_id=asked.conversation_id if in_band else None,
            shown_servers=config.shown_servers(tools),
        ),
        _messages(session, params, sent),
        plain=not params.model_fields_set - {"conversation"},
    )


def _messages(
    session: RealtimeSession, params: RealtimeResponseCreateParams, sent: Sequence[Json]
) -> list[Message] | None:
    """Return the response's own input after the instructions, or None without an input. Raises RealtimeError."""
    if params.input is None:
        return None
    conversation, translation = session.live.conversation, session.translation
    messages = [Message("system", conversation.instructions)]
    limit_s = session.assistant.settings.max_audio_seconds
    items, referred = iter(params.input), set[str]()
    for index, raw in enumerate(sent):
        where = f"response.input[{index}]"
        if isinstance(raw, dict) and raw.get("type") == "item_reference":
            id = raw.get("id")
            if not isinstance(id, str) or not translation.knows(id):
                raise RealtimeError(
                    f"Item with ID {str(id)[:64]!r} not found in conversation.", code="invalid_value", param=where
                )
            if id in referred:
                raise RealtimeError(
                    f"The input refers to item {id!r} more than once.", code="invalid_value", param=where
                )
            referred.add(id)
            messages += conversation.get(id).messages
            continue
        new = given(next(items), session.config.input_format, where, limit_s=limit_s)
        if new.message is None:
            raise RealtimeError(
                "Sound in a response's own input is not supported; create an item from it and refer to that item.",
                code="unsupported_content_type",
                param=where,
            )
        messages.append(new.message)
    if sum(len(message.content) for message in messages[1:]) > MAX_INPUT_CHARS:
        raise RealtimeError(
            f"'response.input' is longer than {MAX_INPUT_CHARS} characters.",
            code="string_above_max_length",
            param="response.input",
        )
    return messages

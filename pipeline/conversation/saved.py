"""A conversation as JSON, so that another process can continue it."""

import asyncio
import time
from typing import Any

import numpy as np

from pipeline.conversation.history import INTERRUPTED, Conversation, Reminder
from pipeline.llm import Message, ToolCall
from pipeline.support.json_types import JsonObject

Heard = tuple[str, str]
"""Id of the reply that is being spoken, and the part of it that was heard."""


def saved(conversation: Conversation, speaking: Heard | None = None) -> JsonObject:
    """Return the conversation as JSON. Timelines are left out, so its replies cannot be truncated later; so is the
    level of the owner's voice, because the client can come back with another microphone.

    speaking: a reply whose part in the conversation is not known yet.
    """
    owner, loop = conversation.owner, asyncio.get_running_loop()
    voice = None if owner.vector is None else owner.vector.tolist()
    return {
        "id": conversation.id,
        "system": conversation.instructions,
        "language": conversation.language,
        "items": [
            {"id": item.id, "messages": _heard(speaking[1])}
            if speaking is not None and speaking[0] == item.id
            else {"id": item.id, "messages": [_message(one) for one in item.messages], "reply": item.reply}
            for item in conversation.items
        ],
        "owner": voice and {"vector": voice, "seconds": owner.seconds},
        "reminders": [[time.time() + one.due_s - loop.time(), one.text] for one in conversation.reminders],
    }


def restored(data: Any, *, budget_tokens: int) -> Conversation:
    """Return the conversation of `saved`. Raises KeyError, TypeError or ValueError for other data."""
    conversation = Conversation(data["system"], budget_tokens=budget_tokens)
    conversation.id, conversation.language = data["id"], data["language"]
    for item in data["items"]:
        placed = conversation.place(*map(_read, item["messages"]), id=item["id"])
        placed.reply = item.get("reply", "")
    if (owner := data["owner"]) is not None:
        conversation.owner.vector = np.array(owner["vector"], np.float32)
        conversation.owner.seconds = owner["seconds"]
    loop = asyncio.get_running_loop()
    conversation.reminders += [
        Reminder(loop.time() + max(0.0, due - time.time()), text) for due, text in data["reminders"]
    ]
    return conversation


def _heard(text: str) -> list[JsonObject]:
    return [_message(Message("assistant", text + INTERRUPTED))] if text else []


def _message(message: Message) -> JsonObject:
    told: JsonObject = {"role": message.role, "content": message.content}
    if message.language is not None:
        told["language"] = message.language
    if message.calls:
        told["calls"] = [[call.id, call.name, call.arguments] for call in message.calls]
    if message.call_id is not None:
        told["call_id"] = message.call_id
    return told


def _read(told: Any) -> Message:
    calls = tuple(ToolCall(*call) for call in told.get("calls", ()))
    return Message(told["role"], told["content"], told.get("language"), calls, told.get("call_id"))

"""Handlers of client events on a session without a socket."""

import json
from typing import Any

from pipeline.conversation.turn import Stages
from pipeline.settings import Settings
from server.realtime.handlers import handle
from server.realtime.parsing import parse
from server.realtime.session import RealtimeSession
from tests import virtual_time
from tests.realtime.desk import assistant
from tests.scripted import Running, ScriptedLLM, ScriptedSTT, ScriptedTTS

HELLO = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}


def told(*sent: dict[str, Any], transcription: bool = False) -> list[dict[str, Any]]:
    """Handle these client events at once; return the server events, without `session.created`."""

    async def run() -> list[dict[str, Any]]:
        running = Running()
        stages = Stages(ScriptedSTT(), ScriptedLLM(), ScriptedTTS())
        for stage in (stages.stt, stages.llm, stages.tts):
            stage.running = running  # type: ignore[union-attr]
        session = RealtimeSession(
            assistant(stages, Settings()), model="test", transcription=transcription, record=False, timings=False
        )
        async with session:
            for one in sent:
                await handle(session, *parse(json.dumps(one)))
        assert running.now == []
        return [event async for event in session.outbox]

    created, *events = virtual_time.run(run())
    assert created["type"] == "session.created"
    return events


def test_a_created_item_is_confirmed_and_can_be_retrieved() -> None:
    item = {**HELLO, "id": "item_1"}
    events = told(
        {"type": "conversation.item.create", "item": item},
        {"type": "conversation.item.retrieve", "item_id": "item_1"},
    )
    assert [event["type"] for event in events] == [
        "conversation.item.added", "conversation.item.done", "conversation.item.retrieved",
    ]  # fmt: skip
    assert events[-1]["item"] == events[0]["item"]


def test_an_unknown_item_gets_an_error_with_the_id_of_the_event() -> None:
    (event,) = told({"type": "conversation.item.delete", "item_id": "item_9", "event_id": "mine"})
    assert event["error"]["code"] == "item_delete_invalid_item_id"
    assert event["error"]["event_id"] == "mine"


def test_a_second_response_is_rejected_while_one_is_in_progress() -> None:
    events = told(
        {"type": "conversation.item.create", "item": HELLO},
        {"type": "response.create"},
        {"type": "response.create", "event_id": "second"},
    )
    (error,) = (event["error"] for event in events if event["type"] == "error")
    assert (error["code"], error["event_id"]) == ("conversation_already_has_active_response", "second")


def test_a_transcription_session_creates_no_responses() -> None:
    (event,) = told({"type": "response.create"}, transcription=True)
    assert event["error"]["message"] == "A transcription session does not create responses."

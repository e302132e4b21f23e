"""The table of events in `docs/realtime.md` matches the installed `openai` package and the events that are sent."""

import json
from typing import Any

import pytest

from pipeline.errors import EngineError
from pipeline.llm import ToolCall
from pipeline.tools import Function, Toolbox, ToolError, function_of
from server.realtime.handlers import HANDLERS
from server.realtime.parsing import EVENTS
from tests.realtime.client import SERVER_EVENTS
from tests.realtime.coverage import BEGIN, DOCUMENT, END, NOT_SENT, REFUSED, render
from tests.realtime.desk import Desk, hold
from tests.realtime.document_part import read
from tests.scripted import ScriptedSTT
from tests.test_tools import CallingLLM

MANUAL = {"audio": {"input": {"turn_detection": None}}}
SAY = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
PLAUSIBLE: dict[str, dict[str, Any]] = {
    "session.update": {"session": {"type": "realtime"}},
    "input_audio_buffer.append": {"audio": "AAAA"},
    "conversation.item.create": {"item": SAY},
    "conversation.item.delete": {"item_id": "absent"},
    "conversation.item.retrieve": {"item_id": "absent"},
    "conversation.item.truncate": {"item_id": "absent", "content_index": 0, "audio_end_ms": 0},
}
"""Required fields of each event, besides its type."""


def test_the_document_contains_the_table() -> None:
    assert read(DOCUMENT, BEGIN, END) == render().strip(), "python -m tests.realtime.coverage"


def test_the_table_lists_only_existing_events() -> None:
    assert set(REFUSED) <= set(EVENTS)
    assert set(NOT_SENT) <= set(SERVER_EVENTS)


@pytest.mark.parametrize("kind", sorted(EVENTS))
def test_client_events_are_handled_or_refused_as_the_table_says(kind: str) -> None:
    assert EVENTS[kind] in HANDLERS

    async def script(d: Desk) -> None:
        sent = d.send(kind, **PLAUSIBLE.get(kind, {}))
        await d.silence(100)
        codes = [event["error"]["code"] for event in d.of("error") if event["error"]["event_id"] == sent]
        if kind in REFUSED:
            assert codes == [REFUSED[kind].split("`")[1]]
        else:
            assert not {"unknown_or_invalid_event", "internal"} & set(codes)

    hold(script)


def test_exactly_the_server_events_of_the_table_are_sent() -> None:
    seen: set[str] = set()

    def note(desk: Desk) -> None:
        seen.update(event["type"] for _, event in desk.log)
        for _, event in desk.log:
            json.dumps(event)

    async def talk(d: Desk) -> None:
        detection = {"type": "server_vad", "idle_timeout_ms": 5000}
        await d.update(audio={"input": {"turn_detection": detection}})
        await d.speak(600)
        await d.silence(600)
        reply = (await d.until("response.done", count=1))["response"]["output"][0]["id"]
        d.send("conversation.item.truncate", item_id=reply, content_index=0, audio_end_ms=100)
        d.send("conversation.item.retrieve", item_id=reply)
        d.send("conversation.item.delete", item_id=reply)
        d.send("conversation.item.delete", item_id=reply)
        await d.until("error")
        await d.silence(8000)
        await d.update(output_modalities=["text"], **MANUAL)
        d.append(200)
        d.send("input_audio_buffer.clear")
        d.send("conversation.item.create", item=SAY)
        d.send("response.create")
        await d.until("response.output_text.done")

    note(hold(talk))

    async def unheard(d: Desk) -> None:
        await d.update(**MANUAL)
        d.append(500)
        d.send("input_audio_buffer.commit")
        await d.until("conversation.item.input_audio_transcription.failed")

    note(hold(unheard, stt=ScriptedSTT(error=EngineError("broken"))))

    async def good() -> str:
        return "fine"

    async def bad() -> str:
        raise ToolError("broken")

    async def called(d: Desk) -> None:
        client = {"type": "function", "name": "mine", "parameters": {"type": "object"}}
        await d.update(tools=[client, {"type": "mcp", "server_label": "garden"}], **MANUAL)
        d.send("conversation.item.create", item=SAY)
        d.send("response.create")
        await d.until("response.done")

    functions = [Function(function_of(f).tool, function_of(f).run, server="garden") for f in (good, bad)]
    calls = [ToolCall(f"call_{name}", name, "{}") for name in ("good", "bad", "mine")]
    toolbox = Toolbox({function.tool.name: function for function in functions})
    note(hold(called, llm=CallingLLM(calls=calls), tools=toolbox))

    assert seen == set(SERVER_EVENTS) - set(NOT_SENT)

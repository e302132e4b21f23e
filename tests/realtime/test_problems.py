"""Errors in an event name the field by its path, and unknown fields are refused."""

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.realtime.errors import RealtimeError
from server.realtime.parsing import parse
from tests.realtime.desk import Desk, hold

TOOL = {"type": "function", "name": "a", "description": "b", "parameters": {"type": "object"}}
AUDIO = {
    "input": {
        "format": {"type": "audio/pcm", "rate": 24000},
        "noise_reduction": {"type": "near_field"},
        "transcription": {"model": "whisper-1", "language": "en", "prompt": "x"},
        "turn_detection": {"type": "server_vad", "threshold": 0.5, "create_response": True},
    },
    "output": {"format": {"type": "audio/pcmu"}, "voice": {"id": "man"}, "speed": 1.0},
}
MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
EVENTS: list[dict[str, Any]] = [
    {
        "type": "session.update",
        "session": {
            "type": "realtime", "instructions": "x", "audio": AUDIO, "tools": [TOOL], "tool_choice": "auto",
            "max_output_tokens": 10, "truncation": {"type": "retention_ratio", "retention_ratio": 0.5},
            "tracing": {"group_id": "x"}, "output_modalities": ["audio"],
        },
    },
    {
        "type": "response.create",
        "response": {
            "instructions": "x", "audio": {"output": AUDIO["output"]}, "tools": [TOOL], "metadata": {"a": "b"},
            "tool_choice": {"type": "function", "name": "a"}, "conversation": "none", "max_output_tokens": "inf",
            "input": [{"type": "item_reference", "id": "x"}, MESSAGE],
        },
    },
    {"type": "conversation.item.create", "previous_item_id": "root", "item": MESSAGE},
    {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]},
    },
    {"type": "conversation.item.create", "item": {"type": "function_call", "name": "a", "arguments": "{}"}},
    {"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": "a", "output": "b"}},
    {"type": "conversation.item.truncate", "item_id": "x", "content_index": 0, "audio_end_ms": 10},
]  # fmt: skip
JUNK = st.sampled_from(
    [
        None,
        5,
        1.5,
        True,
        "x",
        "",
        [],
        {},
        [5],
        ["x"],
        {"x": 1},
        {"str": 5},
        {"type": "x"},
        {"id": 5},
        {"list[str]": "x"},
    ]
)


def spots(value: Any, path: tuple[int | str, ...] = ()) -> list[tuple[int | str, ...]]:
    """Every field of an event except its own type."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path] if path else []
    for key, one in inner:
        if (*path, key) != ("type",):
            found += spots(one, (*path, key))
    return found


def changed(event: dict[str, Any], path: tuple[int | str, ...], junk: Any, *, gone: bool) -> dict[str, Any]:
    event = copy.deepcopy(event)
    place: Any = event
    for part in path[:-1]:
        place = place[part]
    if gone:
        del place[path[-1]]
    else:
        place[path[-1]] = junk
    return event


def parts(param: str) -> list[int | str]:
    found = re.findall(r"\[(\d+)\]|([^.\[\]]+(?:\[str\])?)", param)
    return [int(number) if number else name for number, name in found]


@given(st.data())
def test_an_error_param_is_a_path_in_the_event(data: st.DataObject) -> None:
    event = data.draw(st.sampled_from(EVENTS))
    for _ in range(data.draw(st.integers(1, 2))):
        if places := spots(event):
            path = data.draw(st.sampled_from(places))
            event = changed(event, path, data.draw(JUNK), gone=data.draw(st.booleans()))
    try:
        parse(json.dumps(event))
    except RealtimeError as error:
        told = error
    else:
        return
    assert told.param
    place: Any = event
    *before, last = parts(told.param)
    for part in before:
        place = place[part]
    if told.code != "missing_required_parameter":
        assert last in place if isinstance(place, dict) else int(last) < len(place)


def test_every_example_event_is_valid() -> None:
    for event in EVENTS:
        parse(json.dumps(event))


@pytest.mark.parametrize(
    ("event", "path", "junk", "code", "param"),
    [
        (2, ("item", "content", 0, "type"), "text", "invalid_value", "item.content[0].type"),
        (3, ("item", "content", 0, "type"), "input_text", "invalid_value", "item.content[0].type"),
        (2, ("item", "content", 0, "text"), 5, "invalid_type", "item.content[0].text"),
        (2, ("item", "content"), "hi", "invalid_type", "item.content"),
        (2, ("item", "role"), "absent", "invalid_value", "item.role"),
        (2, ("item", "type"), "nothing", "invalid_value", "item.type"),
        (
            1,
            ("response", "input", 1, "content", 0, "type"),
            "text",
            "invalid_value",
            "response.input[1].content[0].type",
        ),
        (1, ("response", "audio", "output", "voice"), 5, "invalid_type", "response.audio.output.voice"),
        (0, ("session", "audio", "output", "voice"), [], "invalid_type", "session.audio.output.voice"),
        (0, ("session", "audio", "output", "voice", "id"), 5, "invalid_type", "session.audio.output.voice.id"),
        (0, ("session", "tools", 0, "name"), 5, "invalid_type", "session.tools[0].name"),
        (0, ("session", "tools", 0), 5, "invalid_type", "session.tools[0]"),
        (0, ("session", "output_modalities", 0), "smell", "invalid_value", "session.output_modalities[0]"),
    ],
)
def test_the_wrong_field_is_named(event: int, path: tuple[int | str, ...], junk: Any, code: str, param: str) -> None:
    with pytest.raises(RealtimeError) as refused:
        parse(json.dumps(changed(EVENTS[event], path, junk, gone=False)))
    assert (refused.value.code, refused.value.param) == (code, param)


def test_unknown_fields_are_refused_at_any_depth() -> None:
    async def script(d: Desk) -> None:
        before = await d.update()
        wrong: list[tuple[str, dict[str, Any], str]] = [
            ("response.create", {"response": {"modalities": ["text"]}}, "response.modalities"),
            ("response.create", {"response": {"voice": "alloy"}}, "response.voice"),
            ("response.create", {"response": {"temperature": None}}, "response.temperature"),
            ("response.create", {"response": {"audio": {"input": {}}}}, "response.audio.input"),
            ("response.create", {"response": {"audio": {"output": {"x": 1}}}}, "response.audio.output.x"),
            ("response.create", {"response": {"tools": [{**TOOL, "x": 1}]}}, "response.tools[0].x"),
            ("response.create", {"response": {"input": [{**MESSAGE, "x": 1}]}}, "response.input[0].x"),
            ("response.create", {"x": 1}, "x"),
            ("session.update", {"session": {"type": "realtime", "x": 1}}, "session.x"),
            ("session.update", {"session": {"type": "realtime", "audio": {"x": 1}}}, "session.audio.x"),
            (
                "session.update",
                {
                    "session": {
                        "type": "realtime",
                        "audio": {"input": {"turn_detection": {"type": "semantic_vad", "x": 1}}},
                    }
                },
                "session.audio.input.turn_detection.x",
            ),
            ("conversation.item.create", {"item": {**MESSAGE, "x": 1}}, "item.x"),
            (
                "conversation.item.create",
                {"item": {**MESSAGE, "content": [{"type": "input_text", "text": "hi", "x": 1}]}},
                "item.content[0].x",
            ),
        ]
        for kind, body, param in wrong:
            error = await d.error(d.send(kind, **body))
            assert (error["code"], error["param"]) == ("unknown_parameter", param)
        assert await d.update() == before
        assert d.running.calls == []

    hold(script)


def test_a_received_session_can_be_sent_back() -> None:
    async def script(d: Desk) -> None:
        session = await d.update()
        assert await d.update(**{name: value for name, value in session.items() if name != "type"}) == session
        item = {**MESSAGE, "id": "mine", "object": "realtime.item", "status": "completed"}
        d.send("conversation.item.create", item=item)
        told = (await d.until("conversation.item.done"))["item"]
        d.send("conversation.item.create", item={**told, "id": "another"})
        assert (await d.until("conversation.item.done"))["item"] == {**told, "id": "another"}

    hold(script)


def test_an_empty_model_name_selects_the_default() -> None:
    async def script(d: Desk) -> None:
        session = d.of("session.created")[0]["session"]
        assert session["model"] == "gpt-realtime"
        hears = session["audio"]["input"]["transcription"]["model"]
        for transcription in ({"model": ""}, {"language": "en"}, {"model": None}):
            told = await d.update(model="", audio={"input": {"transcription": transcription}})
            assert told["model"] == "gpt-realtime"
            assert told["audio"]["input"]["transcription"]["model"] == hears

    hold(script, query="model=")

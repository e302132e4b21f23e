"""Limits on each kind of data that a Realtime client sends, whatever MAX_MESSAGE_BYTES is."""

import base64
import json
from typing import Any

import pytest

from server.access import budgets
from server.realtime.errors import RealtimeError
from server.realtime.parsing import MAX_EVENT_CHARS, parse
from tests.realtime.desk import Desk, hold
from tests.scripted import ScriptedSTT


def item(*sounds: bytes) -> dict[str, Any]:
    content = [{"type": "input_audio", "audio": base64.b64encode(sound).decode()} for sound in sounds]
    return {"type": "message", "role": "user", "content": content}


def pcm(seconds: float) -> bytes:
    return bytes(2 * int(24_000 * seconds))


@pytest.mark.parametrize("parts", [[pcm(2.1)], [pcm(1.5), pcm(0.7)]], ids=["one part", "two parts"])
def test_an_item_cannot_exceed_the_utterance_limit(parts: list[bytes]) -> None:
    async def script(desk: Desk) -> None:
        told = await desk.error(desk.send("conversation.item.create", item=item(*parts)))
        assert told["code"] == "audio_too_long"
        desk.send("conversation.item.create", item=item(pcm(1.9)))
        await desk.until("conversation.item.input_audio_transcription.completed")

    hold(script, max_audio_seconds=2.0)


def test_waiting_items_are_counted_and_the_session_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    """An item of 1 s is 96,000 bytes; the budget is 250,000, of which one connection can have at least half."""

    async def script(desk: Desk) -> None:
        for _ in range(5):
            desk.send("conversation.item.create", item=item(pcm(1.0)))
        await desk.until("conversation.item.input_audio_transcription.completed", count=2)
        failed = desk.of("conversation.item.input_audio_transcription.failed")
        assert [event["error"]["code"] for event in failed] == ["overloaded"] * 3
        desk.send("conversation.item.create", item=item(pcm(1.0)))
        await desk.until("conversation.item.input_audio_transcription.completed", count=3)

    monkeypatch.setattr(budgets, "MEMORY_BYTES", 280_000)
    hold(script, stt=ScriptedSTT(seconds=5.0))


def test_sound_is_cut_from_an_event_before_parsing() -> None:
    sound = base64.b64encode(bytes(range(256)) * 8000).decode()
    assert len(sound) > 2 * MAX_EVENT_CHARS
    event = {"type": "input_audio_buffer.append", "event_id": "one", "audio": sound}
    for text in (json.dumps(event), json.dumps(event).replace("/", "\\/"), json.dumps(event, indent=2)):
        assert parse(text)[1] == event
    backwards = dict(reversed(event.items()))
    assert parse(json.dumps(backwards))[1] == event
    created = {"type": "conversation.item.create", "item": item(bytes(900_000), b"short", bytes(900_000))}
    assert parse(json.dumps(created))[1] == created
    # Text that only looks like sound is left unchanged.
    said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": '"audio": "' + "x" * 5000}]}
    assert parse(json.dumps({"type": "conversation.item.create", "item": said}))[1]["item"] == said


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"type": "session.update", "session": {"instructions": "x" * 2_000_000}}),
        '{"type": "session.update", "session": {"type": "realtime", "tools": [' + "{}," * 5000 + "{}]}}",
        '{"type": "input_audio_buffer.append", "audio": "' + "x" * 5_000_000,
        '{"audio": "", ' * 100_000,
        '"audio":' * 200_000,
        json.dumps({"type": "input_audio_buffer.append", "audio": "eA==", "more": "x" * 5_000_000}),
    ],
    ids=["instructions", "tools", "without an end", "nested", "names", "something else"],
)
def test_only_sound_can_be_large(text: str) -> None:
    with pytest.raises(RealtimeError) as caught:
        parse(text)
    assert caught.value.code == "unknown_or_invalid_event"

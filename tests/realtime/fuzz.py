"""Clients that send anything in any order: random sessions, and invariants of each."""

import asyncio
import base64
import json
from collections import Counter
from random import Random
from typing import Any

from pipeline.llm import ToolCall
from tests.realtime.desk import Desk, hold
from tests.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS
from tests.test_tools import CallingLLM

REPLIES = (
    "Yes.",
    "The heron stands quite still. It waits for a small fish. Then it moves, fast as a thought.",
    " ".join(f"This is sentence number {n} of a long reply." for n in ("one", "two", "three", "four")),
)
JUNK: tuple[Any, ...] = (
    None, True, 0, -1, 1e308, 10**30, "", "x", "\u0000", "é" * 5000, "😀", [], {}, [[]], {"type": None}, ["audio"],
    {"type": "server_vad"}, "audio/pcm", "inf", "none", "auto", [None], {"": ""}, "root",
)  # fmt: skip
BYTES = (
    "\x00", "{", "}{", "[1,2", '{"type":', "null", "[]", "NaN", '{"type":NaN}', '"session.update"', "{" * 5000,
    '{"type":"session.update","session":' + "[" * 3000, '{"type":"response.create","event_id":"\\ud800"}',
    '{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text",'
    '"text":"\\udfff"}]}}', "ÿþ", '{"type":"input_audio_buffer.append","audio":"' + "A" * 9999 + '"}',
    "1" * 10_000, '{"type": 1e400}',
)  # fmt: skip


class Client:
    """Makes up the next message of a session."""

    def __init__(self, random: Random, desk: Desk) -> None:
        self.random, self.desk = random, desk

    def message(self) -> str:
        """A well-formed event, an event with a wrong field, or no event at all."""
        chance = self.random.random()
        if chance < 0.06:
            return self.random.choice(BYTES)
        event = self._event()
        if chance < 0.40:
            self._spoil(event)
        return json.dumps(event)

    def _id(self) -> str:
        known = [event["item"]["id"] for event in self.desk.of("conversation.item.added")[-8:]]
        return self.random.choice([*known, "absent", "root", f"item_{self.random.randrange(9)}"])

    def _event(self) -> dict[str, Any]:
        pick = self.random
        kind = pick.choices(
            [
                "session.update", "input_audio_buffer.append", "input_audio_buffer.commit", "input_audio_buffer.clear",
                "conversation.item.create", "conversation.item.delete", "conversation.item.retrieve",
                "conversation.item.truncate", "response.create", "response.cancel", "output_audio_buffer.clear",
            ],
            [2, 10, 2, 1, 4, 1, 1, 2, 4, 2, 1],
        )[0]  # fmt: skip
        event: dict[str, Any] = {"type": kind, "event_id": f"e{pick.randrange(10**6)}"}
        match kind:
            case "session.update":
                event["session"] = {"type": "realtime", **self._session()}
            case "input_audio_buffer.append":
                level = pick.choice([0, 6000])
                pcm = level.to_bytes(2, "little") * pick.choice([1, 480, 4800, 12_000])
                event["audio"] = base64.b64encode(pcm).decode()
            case "conversation.item.create":
                event["item"] = self._item()
                if pick.random() < 0.3:
                    event["previous_item_id"] = self._id()
            case "conversation.item.delete" | "conversation.item.retrieve":
                event["item_id"] = self._id()
            case "conversation.item.truncate":
                event |= {"item_id": self._id(), "content_index": 0, "audio_end_ms": pick.choice([0, 100, 1000, 10**6])}
            case "response.create" if pick.random() < 0.6:
                event["response"] = self._response()
            case "response.cancel" if pick.random() < 0.3:
                event["response_id"] = pick.choice(["absent", *(self._responses()[-2:])])
            case _:
                pass
        return event

    def _responses(self) -> list[str]:
        return [event["response"]["id"] for event in self.desk.of("response.created")]

    def _session(self) -> dict[str, Any]:
        pick = self.random
        choices: list[dict[str, Any]] = [
            {"instructions": "be brief"}, {"output_modalities": ["text"]}, {"output_modalities": ["audio"]},
            {"audio": {"input": {"turn_detection": None}}},
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "create_response": pick.random() < 0.5}}}},
            {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "high"}}}},
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}}},
            {"audio": {"output": {"format": {"type": pick.choice(["audio/pcm", "audio/pcmu", "audio/pcma"])}}}},
            {"audio": {"input": {"format": {"type": pick.choice(["audio/pcm", "audio/pcmu", "audio/pcma"])}}}},
            {"audio": {"input": {"transcription": None}}}, {"max_output_tokens": pick.choice([1, 5, "inf"])},
            {"tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}}]}, {"tools": []},
        ]  # fmt: skip
        return pick.choice(choices)

    def _item(self) -> dict[str, Any]:
        pick = self.random
        text = pick.choice(["hello", "", "what does the heron do", "é" * 300])
        item: dict[str, Any] = pick.choice(
            [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]},
                {"type": "message", "role": "system", "content": [{"type": "input_text", "text": text}]},
                {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "AAAA" * 2000}]},
                {"type": "function_call", "name": "look", "arguments": "{}", "call_id": "call_x"},
                {
                    "type": "function_call_output",
                    "call_id": pick.choice(["call_x", "call_1", "absent"]),
                    "output": "x",
                },
            ]
        )  # fmt: skip
        return item | ({"id": self._id()} if pick.random() < 0.2 else {})

    def _response(self) -> dict[str, Any]:
        pick = self.random
        choices: list[dict[str, Any]] = [
            {"metadata": {"a": "b"}}, {"output_modalities": ["text"]}, {"instructions": "x"},
            {"conversation": "none", "input": [self._item()], "output_modalities": [pick.choice(["text", "audio"])]},
            {"conversation": "none", "input": [{"type": "item_reference", "id": self._id()}]},
            {"input": []}, {"max_output_tokens": 2}, {"tool_choice": "none"},
        ]  # fmt: skip
        return pick.choice(choices)

    def _spoil(self, event: dict[str, Any]) -> None:
        """Make one field wrong, missing or superfluous, anywhere in the event."""
        pick = self.random
        at: Any = event
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            key = pick.choice(keys) if keys else None
            if key is not None and isinstance(at[key], dict | list) and at[key] and pick.random() < 0.8:
                at = at[key]
                continue
            break
        if key is None:
            return
        match pick.randrange(3):
            case 0 if isinstance(at, dict):
                del at[key]
            case 1 if isinstance(at, dict):
                at[f"x_{pick.randrange(9)}"] = pick.choice(JUNK)
            case _:
                at[key] = pick.choice(JUNK)


def session(seed: int, messages: int) -> Counter[str]:
    """Run one random session; return its events by type and error code. Raises AssertionError on a violation."""
    random = Random(seed)

    async def script(d: Desk) -> None:
        client = Client(random, d)
        for _ in range(messages):
            if random.random() < 0.01:
                d.inbox.put_nowait({"type": "websocket.receive", "bytes": random.randbytes(9)})
            d.text(client.message())
            if random.random() < 0.5:
                await asyncio.sleep(random.choice([0.0, 0.02, 0.02, 0.3, 2.0]))
            assert d.closed is None, d.closed
        sent = d.send("input_audio_buffer.clear")
        await d.until("input_audio_buffer.cleared", within_s=120)  # the session is still alive
        if random.random() < 0.7:
            await asyncio.sleep(60)  # every pending response ends
            # Turn detection may have made a response from leftover sound; no more speech follows.
            assert len(d.of("response.done")) == len(d.of("response.created"))
        assert sent

    call = ToolCall("call_1", "look", "{}")
    llm_kind = random.choice([ScriptedLLM, CallingLLM])
    llm = llm_kind(random.choice(REPLIES)) if llm_kind is ScriptedLLM else CallingLLM(calls=[call])
    desk = hold(
        script,
        stt=ScriptedSTT(random.choice(["what does the heron do", "", "stop"]), seconds=random.choice([0.01, 0.5])),
        llm=llm,
        tts=ScriptedTTS(rtf=random.choice([0.01, 0.5])),
    )
    check(desk)
    told = Counter(event["type"] for _, event in desk.log)
    told.update(f"error {event['error']['code']}" for event in desk.of("error"))
    return told


def check(desk: Desk) -> None:
    """Check the invariants of every session."""
    begun: set[str] = set()
    done: set[str] = set()
    active: str | None = None
    seen: set[str] = set()
    for _, event in desk.log:
        kind = event["type"]
        assert event["event_id"] not in seen
        seen.add(event["event_id"])
        if kind == "error":
            assert event["error"]["code"] != "internal", event
        response = event.get("response_id") or event.get("response", {}).get("id")
        if response is None:
            continue
        in_band = event.get("response", {}).get("conversation_id") is not None
        if kind == "response.created":
            assert response not in begun
            begun.add(response)
            if in_band:
                assert active is None, "two responses of the conversation at a time"
                active = response
        else:
            assert response in begun, f"{kind} of a response that has not begun"
            assert response not in done, f"{kind} of a response that is over"
        if kind == "response.done":
            done.add(response)
            active = None if response == active else active

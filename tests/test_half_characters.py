"""Half a surrogate pair from a client or a language model: it closes no connection and is never stored."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wyoming.asr import Transcript
from wyoming.client import AsyncTcpClient
from wyoming.handle import Handled

from pipeline.support.encodable import Halves, encodable, encodable_json
from pipeline.support.json_types import Json
from tests.in_process import in_process
from tests.realtime.desk import Desk, hold
from tests.scripted import ScriptedLLM
from tests.server_process import receive
from tests.servers.ollama import FakeOllama, Traps
from tests.servers.running import closed_port, running
from tests.waiting import WAIT_S, until

HALF = "\\ud83d"
"""Half a pair, as JSON escapes it."""
PAIR = "\\ud83d\\ude00"

texts = st.text(st.one_of(st.characters(), st.sampled_from("\ud83d\ude00")))


@given(texts, st.data())
def test_text_becomes_encodable_however_it_is_cut(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    halves = Halves()
    pieces = [halves.feed(text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = "".join([*pieces, halves.finish()])
    assert whole == encodable(text)
    assert whole.encode("utf-16", "surrogatepass") == whole.encode("utf-16")


def test_json_value_becomes_encodable_everywhere() -> None:
    value: Json = {"a\ud83d": ["\ud83d\ude00", {"b": "\ude00"}, 7, None, True]}
    assert encodable_json(value) == {"a\ufffd": ["😀", {"b": "\ufffd"}, 7, None, True]}


def test_realtime_client_can_send_half_characters_anywhere() -> None:
    text = f"half {HALF} pair {PAIR}"

    async def script(d: Desk) -> None:
        tool = {"type": "function", "name": "look", "description": text, "parameters": {"type": "object", text: text}}
        sent: list[dict[str, Any]] = [
            {"type": "session.update", "event_id": text, "session": {
                "type": "realtime", "instructions": text, "tools": [tool], "output_modalities": ["text"],
                "audio": {"input": {"transcription": {"model": "whisper-1", "prompt": text}}}}},
            {"type": "conversation.item.create", "item": {
                "type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}},
            {"type": "response.create", "response": {"metadata": {text: text}}},
        ]  # fmt: skip
        for event in sent:
            d.text(json.dumps(event).replace("\\\\", "\\"))
        done = await d.until("response.done")
        assert done["response"]["status"] == "completed", done
        d.text('{"type": "session.update", "session": {"type": "realtime", "audio": {"output": {"voice": "\\ud83d"}}}}')
        await d.until("error")
        await d.update()

    d = hold(script, llm=ScriptedLLM("Fine \ud83d\ude00 \ud83d."))
    assert ("user", "half \ufffd pair 😀") in d.told
    assert ("system", "half \ufffd pair 😀") in d.told
    (done,) = d.of("response.done")
    assert done["response"]["output"][0]["content"][0]["text"] == "Fine 😀 \ufffd."
    assert d.closed is None


@pytest.fixture
def ollama() -> FakeOllama:
    """A language model that writes an emoji in two halves, and half an emoji."""
    parts = (f"Well {HALF}", f"{PAIR[6:]} then {HALF}", " yes.")
    return FakeOllama(
        traps=Traps(raw=[f'{{"message": {{"content": "{part}"}}}}\n' for part in parts] + ['{"done": true}\n'])
    )


async def test_half_characters_close_no_connection_of_the_service(tmp_path: Path, ollama: FakeOllama) -> None:
    recordings, port = tmp_path / "recordings", closed_port()
    async with running(ollama.app()) as address:
        settings = {
            "LLM_ENGINE": "ollama", "LLAMA_ENDPOINT": address, "RECORD": "true", "RECORDINGS_DIR": str(recordings),
            "WYOMING_URI": f"tcp://127.0.0.1:{port}", "DEBUG_MODE": "true", "LOG_FORMAT": "json",
        }  # fmt: skip
        service = in_process(tmp_path, **settings)
        server = await asyncio.to_thread(service.__enter__)

        def talk() -> None:
            with server.connect("?stream=1&rate=16000") as connection:
                for told in (f'{{"type": "configure", "voice": "{HALF}"}}', f'{{"type": "{HALF}"}}', f'"{HALF}"'):
                    connection.send(told)
                for _ in range(2):
                    connection.send(f'{{"type": "say", "text": "half {HALF} pair {PAIR}"}}')
                    events: list[dict[str, Any]] = []
                    while not events or events[-1].get("type") not in ("turn_completed", "turn_failed"):
                        if isinstance(event := receive(connection), dict):
                            events.append(event)
                    assert events[-1]["type"] == "turn_completed", events
                    assert events[-1]["reply"] == "Well 😀 then \ufffd yes."
            until(lambda: len(list(recordings.glob("*/*.json"))) == 2)
            for file in recordings.glob("*/*.json"):
                until(lambda file=file: file.stat().st_size > 0)  # type: ignore[misc]
                assert "half \ufffd pair 😀" in file.read_text(encoding="utf-8")
            with server.connect(f"?voice={HALF}") as connection:
                assert "error" in receive(connection)
            headers = {"Content-Type": "application/json"}
            speech: dict[str, Any] = {"url": f"{server.url}/v1/audio/speech", "headers": headers}
            said = httpx.post(**speech, content=f'{{"model": "tts-1", "voice": "man", "input": "Hello {HALF}"}}')
            assert said.status_code == 200
            for wrong in (f'"voice": "{HALF}"', f'"voice": "man", "{HALF}": 1, "speed": "{HALF}"'):
                refused = httpx.post(**speech, content=f'{{"model": "tts-1", "input": "Hello", {wrong}}}')
                assert 400 <= refused.status_code < 500, refused.text
                assert refused.json()["error"]["message"]

            address = f'{{"url": "https://example.invalid/a.wav", "session_id": "{PAIR}{HALF}"}}'
            job = httpx.post(f"{server.url}/api/v1/upload/url", headers=headers, content=address)
            assert job.status_code == 202, job.text
            one = f"{server.url}/jobs/{job.json()['job_id']}"
            named = httpx.put(f"{one}/speakers", headers=headers, content=f'{{"A": "Ann{HALF}"}}')
            assert named.status_code == 200, named.text
            kept_job = httpx.get(one).json()
            assert (kept_job["session_id"], kept_job["speakers"]) == ("😀\ufffd", {"A": "Ann\ufffd"})

        async def handle() -> str:
            async with asyncio.timeout(WAIT_S), AsyncTcpClient("127.0.0.1", port) as client:
                event = Transcript("x").event()
                await client.write_event(event)
                while (answer := await client.read_event()) is not None and not Handled.is_type(answer.type):
                    pass
                assert answer is not None
                return Handled.from_event(answer).text or ""

        await asyncio.to_thread(talk)
        assert await handle() == "Well 😀 then \ufffd yes."
        await asyncio.to_thread(service.__exit__, None, None, None)
    assert "Traceback" not in server.text
    assert ollama.requests[-2]["messages"][-1]["content"] == "half \ufffd pair 😀"

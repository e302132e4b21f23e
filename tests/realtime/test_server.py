"""The real `openai` client against the running service."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from openai import AsyncOpenAI
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from pipeline.audio.clip import Clip
from tests.in_process import in_process
from tests.questions import SUM, SUM_ANSWER, spoken
from tests.realtime.client import EVENT_S, Talk, talking
from tests.server_process import ServerProcess, Service
from tests.servers.ollama import FakeOllama
from tests.servers.running import running

pytestmark = pytest.mark.real_time
SOUND_AND_WORDS = ("response.output_audio_transcript.delta", "response.output_audio.delta")
SILENCE = Clip(np.zeros(24_000, np.float32), 16_000)


@asynccontextmanager
async def in_thread(server: AbstractContextManager[Service]) -> AsyncIterator[Service]:
    """Start and stop a server in a thread, without blocking this event loop."""
    with ExitStack() as stack:  # stop the server even when the block fails
        yield await asyncio.to_thread(stack.enter_context, server)
        await asyncio.to_thread(stack.close)


async def test_a_spoken_turn_sends_the_documented_events_in_order(server: ServerProcess) -> None:
    async with talking(server.url) as talk:
        await talk.connection.session.update(session={"type": "realtime"})
        await talk.speak(spoken(SUM))
        done = await talk.until("response.done")
        await talk.until("rate_limits.updated")
    # Words and sound interleave as they arrive.
    kinds = [kind for kind in talk.kinds if kind not in SOUND_AND_WORDS]
    at = kinds.index("response.content_part.added") + 1
    kinds[at:at] = [kind for kind in SOUND_AND_WORDS if talk.of(kind)]
    assert kinds == [
        "session.created",
        "session.updated",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
        "rate_limits.updated",
    ]
    assert talk.of("conversation.item.input_audio_transcription.completed")[0]["transcript"] == SUM
    assert done["response"]["status"] == "completed"
    assert SUM_ANSWER in done["response"]["output"][0]["content"][0]["transcript"]
    assert done["response"]["usage"]["output_tokens"] > 0
    speech = Clip.from_pcm16(talk.heard(), 24_000)
    assert 0.8 < speech.seconds < 6
    assert float(abs(speech.samples).max()) > 0.1


async def test_typed_manual_and_spoken_turns_share_one_conversation(server: ServerProcess) -> None:
    async with talking(server.url) as talk:
        await talk.connection.session.update(
            session={"type": "realtime", "audio": {"input": {"turn_detection": None}}, "output_modalities": ["text"]}
        )
        await talk.type("my name is alice")
        await talk.connection.response.create()
        assert (await talk.until("response.output_text.done"))["text"] == "Nice to meet you, Alice."
        await talk.until("response.done")
        await talk.speak(spoken("what is my name"))
        await talk.connection.input_audio_buffer.commit()
        completed = await talk.until("conversation.item.input_audio_transcription.completed")
        assert completed["transcript"] == "what is my name"
        await talk.connection.response.create(response={"output_modalities": ["audio"]})
        done = await talk.until("response.done")
        assert done["response"]["output"][0]["content"][0]["transcript"] == "Your name is Alice."
        assert len(talk.heard(done["response"]["id"])) > 24_000
        await talk.connection.response.create(response={"conversation": "none", "input": [], "metadata": {"n": "1"}})
        assert (await talk.until("response.done"))["response"]["metadata"] == {"n": "1"}


@pytest.mark.parametrize(("format", "subtype"), [("audio/pcmu", "ULAW"), ("audio/pcma", "ALAW")])
async def test_telephone_sound_works_in_both_directions(server: ServerProcess, format: str, subtype: str) -> None:
    def coded(clip: Clip) -> bytes:
        out = io.BytesIO()
        soundfile.write(out, clip.at(8_000).samples, 8_000, format="RAW", subtype=subtype)
        return out.getvalue()

    async with talking(server.url) as talk:
        one_way: Any = {"format": {"type": format}}
        await talk.connection.session.update(
            session={"type": "realtime", "audio": {"input": one_way, "output": one_way}}
        )
        await talk.send_sound(coded(spoken("what is your name")) + coded(SILENCE))
        transcript = await talk.until("conversation.item.input_audio_transcription.completed")
        assert transcript["transcript"] == "what is your name"
        await talk.until("response.done")
    samples, rate_hz = soundfile.read(
        io.BytesIO(talk.heard()), dtype="float32", format="RAW", subtype=subtype, samplerate=8_000, channels=1
    )
    assert 1.0 < len(samples) / rate_hz < 8
    assert 0.01 < float(np.sqrt(np.mean(samples**2))) < 0.5


async def test_client_functions_work_with_a_real_model_server(tmp_path: Path) -> None:
    ollama = FakeOllama(reply="It is sunny in Lisbon.", calls=[("weather", {"city": "Lisbon"})])
    tool: Any = {"type": "function", "name": "weather", "description": "The weather.", "parameters": {"type": "object"}}
    async with running(ollama.app()) as address:
        settings = {"LLM_ENGINE": "ollama", "LLAMA_ENDPOINT": address}
        async with in_thread(in_process(tmp_path, **settings)) as server, talking(server.url) as talk:
            await talk.connection.session.update(session={"type": "realtime", "tools": [tool]})
            await talk.type("how is the weather")
            await talk.connection.response.create()
            called = await talk.until("response.function_call_arguments.done")
            assert json.loads(called["arguments"]) == {"city": "Lisbon"}
            await talk.until("response.done")
            output: Any = {"type": "function_call_output", "call_id": called["call_id"], "output": '{"sky": "clear"}'}
            await talk.connection.conversation.item.create(item=output)
            await talk.connection.response.create()
            done = await talk.until("response.done")
    assert done["response"]["output"][0]["content"][0]["transcript"] == "It is sunny in Lisbon."
    assert ollama.requests[-1]["messages"][-1]["content"] == '{"sky": "clear"}'


async def test_concurrent_sessions_are_not_delayed_by_one_that_does_not_read(server: ServerProcess) -> None:
    sums = {"two plus two": "4", "three plus four": "7", "five plus six": "11", "eight plus one": "9"}
    for question in sums:
        spoken(f"what is {question}")

    async def converse(question: str, answer: str) -> None:
        async with talking(server.url) as talk:
            await talk.speak(spoken(f"what is {question}"))
            done = await talk.until("response.done")
            assert done["response"]["status"] == "completed"
            (heard,) = talk.of("conversation.item.input_audio_transcription.completed")
            assert question.split()[0] in heard["transcript"]  # the session's own question, and no other's
            if heard["transcript"] == f"what is {question}":  # the recogniser need not be exact
                assert done["response"]["output"][0]["content"][0]["transcript"].endswith(f"{answer}.")

    async with talking(server.url) as deaf:
        for _ in range(4):  # long replies that this client does not read
            await deaf.type("tell me a story")
            await deaf.connection.response.create(response={"conversation": "none"})
        async with asyncio.timeout(EVENT_S), asyncio.TaskGroup() as group:
            for question, answer in sums.items():
                group.create_task(converse(question, answer))


async def test_sessions_without_a_key_or_over_the_limit_are_refused(tmp_path: Path) -> None:
    settings = {"API_KEYS": "s3cret", "MAX_SESSIONS": "1"}
    async with in_thread(in_process(tmp_path, **settings)) as server:
        address = f"ws://127.0.0.1:{server.port}/v1/realtime?model=any"
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            with pytest.raises(InvalidStatus) as refused:
                await connect(address, additional_headers=headers)
            assert refused.value.response.status_code == 401
            assert json.loads(refused.value.response.body)["error"]["code"] == "invalid_api_key"
        with pytest.raises(InvalidStatus) as refused:
            headers = {"Authorization": "Bearer s3cret", "Origin": "https://evil.example"}
            await connect(address, additional_headers=headers)
        assert refused.value.response.status_code == 403
        protocols: Any = ["realtime", "openai-insecure-api-key.s3cret"]
        async with connect(address, subprotocols=protocols) as browser:
            assert browser.subprotocol == "realtime"
            assert json.loads(await browser.recv())["type"] == "session.created"
            with pytest.raises(InvalidStatus) as refused:
                await connect(address, additional_headers={"Authorization": "Bearer s3cret"})
            assert refused.value.response.status_code == 503
            assert int(refused.value.response.headers["retry-after"]) > 0
            assert json.loads(refused.value.response.body)["error"]["code"] == "session_limit_reached"


async def test_a_transcription_session_transcribes_speech(server: ServerProcess) -> None:
    async with (
        AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client,
        client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        talk = Talk(connection)
        assert (await talk.until("session.created"))["session"]["type"] == "transcription"
        await talk.speak(spoken(SUM))
        completed = await talk.until("conversation.item.input_audio_transcription.completed")
    assert completed["transcript"] == SUM
    assert completed["usage"]["seconds"] == pytest.approx(spoken(SUM).seconds, abs=1)


async def test_fifteen_minutes_of_sound_in_large_events_block_no_other(server: ServerProcess) -> None:
    """A client may append 15 MiB at a time."""
    large = base64.b64encode(bytes(15 * 2**20)).decode()
    async with talking(server.url) as busy, talking(server.url) as other:
        await busy.connection.input_audio_buffer.append(audio=large)
        await other.speak(spoken(SUM))
        assert SUM_ANSWER in (await other.until("response.done"))["response"]["output"][0]["content"][0]["transcript"]
        await busy.connection.input_audio_buffer.append(audio=base64.b64encode(bytes(15 * 2**20 + 2)).decode())
        assert (await busy.error())["code"] == "invalid_value"

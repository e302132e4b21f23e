"""`/v1/realtime/translations` with the unmodified `openai` package: the service in a thread, a chat server that
translates by a table, and real Whisper on real speech."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI
from openai.lib.realtime_translation import TranslationSession
from openai.types.realtime import RealtimeTranslationSessionClosedEvent
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from pipeline.audio.clip import Clip
from pipeline.audio.decode import decode_blocking
from server.access.callers import USE
from server.access.keys import KeyFile
from tests.in_process import in_process
from tests.questions import spoken
from tests.real_models import real_whisper, recording
from tests.realtime.test_server import in_thread
from tests.server_process import Service, constants, serving
from tests.servers.chat import FakeChat
from tests.servers.ollama import FakeOllama
from tests.servers.running import closed_port, running
from tests.translation.client import RATE_HZ, Listener, translating
from tests.waiting import until

pytestmark = pytest.mark.real_time
KEY = "a-key-of-thirty-two-characters-01"
HELLO = {"hello": "hola"}
JFK = {
    "and so my fellow americans": "Y así, mis compatriotas americanos,",
    "ask not": "no preguntes",
    "what your country can do for you": "qué puede hacer tu país por ti,",
    "ask what you can do for your country": "pregunta qué puedes hacer tú por tu país.",
}


def bare(text: str) -> str:
    return " ".join("".join(char for char in text.lower() if char.isalpha() or char == " ").split())


def by_table(table: dict[str, str]) -> FakeChat:
    """Return a chat server that translates the texts of a table, and parts of them word by word."""

    def reply(messages: list[dict[str, Any]]) -> str:
        text = bare(messages[-1]["content"])
        for source, translation in table.items():
            text = text.replace(source, translation)
        return text

    return FakeChat(reply_to=reply)


@asynccontextmanager
async def served(folder: Path, chat: FakeChat, **settings: str) -> AsyncIterator[Service]:
    async with running(chat.app()) as address:
        llm = {"LLM_ENGINE": "openai", "LLM_OPENAI_URL": f"{address}/v1"}
        async with in_thread(in_process(folder, **llm, **settings)) as server:
            yield server


def jfk() -> Clip:
    return decode_blocking(recording("jfk"), max_seconds=60).at(RATE_HZ)


async def test_the_sdk_translates_speech(tmp_path: Path) -> None:
    chat = by_table(HELLO)
    async with served(tmp_path, chat) as server, translating(server.url) as listener:
        session = await listener.update("es", input={"transcription": {"model": "whisper-1"}})
        assert session["model"] == "gpt-realtime-translate"
        for _ in range(2):  # with a pause after which the next word is transcribed alone
            await listener.speak(spoken("hello"), silence_s=2.5)
        await listener.close()
    assert listener.text("input") == "hello hello"
    assert listener.text() == "hola hola"
    assert listener.speech.seconds > 0.4
    system, *context, last = chat.requests[-1]["messages"]
    assert "into Spanish" in system["content"]
    assert [message["content"] for message in context] == ["hello", "hola"]
    assert last == {"role": "user", "content": "hello"}
    assert not chat.requests[-1].get("tools")


async def test_the_managed_session_of_the_sdk_gets_everything_before_the_end(tmp_path: Path) -> None:
    def talk(url: str) -> tuple[str, bool]:
        text = ""
        with OpenAI(base_url=f"{url}/v1", api_key="none") as client:
            session = TranslationSession(client.realtime.translations, model="gpt-realtime-translate")
            with session as connection:
                connection.send({"type": "session.update", "session": {"audio": {"output": {"language": "es"}}}})
                audio = base64.b64encode(spoken("hello").at(RATE_HZ).pcm16()).decode()
                connection.send({"type": "session.input_audio_buffer.append", "audio": audio})
                connection.send({"type": "session.close"})
                while True:
                    event = connection.recv(timeout=60)
                    assert event.type != "error", event
                    if event.type == "session.output_transcript.delta":
                        text += event.delta
                    if event.type == "session.closed":
                        return text, isinstance(event, RealtimeTranslationSessionClosedEvent)

    async with served(tmp_path, by_table(HELLO)) as server:
        assert await asyncio.to_thread(talk, server.url) == ("hola", True)


async def test_without_a_language_model_sessions_and_secrets_are_refused(tmp_path: Path) -> None:
    async with in_thread(in_process(tmp_path)) as server:
        with pytest.raises(InvalidStatus) as refused:
            async with translating(server.url):
                pass
        response = refused.value.response
        assert response.status_code == 503
        assert b"language_model_required" in (response.body or b"")
        assert b"start Ollama, or set LLM_ENGINE" in (response.body or b"")
        async with httpx.AsyncClient() as client:
            made = await client.post(
                f"{server.url}/v1/realtime/translations/client_secrets", json={"session": {"model": "any"}}
            )
        assert (made.status_code, made.json()["error"]["code"]) == (503, "language_model_required")


async def test_ollama_that_starts_later_makes_translations_possible(tmp_path: Path) -> None:
    """The built-in responder would answer in place of a model that is lost; that is not a translation."""
    port = closed_port()
    settings = {"LLM_ENGINE": "auto", "LLAMA_ENDPOINT": f"http://127.0.0.1:{port}"}
    with serving(tmp_path, STT_ENGINE="sphinx", **settings) as server:

        def possible() -> bool:
            body = {"session": {"model": "any"}}
            answer = httpx.post(f"{server.url}/v1/realtime/translations/client_secrets", json=body, timeout=60)
            return answer.status_code == 200

        assert not possible()
        async with running(FakeOllama(reply="hola").app(), port):
            await asyncio.to_thread(until, possible)
            async with translating(server.url) as listener:
                await listener.update("es")
                await listener.speak(spoken("hello"))
                await listener.until("session.output_audio.delta")
                assert listener.text() == "hola"
        async with translating(server.url) as listener:
            await listener.update("es")
            await listener.speak(spoken("hello"))
            assert (await listener.error())["code"] == "llm_unavailable"
            assert not listener.text()


async def test_a_secret_opens_translations_and_nothing_else(tmp_path: Path) -> None:
    keys = f"app:talk:{KEY}"
    async with served(tmp_path, by_table(HELLO), API_KEYS=keys) as server:

        def make() -> Any:
            with OpenAI(base_url=f"{server.url}/v1", api_key=KEY) as client:
                return client.realtime.translations.client_secrets.create(
                    session={"model": "gpt-realtime-translate", "audio": {"output": {"language": "pt-BR"}}},
                    expires_after={"anchor": "created_at", "seconds": 60},
                )

        secret = await asyncio.to_thread(make)
        assert secret.value.startswith("ek_")
        assert secret.session.audio.output.language == "pt"
        for _ in range(2):
            async with translating(server.url, key=secret.value, model="ignored") as listener:
                session = listener.events[0]["session"]
                assert session["audio"]["output"]["language"] == "pt"
                assert session["model"] == "gpt-realtime-translate"
        address = f"ws://127.0.0.1:{server.port}"
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}) as client:
            made = await client.post(f"{server.url}/v1/realtime/client_secrets", json={})
            other = made.json()["value"]
            bodies: list[dict[str, Any]] = [{}, {"session": {}}, {"session": {"model": 3}}]
            for body in (*bodies, {"session": {"model": "x", "voice": "y"}}):
                bad = await client.post(f"{server.url}/v1/realtime/translations/client_secrets", json=body)
                assert bad.status_code == 400, body
        for path, key in (("/v1/realtime", secret.value), ("/v1/realtime/translations", other), ("/ws", secret.value)):
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"{address}{path}", additional_headers={"Authorization": f"Bearer {key}"})
            assert refused.value.response.status_code == 401
        protocols: Any = ["realtime", f"openai-insecure-api-key.{secret.value}"]
        async with connect(f"{address}/v1/realtime/translations", subprotocols=protocols) as browser:
            assert browser.subprotocol == "realtime"


async def test_a_revoked_key_ends_its_translations(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys")
    key = keys.add("app", USE)
    async with (
        served(tmp_path, by_table(HELLO), API_KEYS_FILE=str(tmp_path / "keys")) as server,
        translating(server.url, key=key) as listener,
    ):
        keys.remove("app")
        assert (await listener.error())["code"] == "invalid_api_key"


async def test_translations_take_slots_of_conversations(tmp_path: Path) -> None:
    async with served(tmp_path, by_table(HELLO), MAX_SESSIONS="1") as server, translating(server.url):
        with pytest.raises(InvalidStatus) as refused:
            async with translating(server.url):
                pass
        assert refused.value.response.status_code == 503
        assert b"session_limit_reached" in (refused.value.response.body or b"")


def whisper(folder: Path, **settings: str) -> AbstractContextManager[Service]:
    """Run a service with Whisper tiny.en and eSpeak."""
    own = constants({"pipeline.workers:NICENESS": 0}, by_default=False)
    return serving(folder, **real_whisper(), **settings, **own)


async def spoken_in_parts(listener: Listener, clip: Clip) -> None:
    """Speak in real time and receive at the same time."""

    async def speak() -> None:
        await listener.speak(clip, pace=1.0)
        await listener.send(type="session.close")

    speaking = asyncio.create_task(speak())
    await listener.until("session.closed")
    await speaking


async def test_real_speech_is_translated_clause_by_clause(tmp_path: Path) -> None:
    chat = by_table(JFK)
    async with running(chat.app()) as address:
        settings = {"LLM_ENGINE": "openai", "LLM_OPENAI_URL": f"{address}/v1"}
        async with in_thread(whisper(tmp_path, **settings)) as server, translating(server.url) as listener:
            await listener.update("es", input={"transcription": {"model": "whisper-1"}})
            await spoken_in_parts(listener, jfk())
    assert bare(listener.text("input")) == " ".join(JFK)
    assert listener.text() == " ".join(JFK.values())
    sources = [request["messages"][-1]["content"] for request in chat.requests]
    assert bare(" ".join(sources)) == " ".join(JFK), "each word is translated once"
    assert len(sources) >= 3
    first = next(event for event in listener.events if event["type"] == "session.output_transcript.delta")
    assert first["elapsed_ms"] < 6_000, "the recording has 11 s"
    assert listener.speech.seconds > 3

"""A transcription server with OpenAI's API, on a real socket."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from pipeline import stt
from pipeline.audio.clip import Clip
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.languages import code_of
from pipeline.settings import Settings
from pipeline.stt import FileRequest, Word, openai
from pipeline.support.progress import Progress
from tests.servers.transcription import KEY, TranscriptionServer, serve
from tests.speech import Espeak
from tests.stt.conftest import RATE_HZ, UNSPOKEN, unspoken
from tests.waiting import WAIT_S


def ignore(progress: Progress) -> None:
    pass


@pytest.fixture
async def server() -> AsyncIterator[TranscriptionServer]:
    async with serve() as running:
        yield running


@pytest.fixture(scope="module")
def speech() -> Clip:
    return Clip(np.pad(Espeak().say("what time is it", "en-us+f2"), RATE_HZ // 2), RATE_HZ)


def settings(server: TranscriptionServer, **more: object) -> Settings:
    return Settings(stt_openai_url=server.url, stt_model="large").model_copy(update=more)


async def test_a_transcript_has_text_language_and_words(server: TranscriptionServer, speech: Clip) -> None:
    async with openai.open_engine(settings(server, stt_openai_key=KEY), ignore) as opened:
        assert (opened.model, opened.device) == ("large", f"127.0.0.1:{server.port}")
        heard = await opened.engine.transcribe(speech.at(48_000), language=None, prompt=None, words=True)
        plain = await opened.engine.transcribe(speech, language="en", prompt="before", words=False)
    assert (heard.text, heard.language) == ("Hello there.", "pt")
    assert heard.words == [Word("Hello", 0.5, 0.9, 1.0), Word("there", 0.9, 1.25, 1.0)]
    assert list(plain.words) == []
    first, second = server.requests
    rate_hz, seconds = first.pop("file")
    assert (rate_hz, seconds) == (16_000, pytest.approx(speech.seconds, abs=0.01))
    assert first["model"] == "large"
    assert "language" not in first
    assert (second["language"], second["prompt"]) == ("en", "before")


async def test_a_server_that_has_only_json_is_asked_for_json(server: TranscriptionServer, speech: Clip) -> None:
    server.mode = "json"
    async with openai.open_engine(settings(server), ignore) as opened:
        for _ in range(2):
            heard = await opened.engine.transcribe(speech, language="es", prompt=None, words=False)
            assert (heard.text, heard.language) == ("Hello there.", "es")
    assert [request["response_format"] for request in server.requests] == ["verbose_json", "json", "json"]


@pytest.mark.parametrize("name", UNSPOKEN)
async def test_silence_is_not_sent(server: TranscriptionServer, name: str) -> None:
    async with openai.open_engine(settings(server), ignore) as opened:
        heard = await opened.engine.transcribe(unspoken(name), language=None, prompt=None, words=False)
    assert (heard.text, heard.language) == ("", None)
    assert not server.requests


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("error", "HTTP 500"),
        ("absent", "no model large"),
        ("garbage", "not a transcription"),
        ("empty", "not a transcript"),
    ],
)
async def test_errors_are_one_sentence(server: TranscriptionServer, speech: Clip, mode: str, says: str) -> None:
    server.mode = mode
    async with openai.open_engine(settings(server), ignore) as opened:
        with pytest.raises(EngineError, match=says) as raised:
            await opened.engine.transcribe(speech, language=None, prompt=None, words=False)
        assert "secret" not in raised.value.message
        server.mode = "verbose"
        assert (await opened.engine.transcribe(speech, language=None, prompt=None, words=False)).text


async def test_a_silent_server_times_out(
    server: TranscriptionServer, speech: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stt, "TIMEOUT_S", 0.5)
    server.mode = "silent"
    async with openai.open_engine(settings(server), ignore) as opened:
        with pytest.raises(EngineError) as raised:
            await opened.engine.transcribe(speech, language=None, prompt=None, words=False)
        assert raised.value.code == "timeout"
        async with asyncio.timeout(WAIT_S):
            await server.left_early.wait()


async def test_a_cancelled_request_is_dropped(server: TranscriptionServer, speech: Clip) -> None:
    server.mode = "silent"
    async with openai.open_engine(settings(server), ignore) as opened:
        task = asyncio.create_task(opened.engine.transcribe(speech, language=None, prompt=None, words=False))
        async with asyncio.timeout(30):  # half of the server's timeout
            await server.asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.left_early.wait()


async def test_an_unreachable_server_or_a_wrong_key_fails_at_startup(server: TranscriptionServer) -> None:
    await openai.probe(settings(server))
    with pytest.raises(EngineUnavailable, match="refuses the key"):
        await openai.probe(settings(server, stt_openai_key="wrong"))
    with pytest.raises(EngineUnavailable, match="No transcription server") as raised:
        await openai.probe(settings(server, stt_openai_url="http://127.0.0.1:9/v1"))
    assert "STT_OPENAI_URL" in raised.value.remedy


@pytest.mark.parametrize(
    ("said", "code"),
    [("en", "en"), ("English", "en"), ("pt-BR", "pt"), ("haitian creole", "ht"), ("klingon", None), ("", None)],
)
def test_language_names_become_codes(said: str, code: str | None) -> None:
    assert code_of(said) == code


async def test_hints_become_a_prompt_or_the_fields_of_the_model(server: TranscriptionServer, speech: Clip) -> None:
    request = FileRequest(prompt="A talk.", keywords=("Ana", "Bo Li"), languages=("pt", "en"))
    for model in ("large", "gpt-transcribe", "gpt-transcribe-2026-07-28"):
        async with openai.open_engine(settings(server, stt_model=model, hotwords="Parley"), ignore) as opened:
            [_] = [one async for one in opened.engine.segments(speech, request)]
            await opened.engine.transcribe(speech, language="pt", prompt=None, words=False)
    plain, plain_turn, *native = server.requests
    assert (plain["prompt"], plain_turn["prompt"]) == ("Ana, Bo Li, Parley. A talk.", "Parley.")
    assert ("language" in plain, plain_turn["language"]) == (False, "pt")
    assert not {"keywords[]", "languages[]"} & {*plain, *plain_turn}
    for file, turn in (native[:2], native[2:]):
        assert (file["prompt"], file["keywords[]"], file["languages[]"]) == (
            "A talk.", ["Ana", "Bo Li", "Parley"], ["pt", "en"],
        )  # fmt: skip
        assert (turn["keywords[]"], turn["languages[]"], "language" in turn) == ("Parley", "pt", False)

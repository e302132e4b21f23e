"""Home Assistant's own integration and Assist pipeline on Parley: speech in, answer out, streaming, errors, cancel."""

import asyncio
import io
import os
import wave
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from homeassistant.components import assist_pipeline, conversation, stt, tts
from homeassistant.config_entries import SOURCE_USER, SOURCE_ZEROCONF
from homeassistant.core import Context
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import area_registry
from homeassistant.helpers.service_info.zeroconf import ZeroconfServiceInfo
from homeassistant.setup import async_setup_component

from .exchange import Exchange, Home, metadata, microphone, speak
from .service import Parley, parley, recorded, said

TIME = recorded("what_time_is_it")
SPOKEN = ["stt-start", "stt-end", "intent-start", "intent-end", "tts-start", "tts-end", "run-end"]
"""Events of a whole exchange, after its beginning."""
REPEATS = int(os.environ.get("TIMES", "3"))
"""Measured exchanges with each way to hear the end of the command."""


def loudness(audio: bytes) -> int:
    """The largest sample of a WAV file, whose header does not know its length when it is streamed."""
    with wave.open(io.BytesIO(audio)) as file:
        assert (file.getsampwidth(), file.getnchannels()) == (2, 1)
    samples = memoryview(audio[44 : 44 + (len(audio) - 44) // 2 * 2]).cast("h")
    return max(map(abs, samples))


async def test_the_integration_finds_every_program(home: Home) -> None:
    assert home.entity("stt").supported_languages == ["en"], "the only language of the loaded model"
    assert not home.entity("stt").audio_processing.requires_external_vad
    assert home.entity("tts").async_supports_streaming_input()
    assert {voice.voice_id for voice in home.entity("tts").async_get_supported_voices("pt")} >= {"man:pt"}
    assert "en" in home.entity("conversation").supported_languages
    words = await home.entity("wake_word").get_supported_wake_words()
    assert "okay_nabu" in {word.id for word in words}


async def test_speech_gets_a_spoken_answer(home: Home) -> None:
    """Home Assistant detects the end of the command itself for services that cannot."""
    hears = home.entity("stt")
    for number in range(REPEATS + 1):  # the first is not measured: Home Assistant loads its sentences
        for own in (False, True):
            hears._audio_processing = replace(hears.audio_processing, requires_external_vad=own)
            found = await speak(home, TIME)
            assert [kind for kind in found.kinds if kind in SPOKEN] == SPOKEN
            assert "time" in found.heard.lower()
            assert found.reply
            assert loudness(found.audio) > 1000
            if number:
                found.note_times("Home Assistant" if own else "Parley")


async def test_a_wake_word_and_a_command_in_one_breath(home: Home) -> None:
    found = await speak(home, said("Okay Nabu") + TIME, start_stage=assist_pipeline.PipelineStage.WAKE_WORD)
    assert found.data("wake_word-end")["wake_word_output"]["wake_word_id"] == "okay_nabu"
    assert "time" in found.heard.lower()
    assert loudness(found.audio) > 1000


async def test_text_is_spoken_while_it_is_written(home: Home) -> None:
    written = asyncio.Event()
    heard_early = False

    async def text() -> AsyncIterator[str]:
        yield "The heron stands quite still. It waits for a fish. "
        await written.wait()
        yield "Then it moves."

    stream = tts.async_create_stream(home.hass, "tts.parley", "en", {tts.ATTR_VOICE: "woman"})
    stream.async_set_message_stream(text())
    audio = b""
    async with asyncio.timeout(60):
        async for data in stream.async_stream_result():
            audio += data
            if len(audio) > 20_000 and not written.is_set():
                heard_early = True
                written.set()
    assert heard_early
    assert len(audio) > 40_000


async def test_a_conversation_remembers_its_turns(home: Home) -> None:
    async def ask(text: str, name: str) -> str:
        result = await conversation.async_converse(
            home.hass, text, name, Context(), language="en", agent_id="conversation.parley"
        )
        return str(result.response.speech["plain"]["speech"])

    await ask("my name is Ada", "one")
    assert "Ada" in await ask("what is my name", "one")
    assert "Ada" not in await ask("what is my name", "two")


async def test_silence_ends_without_words(home: Home) -> None:
    found = await speak(home, b"")
    assert found.data("error")["code"] == "stt-no-text-recognized"
    assert found.kinds[-1] == "run-end"


async def test_errors_of_the_service_are_errors_of_home_assistant(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    async with asyncio.timeout(60):
        result = await home.entity("stt").async_process_audio_stream(metadata("??"), microphone(TIME, Exchange()))
        assert result.result is stt.SpeechResultState.ERROR
        assert "unsupported_language" in caplog.text
        with pytest.raises(HomeAssistantError, match="unknown_voice"):
            await home.entity("tts").async_get_tts_audio("Good morning.", "en", {tts.ATTR_VOICE: "no-such-voice"})
        answer = await conversation.async_converse(
            home.hass, "a" * 5000, None, Context(), language="en", agent_id="conversation.parley"
        )
        assert answer.response.error_code is not None
    assert "time" in (await speak(home, TIME)).heard.lower(), "the next exchange is as usual"


@pytest.mark.parametrize("seconds", [0.8, 1.9, 2.6], ids=["while speaking", "at the end of speech", "in the answer"])
async def test_a_cancelled_exchange_leaves_nothing_behind(home: Home, service: Parley, seconds: float) -> None:
    for _ in range(3):
        running = asyncio.create_task(speak(home, TIME))
        await asyncio.sleep(seconds)
        running.cancel()
        await asyncio.wait([running])
    found = await speak(home, TIME)
    assert "time" in found.heard.lower()
    assert loudness(found.audio) > 1000
    assert "Traceback" not in service.text


async def test_a_service_that_goes_away_is_an_error(home: Home) -> None:
    with parley() as other:
        home.entity("stt").service.port = other.port
        async with asyncio.timeout(60):
            hearing = asyncio.create_task(
                home.entity("stt").async_process_audio_stream(metadata(), microphone(TIME * 20, Exchange()))
            )
            await asyncio.sleep(1)
    assert (await hearing).result is stt.SpeechResultState.ERROR


async def test_the_service_can_be_added_by_hand_and_by_discovery(home: Home, service: Parley) -> None:
    flows = home.hass.config_entries.flow
    shown = await flows.async_init("wyoming", context={"source": SOURCE_USER})
    added = await flows.async_configure(shown["flow_id"], {"host": "127.0.0.1", "port": service.port})
    assert added["title"] == "parley"
    here = ip_address("127.0.0.1")
    found = ZeroconfServiceInfo(
        ip_address=here, ip_addresses=[here], port=service.port, hostname="here.local.",
        type="_wyoming._tcp.local.", name="Parley on here._wyoming._tcp.local.", properties={},
    )  # fmt: skip
    shown = await flows.async_init("wyoming", context={"source": SOURCE_ZEROCONF}, data=found)
    assert shown["reason"] == "already_configured", "it is the service that was added by hand"


async def test_the_recogniser_expects_the_names_of_the_home(
    home: Home, hass_client: Any, hass_access_token: str
) -> None:
    """Real names of areas and entities, by Home Assistant's real HTTP interface."""
    assert await async_setup_component(home.hass, "api", {})
    area_registry.async_get(home.hass).async_create("Wintergarten")
    home.hass.states.async_set("light.reading_lamp", "off", {"friendly_name": "Reading lamp"})
    home.hass.states.async_set("sensor.power", "7", {"friendly_name": "Power"})
    server = (await hass_client()).server

    def names_read() -> None:
        with parley(HASS_URL=f"http://127.0.0.1:{server.port}", HASS_TOKEN=hass_access_token) as other:
            other.wait_for("the recogniser expects 2 names of the home")

    await asyncio.to_thread(names_read)

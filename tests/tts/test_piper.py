"""A real Piper voice, heard by Whisper."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.clip import Clip
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.settings import Settings
from pipeline.tts import piper
from pipeline.tts.piper import PiperSpeech
from pipeline.voices.catalogue import Voice
from tests.real_models import real_model
from tests.tts.hearing import heard

JOE = real_model("piper-joe")
real_model("whisper-tiny.en")

ANY = Voice("any")


@pytest.fixture(scope="module")
async def speech() -> AsyncIterator[PiperSpeech]:
    settings = Settings(tts_engine="piper", tts_model=str(JOE))
    await piper.probe(settings)
    async with piper.open_engine(settings, lambda progress: None) as opened:
        assert (opened.model, list(opened.languages)) == ("en_US-joe-medium", ["en"])
        yield opened.engine


async def said(speech: PiperSpeech, text: str, voice: Voice = ANY, language: str | None = "en") -> Clip:
    clips = [clip async for clip in speech.speak(text, voice=voice, language=language)]
    assert {clip.rate_hz for clip in clips} <= {22_050}
    return Clip.join(clips, 22_050)


@pytest.mark.asyncio(loop_scope="module")
async def test_whisper_hears_the_words(speech: PiperSpeech) -> None:
    clip = await said(speech, "The quick brown fox jumps over the lazy dog.")
    # Piper's noise differs each time, and Whisper sometimes leaves out the first word.
    assert heard(clip).removeprefix("the ") == "quick brown fox jumps over the lazy dog"
    loud = np.flatnonzero(np.abs(clip.samples) > 0.01)
    assert loud[0] < 0.02 * clip.rate_hz
    assert len(clip.samples) - loud[-1] < 0.26 * clip.rate_hz


@pytest.mark.asyncio(loop_scope="module")
async def test_long_and_empty_texts(speech: PiperSpeech) -> None:
    long = [clip async for clip in speech.speak("One, two, three, four, five. " * 16, voice=ANY, language="en")]
    assert len(long) > 1
    assert sum(clip.seconds for clip in long) > 16
    for text in ("", "*", "?!", "🎉"):
        assert (await said(speech, text)).seconds == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_a_closed_or_cancelled_stream_leaves_it_usable(speech: PiperSpeech) -> None:
    async with aclosing(speech.speak("word and word, " * 200, voice=ANY, language="en")) as stream:
        await anext(stream)
    task = asyncio.create_task(said(speech, "word and word, " * 200))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    assert (await said(speech, "Next.")).seconds > 0.2


@pytest.mark.asyncio(loop_scope="module")
async def test_wrong_languages_and_speakers_are_refused(speech: PiperSpeech) -> None:
    assert speech.speaks("en-gb")
    assert not speech.speaks("pt")
    with pytest.raises(EngineError, match="speaks 'en', not 'pt'") as raised:
        await said(speech, "Bom dia.", language="pt")
    assert raised.value.code == "unsupported_language"
    with pytest.raises(EngineError, match="speaker of 0 to 0"):
        await said(speech, "Hello.", Voice("second", engines={"piper": {"speaker": 1}}))


async def test_a_folder_without_a_voice_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="No Piper voice is set"):
        await piper.probe(Settings())
    settings = Settings(tts_model=str(tmp_path))
    with pytest.raises(EngineUnavailable, match="0 ONNX files"):
        await piper.probe(settings)
    (tmp_path / "voice.onnx").write_bytes(b"nothing")
    for text in ("", "[]", "{}", json.dumps({"phoneme_type": "text"})):
        (tmp_path / "voice.onnx.json").write_text(text)
        with pytest.raises(EngineUnavailable, match="does not describe a Piper voice"):
            await piper.probe(settings)

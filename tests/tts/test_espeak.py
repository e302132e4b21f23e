"""The installed eSpeak NG in its worker: duration, loudness, latency, and hostile text."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.clip import Clip
from pipeline.errors import EngineError
from pipeline.settings import HOME, Settings
from pipeline.tts import espeak
from pipeline.tts.espeak import EspeakSpeech, espeak_voice
from pipeline.voices.catalogue import Voice, Voices

TEXTS = {
    "en": "The quick brown fox jumps over the lazy dog.",
    "pt": "Não há bem que sempre dure, nem mal que nunca acabe.",
    "es": "No hay mal que por bien no venga, dice el refrán.",
}
VOICES = Voices(HOME / "voices", HOME / "audios")
BARE = Voice("dropped", clips=(Path("dropped.wav"),))


@pytest.fixture(scope="module", params=["process", "thread"])
async def speech(request: pytest.FixtureRequest) -> AsyncIterator[EspeakSpeech]:
    settings = Settings(model_host="local" if request.param == "process" else "thread")
    await espeak.probe(settings)
    async with espeak.open_engine(settings, lambda progress: None) as opened:
        assert opened.model.startswith("eSpeak NG 1.")
        yield opened.engine


async def said(speech: EspeakSpeech, text: str, voice: Voice = BARE, language: str | None = "en") -> Clip:
    clips = [clip async for clip in speech.speak(text, voice=voice, language=language)]
    assert {clip.rate_hz for clip in clips} <= {22_050}
    assert all(clip.samples.dtype == np.float32 and clip.samples.ndim == 1 for clip in clips)
    return Clip.join(clips, 22_050)


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples**2)))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ["man", "woman"])
@pytest.mark.parametrize("language", ["en", "pt", "es"])
async def test_shipped_voices_speak_their_languages(speech: EspeakSpeech, name: str, language: str) -> None:
    clip = await said(speech, TEXTS[language], VOICES.get(name), language)
    assert 2.0 < clip.seconds < 5.0
    assert 0.03 < rms(clip.samples) < 0.3
    assert np.abs(clip.samples).max() < 0.99


@pytest.mark.asyncio(loop_scope="module")
async def test_the_voices_differ(speech: EspeakSpeech) -> None:
    """A man's voice is lower: the strongest period of the sound is longer."""

    def pitch(clip: Clip) -> float:
        spectrum = np.abs(np.fft.rfft(clip.samples, 2 * len(clip.samples))) ** 2
        alike = np.fft.irfft(spectrum)  # the autocorrelation
        shortest, longest = clip.rate_hz // 350, clip.rate_hz // 70
        return clip.rate_hz / (shortest + int(np.argmax(alike[shortest:longest])))

    man = await said(speech, "Ah, la la la la la.", VOICES.get("man"))
    woman = await said(speech, "Ah, la la la la la.", VOICES.get("woman"))
    assert pitch(man) < pitch(woman)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("language", ["de", "fr", "ru", "zh", "ja", "ar", "hi", "no", "pt-PT", "en_GB", "fr-FR"])
async def test_any_voice_speaks_any_language(speech: EspeakSpeech, language: str) -> None:
    for voice in (BARE, VOICES.get("woman")):
        assert (await said(speech, "1 2 3", voice, language)).seconds > 0.5


@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_language_is_an_error(speech: EspeakSpeech) -> None:
    with pytest.raises(EngineError) as raised:
        await said(speech, "hello", BARE, "xx")
    assert raised.value.code == "unsupported_language"
    for code in ("fr-fr", "en-gb", "pt-pt+f2", "es-mx"):  # not names of voices
        assert (await said(speech, "1 2 3", Voice("coded", engines={"espeak": {"en": code}}))).seconds > 0.5
    with pytest.raises(EngineError, match="no voice"):
        await said(speech, "hello", Voice("odd", engines={"espeak": {"en": "no-such-voice\n"}}))
    for wrong in ({"speed": "fast"}, {"speed": 10_000}, {"pitch": -1}):
        with pytest.raises(EngineError, match="speed of 80 to 450"):
            await said(speech, "hello", Voice("odd", engines={"espeak": wrong}))
    slow = await said(speech, TEXTS["en"], Voice("slow", engines={"espeak": {"speed": 90}}))
    assert slow.seconds > 1.4 * (await said(speech, TEXTS["en"])).seconds


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("text", ["", " \n\t", "*", "…", "?!", "🎉🎉🎉", "\0\0", "\x01", "\ud800", "--- ***", "€"])
async def test_text_without_words_makes_no_sound(speech: EspeakSpeech, text: str) -> None:
    assert [clip async for clip in speech.speak(text, voice=BARE, language="en")] == []


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "text",
    [
        "<speak><break time='60s'/>hello <audio src='file:///etc/passwd'/></speak>",
        "hello \0 there \x01+90P and \x1b[31m more",
        "[[h@'loU]] hello",
        "hello \ud800\udfff there",
        "hello 🎉 there ‮ backwards ‌ joiner",
        "%s%n{0}$(date)`ls` hello",
    ],
)
async def test_hostile_text_is_treated_as_text(speech: EspeakSpeech, text: str) -> None:
    clip = await said(speech, text)
    assert 0.3 < clip.seconds < 20
    assert rms(clip.samples) > 0.02


@pytest.mark.asyncio(loop_scope="module")
async def test_text_is_cut_at_ten_thousand_characters(speech: EspeakSpeech) -> None:
    long = (await said(speech, "a" * 10_000)).seconds
    assert long > 10
    whole = (await said(speech, "word " * 2_000)).seconds
    half = (await said(speech, "word " * 1_000)).seconds
    assert whole == pytest.approx(half, rel=0.02)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_silence_around_is_short_and_no_word_is_cut(speech: EspeakSpeech) -> None:
    for text, most_s in (("It stops.", 0.26), ("It stops", 0.13), ("It stops,", 0.13), ("“It stops!”", 0.26)):
        samples = (await said(speech, text)).samples
        audible = np.flatnonzero(np.abs(samples) > 0.002)
        assert audible[0] / 22_050 < 0.02
        assert 0.05 < (len(samples) - audible[-1]) / 22_050 < most_s


@pytest.mark.asyncio(loop_scope="module")
async def test_concurrent_requests_do_not_mix(speech: EspeakSpeech) -> None:
    texts = ["one", "one two three four five six", TEXTS["en"], TEXTS["en"] + " " + TEXTS["en"]] * 2
    alone = [(await said(speech, text)).seconds for text in texts]
    together = [clip.seconds for clip in await asyncio.gather(*(said(speech, text) for text in texts))]
    assert together == pytest.approx(alone, rel=0.05)
    assert all(longer > 1.5 * shorter for shorter, longer in itertools.pairwise(alone[:4]))


@pytest.mark.asyncio(loop_scope="module")
async def test_a_closed_stream_stops_and_the_next_starts_at_once(speech: EspeakSpeech) -> None:
    text, begun = "word " * 990, time.monotonic()
    await said(speech, text)
    whole_s = time.monotonic() - begun
    async with aclosing(speech.speak(text, voice=BARE, language="en")) as stream:
        first = await anext(stream)
        assert first.seconds < 0.1
        begun = time.monotonic()
    assert 0.2 < (await said(speech, "next")).seconds < 2.0
    assert time.monotonic() - begun < whole_s / 2


@pytest.mark.asyncio(loop_scope="module")
async def test_a_cancelled_task_leaves_the_engine_usable(speech: EspeakSpeech) -> None:
    for _ in range(5):
        task = asyncio.create_task(said(speech, "word " * 990))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])
    assert 0.2 < (await said(speech, "next")).seconds < 2.0


@pytest.mark.asyncio(loop_scope="module")
async def test_espeak_lists_its_languages(speech: EspeakSpeech) -> None:
    for language in ("en", "en-gb", "pt-br", "zh", "zh-cn", "zh-tw", "fr-ca", "nn", "ru", "ar-eg"):
        assert speech.speaks(language), language
        assert (await said(speech, "1 2 3", BARE, language)).seconds > 0.5
    for language in ("xx", "", "tlh", "x-y"):
        assert not speech.speaks(language)


def test_each_language_has_its_espeak_voice() -> None:
    codes = {"en": "en", "en-us": "en-US", "en-gb": "en", "pt": "pt", "pt-br": "pt-BR", "pt-pt": "pt", "fr": "fr"}
    man = Voice("man", languages=("pt",), engines={"espeak": {"pt": "pt-br+m7", "variant": "m7"}})
    assert espeak_voice(man, None, codes) == "pt-br+m7"
    assert espeak_voice(man, "pt", codes) == "pt-br+m7"
    assert espeak_voice(man, "pt_PT", codes) == "pt+m7"
    assert espeak_voice(man, "en", codes) == "en-US+m7"
    assert espeak_voice(BARE, None, codes) == "en-US+m3"
    assert espeak_voice(BARE, "pt", codes) == "pt-BR+m3"
    assert espeak_voice(BARE, "fr-CA", codes) == "fr+m3"

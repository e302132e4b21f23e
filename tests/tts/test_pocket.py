"""pocket-tts through its real code on a small random model. Its speech is noise."""

import asyncio
import importlib.util
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.audio.clip import Clip
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.settings import HOME, Settings
from pipeline.tts import pocket
from pipeline.tts.pocket import PocketSpeech
from pipeline.tts.pocket_config import MODELS, PocketConfig
from pipeline.voices.catalogue import Voice, Voices

if importlib.util.find_spec("pocket_tts") is None:
    pytest.skip("pocket-tts is not installed (make run EXTRAS=pocket)", allow_module_level=True)

from tests.builders.pocket import build_pocket

SAMPLES = HOME / "audios" / "samples"
CLONED = Voice("cloned", clips=(SAMPLES / "hello.wav",))
SHORT_S = 8.0
"""A random model speaks until the library's limit for the length of the text."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_pocket(tmp_path_factory.mktemp("pocket"))


@pytest.fixture(scope="module")
async def speech(model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PocketSpeech]:
    settings = Settings(tts_model=str(model), models_dir=tmp_path_factory.mktemp("models"))
    await pocket.probe(settings)
    async with pocket.open_engine(settings, lambda progress: None) as opened:
        assert (opened.model, opened.device) == ("pocket-tts pocket", "cpu")
        yield opened.engine


async def said(speech: PocketSpeech, text: str, voice: Voice = CLONED, language: str | None = "en") -> Clip:
    clips = [clip async for clip in speech.speak(text, voice=voice, language=language)]
    assert {clip.rate_hz for clip in clips} <= {24_000}
    assert all(clip.samples.dtype == np.float32 and clip.samples.ndim == 1 for clip in clips)
    return Clip.join(clips, 24_000)


@pytest.mark.asyncio(loop_scope="module")
async def test_cloned_voices_speak(speech: PocketSpeech) -> None:
    short = await said(speech, "Hello.")
    assert 1.0 < short.seconds < SHORT_S
    assert np.abs(short.samples).max() > 0.01
    both = Voice("both", clips=(SAMPLES / "hello.wav", SAMPLES / "tell_me_a_story.wav"))
    assert (await said(speech, "Hello.", both, "pt")).seconds == pytest.approx(short.seconds, rel=0.2)


@pytest.mark.asyncio(loop_scope="module")
async def test_text_without_words_makes_no_sound(speech: PocketSpeech) -> None:
    for text in ("", "*", "?!", "🎉", "…", "\0"):
        assert (await said(speech, text)).seconds == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_errors_are_reported_and_the_engine_survives(speech: PocketSpeech, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF nothing")
    for voice, message in [
        (Voice("broken", clips=(broken,)), "cannot be used"),
        (Voice("gone", clips=(tmp_path / "gone.wav",)), "could not be read"),
        (
            Voices(HOME / "voices", HOME / "audios").get("man"),
            "does not have this voice",
        ),  # not a language of our own models
    ]:
        with pytest.raises(EngineError, match=message):
            await said(speech, "Hello.", voice)
    assert (await said(speech, "Hello.")).seconds > 1.0


@pytest.mark.asyncio(loop_scope="module")
async def test_a_closed_stream_stops_soon(speech: PocketSpeech) -> None:
    async with aclosing(speech.speak("Word and word, " * 200, voice=CLONED, language="en")) as stream:
        await anext(stream)
        closing = time.monotonic()
    assert time.monotonic() - closing < 2
    await speech._worker.call("describe")
    assert time.monotonic() - closing < 15


async def test_two_replicas_and_many_streams_do_not_mix(model: Path, tmp_path: Path) -> None:
    """Streams are compared by their lengths: each process has its own random weights, so the sound does not identify
    the voice.
    """
    texts = ["Hello.", "Hello there, my friend."]
    settings = Settings(tts_model=str(model), models_dir=tmp_path, tts_replicas=2)
    async with pocket.open_engine(settings, lambda progress: None) as opened:
        alone = [(await said(opened.engine, text)).seconds for text in texts]
        assert alone[0] < 0.9 * alone[1]
        clips = await asyncio.gather(*(said(opened.engine, texts[number % 2]) for number in range(4)))
        assert [clip.seconds for clip in clips] == pytest.approx(alone * 2, rel=0.05)


def test_voices_are_cached_in_memory_and_int8_works(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.tts.pocket_engine import VOICES_KEPT, Pocket

    engine = Pocket(PocketConfig(str(model), "en", str(tmp_path), int8=True))
    assert engine.describe()["int8"]
    loaded: Any = next(iter(engine._models.values()))
    listened: list[int] = []
    listen = loaded.get_state_for_audio_prompt

    def counting(prompt: Any) -> Any:
        listened.append(1)
        return listen(prompt)

    monkeypatch.setattr(loaded, "get_state_for_audio_prompt", counting)
    voice = tmp_path / "voice.wav"
    for path in (SAMPLES / "hello.wav", SAMPLES / "tell_me_a_story.wav"):
        voice.write_bytes(path.read_bytes())
        for _ in range(2):
            assert sum(clip.seconds for clip in engine.speak("Hello.", "en", "", (str(voice),))) > 1.0
    assert len(listened) == 2
    assert len(engine._voices) == 2 <= VOICES_KEPT

    # More words without punctuation than the model accepts at once are sent in chunks.
    given: list[str] = []

    def note(state: object, text: str, stop: object) -> Iterator[object]:
        given.append(text)
        return iter(())

    monkeypatch.setattr(loaded, "generate_audio_stream", note)
    list(engine.speak("hello there " * 40, "en", "", (str(voice),)))
    assert len(given) == 3
    assert " ".join(given).split() == ["hello", "there"] * 40


def test_a_voice_missing_in_a_language_is_replaced_by_the_default() -> None:
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    from pipeline.tts.pocket_engine import _of_catalogue

    class Catalogue:
        def __init__(self, error: type[Exception]) -> None:
            self.error = error

        def get_state_for_audio_prompt(self, name: str) -> str:
            if name != "lola":
                raise self.error("none")
            return name

    assert _of_catalogue(Catalogue(EntryNotFoundError), "es", "michael") == "lola"
    assert _of_catalogue(Catalogue(EntryNotFoundError), "es", "") == "lola"
    with pytest.raises(EntryNotFoundError):
        _of_catalogue(Catalogue(EntryNotFoundError), "pt", "")
    with pytest.raises(EngineError, match="cannot be reached"):
        _of_catalogue(Catalogue(LocalEntryNotFoundError), "es", "michael")


def test_a_broken_model_is_reported(tmp_path: Path) -> None:
    from pipeline.tts.pocket_engine import Pocket

    broken = tmp_path / "broken.yaml"
    broken.write_text("nothing: [")
    with pytest.raises(EngineError, match="could not load"):
        Pocket(PocketConfig(str(broken), "en", str(tmp_path)))


async def test_an_unknown_language_is_refused(speech: PocketSpeech) -> None:
    own = PocketSpeech(speech._worker, "en", 5.0, languages=["en", "fr"])
    with pytest.raises(EngineError) as raised:
        await anext(own.speak("hello", voice=CLONED, language="ja"))
    assert raised.value.code == "unsupported_language"


async def test_probe_reports_missing_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(EngineUnavailable, match="TTS_MODEL"):
        await pocket.probe(Settings(tts_model=str(tmp_path / "none.yaml")))
    with pytest.raises(EngineUnavailable, match="does not respond"):
        await pocket.probe(Settings(models_dir=tmp_path, hf_endpoint="http://127.0.0.1:9"))
    with pytest.raises(EngineUnavailable, match="does not respond"):
        await pocket.probe(Settings(models_dir=tmp_path, hf_hub_offline=True))
    # Weights from an earlier download are enough.
    spec = importlib.util.find_spec("pocket_tts")
    assert spec is not None
    assert spec.origin is not None
    text = (Path(spec.origin).parent / "config" / f"{MODELS['en']}.yaml").read_text()
    repository, file, revision = pocket.WEIGHTS.findall(text)[-1]
    snapshot = tmp_path / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / revision
    (snapshot / file).parent.mkdir(parents=True)
    (snapshot / file).write_bytes(b"weights")
    await pocket.probe(Settings(models_dir=tmp_path, hf_hub_offline=True))
    assert pocket._available(Settings(models_dir=tmp_path, hf_hub_offline=True)) == ["en"]
    assert pocket._available(Settings(models_dir=tmp_path)) == list(MODELS)


def test_every_shipped_model_is_available() -> None:
    spec = importlib.util.find_spec("pocket_tts")
    assert spec is not None
    assert spec.origin is not None
    for name in MODELS.values():
        text = (Path(spec.origin).parent / "config" / f"{name}.yaml").read_text()
        assert len(pocket.WEIGHTS.findall(text)) == 2


def test_shipped_voices_are_in_the_catalogue() -> None:
    from pocket_tts.utils.utils import _ORIGINS_OF_PREDEFINED_VOICES

    voices = Voices(HOME / "voices", HOME / "audios")
    for name in ("man", "woman"):
        assert set(voices.get(name).engines["pocket"].values()) <= set(_ORIGINS_OF_PREDEFINED_VOICES)

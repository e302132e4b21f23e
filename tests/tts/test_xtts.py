"""XTTS through its real code on a micro model: voices, caches, limits, streams. Its speech is noise."""

import asyncio
import importlib.util
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.audio.clip import Clip
from pipeline.errors import EngineError, EngineUnavailable
from pipeline.settings import HOME, Settings
from pipeline.support.progress import Progress
from pipeline.tts import xtts, xtts_weights
from pipeline.tts.xtts import XttsSpeech, xtts_language
from pipeline.tts.xtts_config import XttsConfig
from pipeline.voices.catalogue import Voice, Voices

if importlib.util.find_spec("TTS") is None:
    pytest.skip("coqui-tts is not installed (make run EXTRAS=xtts)", allow_module_level=True)

from tests.builders.xtts import LANGUAGES, build_xtts
from tests.servers.hub import serve
from tests.tts.timbre import distance, timbre

VOICES = Voices(HOME / "voices", HOME / "audios")
RECORDINGS = tuple(HOME / "audios" / "samples" / f"{name}.wav" for name in ("hello", "tell_me_a_story"))
CLONED = Voice("cloned", clips=RECORDINGS[:1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_xtts(tmp_path_factory.mktemp("xtts"))


@pytest.fixture(scope="module")
def settings(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of two replicas, in threads: another process would import PyTorch again, which takes seconds."""
    models = tmp_path_factory.mktemp("models")
    return Settings(tts_model=str(folder), models_dir=models, tts_device="cpu", tts_replicas=2, model_host="thread")


@pytest.fixture(scope="module")
async def speech(settings: Settings) -> AsyncIterator[XttsSpeech]:
    await xtts.probe(settings)
    async with xtts.open_engine(settings, lambda progress: None) as opened:
        assert (opened.model, opened.device) == ("XTTS v2", "cpu")
        yield opened.engine


@pytest.fixture(scope="module")
def config(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> XttsConfig:
    return XttsConfig(str(folder), str(tmp_path_factory.mktemp("latents")), device="cpu")


@pytest.fixture(scope="module")
def engine(config: XttsConfig) -> Any:
    from pipeline.tts.xtts_engine import Xtts

    return Xtts(config)


async def said(speech: XttsSpeech, text: str, voice: Voice = CLONED, language: str | None = "en") -> Clip:
    clips = [clip async for clip in speech.speak(text, voice=voice, language=language)]
    assert {clip.rate_hz for clip in clips} <= {24_000}
    assert all(clip.samples.dtype == np.float32 and np.isfinite(clip.samples).all() for clip in clips)
    return Clip.join(clips, 24_000)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("name", "language"), [("man", "en"), ("woman", "pt-BR"), ("woman", None)])
async def test_shipped_voices_speak(speech: XttsSpeech, name: str, language: str | None) -> None:
    clip = await said(speech, "Hello there.", VOICES.get(name), language)
    assert 1.0 < clip.seconds < 2.5
    assert np.abs(clip.samples).max() > 0.01


@pytest.mark.asyncio(loop_scope="module")
async def test_cloned_voices_speak_and_their_latents_are_cached(speech: XttsSpeech, settings: Settings) -> None:
    one = await said(speech, "Hello.", CLONED)
    both = await said(speech, "Hello.", Voice("both", clips=RECORDINGS))
    assert min(one.seconds, both.seconds) > 1.0
    assert len(list((settings.models_dir / "latents").glob("*.npz"))) == 2
    assert not [path for path in (settings.models_dir / "latents").iterdir() if path.suffix != ".npz"]


@pytest.mark.asyncio(loop_scope="module")
async def test_text_without_words_makes_no_sound(speech: XttsSpeech) -> None:
    for text in ("", "*", "?!", "🎉", "…", "\0"):
        assert (await said(speech, text)).seconds == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_errors_are_reported_and_the_engine_survives(speech: XttsSpeech, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF nothing")
    short = tmp_path / "short.wav"
    short.write_bytes(RECORDINGS[0].read_bytes()[: 44 + 3_200])  # 0.1 s
    for voice, language, message in [
        (CLONED, "xx", "does not speak 'xx'"),
        (Voice("odd", engines={"xtts": {"speaker": "Absent"}}), "en", "no speaker 'Absent'"),
        (Voice("broken", clips=(broken,)), "en", "cannot be used"),
        (Voice("gone", clips=(tmp_path / "gone.wav",)), "en", "could not be read"),
        (Voice("short", clips=(short,)), "en", "voice"),
    ]:
        with pytest.raises(EngineError, match=message):
            await said(speech, "Hello.", voice, language)
    assert (await said(speech, "Hello.")).seconds > 0.1


@pytest.mark.asyncio(loop_scope="module")
async def test_a_closed_stream_stops_soon(speech: XttsSpeech) -> None:
    text = "This is a sentence that goes on for some time before it ends. " * 40
    started = time.monotonic()
    async with aclosing(speech.speak(text, voice=CLONED, language="en")) as stream:
        await anext(stream)
        first_s = time.monotonic() - started
        closing = time.monotonic()
    assert time.monotonic() - closing < 2
    await asyncio.gather(*(speech._worker.call("describe") for _ in range(2)))  # one waits for the same replica
    # Alone, the rest would take many times as long as the first sound.
    assert time.monotonic() - closing < 5 + 4 * first_s


def test_latents_are_cached_and_repaired(engine: Any, config: XttsConfig) -> None:
    from pipeline.tts.xtts_engine import Xtts

    clips = tuple(map(str, RECORDINGS[:1]))
    first = engine._voices.of_clips(clips)
    assert engine._voices.computed == 1
    assert engine._voices.of_clips(clips) is first

    again = Xtts(config)
    found = again._voices.of_clips(clips)
    assert again._voices.computed == 0
    assert np.array_equal(found.conditioning, first.conditioning)
    assert np.array_equal(found.speaker, first.speaker)

    (kept,) = Path(config.latents_dir).glob("*.npz")
    whole = kept.read_bytes()
    for damaged in (b"", b"garbage", whole[: len(whole) // 2], whole[:100] + b"\xff" * 400 + whole[500:]):
        kept.write_bytes(damaged)
        again._voices._known.clear()
        before = again._voices.computed
        analysed = again._voices.of_clips(clips)
        assert again._voices.computed == before + 1
        assert np.allclose(analysed.conditioning, first.conditioning, atol=1e-5)
        assert len(kept.read_bytes()) == len(whole)


def test_another_recording_or_model_is_another_voice(engine: Any, folder: Path, tmp_path: Path) -> None:
    from pipeline.tts.xtts_voice import VoiceLatents, model_key

    copy = tmp_path / "voice.wav"
    copy.write_bytes(RECORDINGS[0].read_bytes())
    voices = VoiceLatents(engine._model, model_key(folder), tmp_path / "latents")
    one = voices.of_clips((str(copy),))
    copy.write_bytes(RECORDINGS[1].read_bytes())
    two = voices.of_clips((str(copy),))
    assert voices.computed == 2
    assert not np.allclose(one.speaker, two.speaker)
    VoiceLatents(engine._model, "another model", tmp_path / "latents").of_clips((str(copy),))
    assert len(list((tmp_path / "latents").iterdir())) == 3


def test_a_read_only_disk_costs_only_time(engine: Any, tmp_path: Path) -> None:
    from pipeline.tts.xtts_voice import VoiceLatents

    (tmp_path / "file").write_text("in the way")
    voices = VoiceLatents(engine._model, "key", tmp_path / "file" / "latents")
    assert voices.of_clips((str(RECORDINGS[0]),)).speaker.shape == (1, 512, 1)


@pytest.mark.parametrize(("language", "limit"), [("en", 250), ("pt", 203)])
def test_no_chunk_of_text_is_over_the_limit(
    engine: Any, language: str, limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    text = "Este é um texto bem longo, com vírgulas e palavras; e segue sem parar " * 12
    with caplog.at_level(logging.WARNING):
        pieces = engine._pieces(text, language)
        digits = engine._pieces("9876543210 " * 20, language)  # few characters, many tokens
    assert len(pieces) > 3
    assert all(len(piece) <= limit for _, piece in pieces)
    most = engine._model.args.gpt_max_text_tokens
    assert all(len(tokens) < most - 1 for tokens, _ in pieces + digits)
    assert " ".join(piece for _, piece in pieces).rstrip(".").split() == text.split()
    assert not [record for record in caplog.records if "character limit" in record.getMessage()]


def test_the_windowed_vocoder_equals_a_full_decode(engine: Any) -> None:
    import torch

    from pipeline.tts.xtts_stream import WindowedVocoder

    torch.manual_seed(0)
    decoder = engine._model.hifigan_decoder
    speaker = torch.randn(1, 512, 1)
    for total in (1, 20):
        latents = list(torch.randn(total, 1, 64))
        with torch.inference_mode():
            full = decoder(torch.cat(latents, 0)[None], g=speaker).flatten().numpy()
        vocoder = WindowedVocoder(decoder, speaker)
        parts = [vocoder.push(latents[at : at + 9]) for at in range(0, total, 9)]
        windowed = np.concatenate([*parts, vocoder.finish()])
        assert len(windowed) == len(full)
        assert np.abs(windowed - full).max() < 1e-5 * np.abs(full).max() + 1e-6
    assert sum(len(part) > 0 for part in parts) > 2
    assert len(WindowedVocoder(decoder, speaker).finish()) == 0


def test_an_int8_model_speaks(config: XttsConfig) -> None:
    from pipeline.tts.xtts_engine import Xtts

    engine = Xtts(replace(config, precision="int8"))
    assert engine.describe()["int8"]
    clips = [clip for clip in engine.speak("Hello.", "en", "Ana Florence", ()) if clip is not None]
    assert sum(clip.seconds for clip in clips) > 0.1


def test_a_half_precision_model_speaks(config: XttsConfig) -> None:
    """Test the code for GPUs on a CPU, where it is not faster. Conditioning and sampling use full precision."""
    from pipeline.tts.xtts_engine import Xtts

    half = Xtts(replace(config, precision="bfloat16"))
    assert {str(weight.dtype) for weight in half._model.gpt.gpt.parameters()} == {"torch.bfloat16"}
    clips = tuple(map(str, RECORDINGS[:1]))
    sound = [clip for clip in half.speak("Hello there.", "en", "Ana Florence", clips) if clip is not None]
    whole = Clip.join(sound, half.rate_hz)
    assert 1.0 < whole.seconds < 2.5
    assert np.isfinite(whole.samples).all()
    assert np.abs(whole.samples).max() > 0.01


@pytest.mark.asyncio(loop_scope="module")
async def test_two_replicas_and_many_streams_do_not_mix(speech: XttsSpeech) -> None:
    """Each stream has the timbre of its own voice, without the sound of concurrent streams."""
    voices = [VOICES.get("man"), CLONED]
    alone = [timbre(await said(speech, "Hello there.", voice)) for voice in voices]
    apart = distance(*alone)
    clips = await asyncio.gather(*(said(speech, "Hello there.", voices[n % 2]) for n in range(3)))
    for number, clip in enumerate(clips):
        assert 1.0 < clip.seconds < 2.5
        distances = [distance(timbre(clip), own) for own in alone]
        assert min(distances) == distances[number % 2], (number, distances)
        assert distances[number % 2] < apart / 2


def test_a_broken_model_is_reported(config: XttsConfig, tmp_path: Path) -> None:
    from pipeline.tts.xtts_engine import Xtts

    for name in ("config.json", "vocab.json", "model.pth"):
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(EngineError, match="could not be loaded"):
        Xtts(replace(config, folder=str(tmp_path)))


async def test_probe_reports_missing_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(xtts_weights.AGREED, raising=False)
    with pytest.raises(EngineUnavailable, match=r"lacks config\.json"):
        await xtts.probe(Settings(tts_model=str(tmp_path)))
    with pytest.raises(EngineUnavailable, match="licence") as raised:
        await xtts.probe(Settings(models_dir=tmp_path))
    assert "COQUI_TOS_AGREED" in raised.value.remedy
    monkeypatch.setenv(xtts_weights.AGREED, "1")
    async with asyncio.timeout(20):
        with pytest.raises(EngineUnavailable):
            await xtts.probe(Settings(models_dir=tmp_path, hf_endpoint="http://127.0.0.1:9"))


async def test_weights_are_downloaded_once_the_licence_is_accepted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(xtts_weights.AGREED, raising=False)
    with serve() as hub:
        hub.repos[xtts_weights.REPOSITORY] = folder
        settings = Settings(models_dir=tmp_path, hf_endpoint=hub.address)
        with pytest.raises(EngineUnavailable, match="licence"):
            await xtts_weights.fetch(settings, lambda progress: None)
        assert hub.seen == []
        monkeypatch.setenv(xtts_weights.AGREED, "true")
        await xtts.probe(settings)
        steps: list[Progress] = []
        fetched = await xtts_weights.fetch(settings, steps.append)
        asked = len(hub.seen)
        assert await xtts_weights.fetch(settings, steps.append) == fetched
        await xtts.probe(settings)
        assert len(hub.seen) == asked
    for name in xtts_weights.WANTED:
        assert (fetched / name).read_bytes() == (folder / name).read_bytes()
    assert steps[-1].done == steps[-1].total == sum((folder / name).stat().st_size for name in xtts_weights.WANTED)


def test_the_service_never_imports_torch() -> None:
    code = (
        "import sys, asyncio, pipeline.tts.xtts as x, pipeline.tts.pocket as p\n"
        "from pipeline.settings import Settings\n"
        "async def main():\n"
        "    for module in (x, p):\n"
        "        try: await module.probe(Settings(hf_endpoint='http://127.0.0.1:9'))\n"
        "        except Exception: pass\n"
        "asyncio.run(main())\n"
        "assert not {'torch', 'TTS', 'pocket_tts'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=HOME)


def test_language_codes_are_mapped_to_those_of_xtts() -> None:
    for wanted, code in {"pt-br": "pt", "pt": "pt", "zh": "zh-cn", "zh-cn": "zh-cn", "zh-tw": "zh-cn"}.items():
        assert xtts_language(wanted, LANGUAGES) == code
    with pytest.raises(EngineError) as raised:
        xtts_language("sv", LANGUAGES)
    assert raised.value.code == "unsupported_language"

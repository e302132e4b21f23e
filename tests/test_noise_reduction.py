"""Noise reduction at each transport: as its client chooses, and as NOISE_REDUCTION says for clients that do not."""

import asyncio
import base64
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from pipeline.assistant import open_assistant
from pipeline.audio.clip import Clip, Samples
from pipeline.errors import EngineUnavailable
from pipeline.listening import noise
from pipeline.settings import Settings
from pipeline.stt import Hinted, Spoken, Transcript
from tests.in_process import in_process
from tests.listening.test_noise import hiss, needs_library
from tests.live_client import ENDS, Live
from tests.questions import SUM, spoken
from tests.realtime.desk import RATE_HZ, Desk, ScriptedAssistant, hold, hold_at
from tests.scripted import ScriptedLLM, ScriptedSTT
from tests.telephone import virtual
from tests.telephone.phone import Phone
from tests.translation.test_connection import TranslationDesk

QUIET = 0.003
"""Level of the noise in the pauses of speech: between those with noise reduction and without."""
NEAR = {"type": "near_field", "strength": 1.0}


@dataclass
class Listening(ScriptedSTT):
    """Keeps the sound that it transcribes."""

    clips: list[Samples] = field(default_factory=list)

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool) -> Transcript:
        self.clips.append(clip.samples)
        return await super().transcribe(clip, language=language, prompt=prompt, words=words)


def quietest(samples: Samples) -> float:
    """Return the loudness (RMS) of the quietest 50 ms."""
    return float(np.sqrt(np.square(samples[: len(samples) // 800 * 800].reshape(-1, 800)).mean(axis=1)).min())


@needs_library
@pytest.mark.parametrize(
    ("setting", "query", "configured", "filtered"),
    [
        ("0", "noise_reduction=1&noise_reduction_words=true", {}, True),
        ("0", "noise_reduction=1", {}, False),
        ("0", "noise_reduction_words=true", {}, False),
        ("0", "partial_ms=0", {"noise_reduction": 1, "noise_reduction_words": True}, True),
        ("1", "noise_reduction_words=true", {}, True),
        ("1", "noise_reduction_words=true", {"noise_reduction": 0}, False),
    ],
)
def test_recogniser_hears_the_filtered_sound_only_if_it_is_to(
    tmp_path: Path, setting: str, query: str, configured: dict[str, object], filtered: bool
) -> None:
    stt, speech = Listening(), spoken(SUM).samples
    noisy = np.concatenate([np.zeros(2 * 16_000, np.float32), speech, np.zeros(24_000, np.float32)])
    noisy += hiss(10)[: len(noisy)] / 2
    with (
        in_process(tmp_path, heard=stt, NOISE_REDUCTION=setting) as server,
        Live(server, f"rate=16000&{query}") as live,
    ):
        if configured:
            live.tell("configure", options=configured)
        live.speak(Clip(noisy, 16_000))
        live.until(*ENDS)
    assert (quietest(stt.clips[-1]) < QUIET) is filtered


async def hears_hiss(d: Desk) -> bool:
    """Whether hiss is transcribed, once the filter knows it."""
    before = 0
    for _ in range(2):
        before = d.running.calls.count("stt")
        sound = Clip(hiss(2), 16_000).at(RATE_HZ).pcm16()
        for start in range(0, len(sound), RATE_HZ // 25):
            await asyncio.sleep(0.02)
            d.send(d.appends, audio=base64.b64encode(sound[start : start + RATE_HZ // 25]).decode())
        await d.silence(1500)
    return d.running.calls.count("stt") > before


@needs_library
@pytest.mark.parametrize("kind", [Desk, TranslationDesk])
def test_sessions_begin_with_the_setting_and_can_change_it(kind: type[Desk]) -> None:
    async def script(d: Desk) -> None:
        assert d.of("session.created")[0]["session"]["audio"]["input"]["noise_reduction"] == NEAR
        assert not await hears_hiss(d)
        for wanted in (None, {"type": "far_field", "strength": 1.0}):
            changed = {"audio": {"input": {"noise_reduction": wanted}}}
            d.send("session.update", session=changed if kind is TranslationDesk else {"type": "realtime", **changed})
            told = (await d.until("session.updated"))["session"]
            assert told["audio"]["input"]["noise_reduction"] == wanted
            assert await hears_hiss(d) is (wanted is None)

    hold_at(kind, script, llm=ScriptedLLM("Yes."), noise_reduction=1.0)


@needs_library
def test_a_session_can_choose_its_strength_without_the_setting() -> None:
    async def script(d: Desk) -> None:
        assert d.of("session.created")[0]["session"]["audio"]["input"]["noise_reduction"] is None
        assert await hears_hiss(d)
        await d.update(audio={"input": {"noise_reduction": {"type": "near_field"}}})
        assert not await hears_hiss(d)

    hold(script, llm=ScriptedLLM("Yes."))


@needs_library
@pytest.mark.parametrize("transport", ["twilio", "asterisk"])
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_telephone_reduces_noise_as_the_setting_says(transport: str, strength: float) -> None:
    stt, heard = ScriptedSTT(), list[int]()

    async def script(phone: Phone) -> None:
        for _ in range(2):
            phone.say(Clip(hiss(2), 16_000))
            await asyncio.sleep(3)
            heard.append(len(stt.requests))

    virtual.call(transport, script, stt=stt, deployment=ScriptedAssistant, noise_reduction=strength)
    assert (heard[1] > heard[0]) is (not strength)


async def test_the_service_does_not_start_with_it_without_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise, "_library_file", lambda: None)
    with pytest.raises(EngineUnavailable, match="RNNoise is not installed") as refused:
        async with open_assistant(Settings(noise_reduction=0.5, models_dir=tmp_path)):
            pass
    assert "EXTRAS=noise" in str(refused.value.remedy)

"""Noise reduction before the voice detector."""

import asyncio

import numpy as np
import pytest

from pipeline.audio.clip import Samples
from pipeline.conversation import events
from pipeline.errors import BadInput
from pipeline.listening import noise
from pipeline.listening.detector import FRAME
from pipeline.listening.noise import LATER, FilteredActivity, NoiseFilter
from tests.dialogue import RATE_HZ, Dialogue, LoudIsSpeech, hold
from tests.speech import Espeak

needs_library = pytest.mark.skipif(not noise.available(), reason="the extra noise is not installed")


def filtered(sound: Samples, strength: float) -> Samples:
    reduction = NoiseFilter(strength)
    return np.concatenate([reduction.reduced(sound[at : at + FRAME]) for at in range(0, len(sound) - FRAME, FRAME)])


def hiss(seconds: float) -> Samples:
    return (np.random.default_rng(1).standard_normal(int(seconds * RATE_HZ)) * 0.02).astype(np.float32)


@needs_library
def test_noise_is_removed_and_speech_is_kept() -> None:
    speech = Espeak().say("tell me something about the heron in the river", "en-us+f2").astype(np.float32)
    assert filtered(hiss(3), 1.0)[RATE_HZ:].std() < 0.002
    kept = filtered(speech, 1.0)
    before, after = speech[: len(kept) - LATER], kept[LATER:]
    assert np.corrcoef(before, after)[0, 1] > 0.8


@needs_library
def test_strength_is_the_share_of_the_filtered_sound() -> None:
    level = [float(filtered(hiss(3), strength)[RATE_HZ:].std()) for strength in (0.0, 0.5, 1.0)]
    assert level[0] == pytest.approx(0.02, rel=0.05)
    assert level[1] == pytest.approx(0.01, rel=0.1)


@needs_library
def test_filter_can_be_switched_in_a_conversation() -> None:
    async def script(d: Dialogue) -> None:
        for strength in (1.0, 0.5, 0.0, 1.0):
            options = d.session.options.changed({"noise_reduction": strength})
            d.session.configure(options, voice=d.session.voice, language=None)
            await d.silence(200)
        starts = []
        for _ in range(2):
            for start in range(0, 2 * RATE_HZ, 320):  # loud enough to be speech for the scripted detector
                await asyncio.sleep(0.02)
                d.session.hear(hiss(2)[start : start + 320])
            await d.silence(1000)
            starts.append(len(d.of(events.UserSpeechStarted)))
        assert starts[0] == starts[1]  # the filter needs a second to know the noise

    hold(script, noise_reduction=1.0)


@needs_library
def test_noise_is_not_speech_in_filtered_activity() -> None:
    activity, sound = FilteredActivity(LoudIsSpeech()), hiss(3)
    for strength, expected in ((0.0, 1.0), (1.0, 0.0), (0.0, 1.0)):
        activity.reduce(strength)
        found = activity.probabilities(sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME))
        assert set(found[RATE_HZ // FRAME :]) == {expected}


def test_option_without_the_library_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "_library_file", lambda: None)
    noise._library.cache_clear()
    with pytest.raises(BadInput, match="make install EXTRAS=noise") as refused:
        hold(lambda d: asyncio.sleep(0), noise_reduction=0.5)
    assert refused.value.code == "noise_reduction_unavailable"

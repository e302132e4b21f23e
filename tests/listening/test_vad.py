"""Speech spans in a clip."""

import numpy as np
import pytest

from pipeline.audio.clip import Clip, Samples
from pipeline.listening.detector import FRAME, SileroActivity
from pipeline.listening.vad import RATE_HZ, has_speech, speech_spans, trim
from tests.speech import Espeak
from tests.stt.conftest import UNSPOKEN, unspoken


@pytest.fixture(scope="module")
def spoken() -> Samples:
    """A sentence without silence around it."""
    sound = Espeak().say("tell me the time please", "en-us+f2")
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    return sound[loud[0] : loud[-1]]


def silence(seconds: float) -> Samples:
    return np.zeros(int(seconds * RATE_HZ), np.float32)


def test_a_sentence_is_found_at_its_position(spoken: Samples) -> None:
    (span,) = speech_spans(np.concatenate([silence(2), spoken, silence(1.5)]))
    assert span.start == pytest.approx(2 * RATE_HZ, abs=0.15 * RATE_HZ)
    assert span.end == pytest.approx(2 * RATE_HZ + len(spoken), abs=0.25 * RATE_HZ)


def test_two_sentences_are_two_spans(spoken: Samples) -> None:
    first, second = speech_spans(np.concatenate([silence(0.5), spoken, silence(1), spoken, silence(0.5)]))
    assert first.end < second.start


@pytest.mark.parametrize("name", UNSPOKEN)
def test_a_clip_without_speech_has_no_span(name: str) -> None:
    clip = unspoken(name)
    assert not has_speech(clip)
    nothing, offset_s = trim(clip, 200)
    assert (len(nothing.samples), offset_s) == (0, 0.0)


def test_trimming_keeps_the_padding_and_returns_the_start(spoken: Samples) -> None:
    clip = Clip(np.concatenate([silence(2), spoken, silence(2)]), RATE_HZ).at(44_100)
    assert has_speech(clip)
    short, offset_s = trim(clip, 300)
    assert short.rate_hz == RATE_HZ
    assert offset_s == pytest.approx(1.7, abs=0.15)
    assert short.seconds == pytest.approx(len(spoken) / RATE_HZ + 0.6, abs=0.35)


def test_frames_in_a_batch_score_as_they_do_one_by_one(spoken: Samples) -> None:
    sound = np.concatenate([silence(0.3), spoken, silence(0.5)])
    frames = sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME)
    one_by_one, together = SileroActivity(), SileroActivity()
    singles = [one_by_one.probability(frame) for frame in frames]
    parts = (frames[:1], frames[1:1], frames[1:])
    assert [one for part in parts for one in together.probabilities(part)] == pytest.approx(singles, abs=1e-5)
    assert max(singles) > 0.9


def test_the_network_computes_what_its_onnx_file_describes(spoken: Samples) -> None:
    from faster_whisper.vad import get_vad_model

    noise = np.random.default_rng(1).normal(0, 0.1, 2 * RATE_HZ).astype(np.float32)
    sound = np.concatenate([silence(0.3), spoken, noise, spoken, np.ones(RATE_HZ, np.float32)])
    frames = sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME)
    before = np.concatenate([np.zeros((1, 64), np.float32), frames[:-1, -64:]])
    state = np.zeros((1, 1, 128), np.float32)
    given = {"input": np.concatenate([before, frames], axis=1), "h": state, "c": state}
    wanted, *_ = get_vad_model().session.run(None, given)
    assert SileroActivity().probabilities(frames) == pytest.approx(wanted.ravel(), abs=1e-5)

"""A Whisper that encodes less than 30 s: at least one second of silence follows the sound, whatever the input."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audio.clip import Clip
from pipeline.audio.decode import decode_blocking
from pipeline.stt import FileRequest
from pipeline.stt.short_context import Known
from pipeline.stt.whisper_engine import WhisperConfig, WhisperEngine
from pipeline.stt.whisper_model import shortened
from pipeline.stt.worker_client import last
from tests.stt.recordings import MODEL, RATE_HZ, spoken

SHARED = Path(__file__).parents[2].parent / "shared" / "audio"
SECOND = 100
"""Frames of 10 ms."""
WINDOW = 3000


@given(context_s=st.floats(1, 30), frames=st.integers(0, WINDOW))
def test_a_second_of_silence_follows_any_sound(context_s: float, frames: int) -> None:
    features = np.zeros((2, WINDOW), np.float32)
    features[:, :frames] = 1.0
    window = shortened(features, context_s)
    assert window.shape[-1] >= min(WINDOW, frames + SECOND, int(context_s * SECOND))
    assert window.shape[-1] <= max(frames + SECOND, context_s * SECOND) + 1
    assert window.shape[-1] >= min(WINDOW, frames + SECOND)
    assert window.shape[-1] % 2 == 0
    assert window.sum() == features.sum()


class Watched:
    """CTranslate2's model, with a log of its windows: frames with sound in them, and all frames."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.windows: list[tuple[int, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode(self, features: Any, **options: Any) -> Any:
        for window in np.asarray(features):
            used = np.flatnonzero(window.any(axis=0))
            self.windows.append((int(used[-1]) + 1 if used.size else 0, window.shape[-1]))
        return self._model.encode(features, **options)


def engine_of(context_s: float) -> WhisperEngine:
    return WhisperEngine(WhisperConfig(str(MODEL), (("cpu", "int8"),), 1, 1, context_s))


def recordings() -> Iterator[Clip]:
    """Real speech of 11 to 29 s."""
    sounds = [
        [
            decode_blocking((SHARED / f"{name}.wav").read_bytes(), max_seconds=60).at(RATE_HZ).samples
            for name in names.split()
        ]
        for names in ("jfk", "LJ001-0001 LJ001-0003", "libri1088 LJ001-0003 lj_0020")
    ]
    for parts in sounds:
        yield Clip(np.concatenate(parts), RATE_HZ)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are missing")
@pytest.mark.parametrize("context_s", [1.0, 20.5])
def test_recordings_longer_than_the_context_keep_silence_after_them(context_s: float) -> None:
    """Cover turns, single and batched windows of a file, with and without words, and windows that are decoded twice."""
    engine = engine_of(context_s)
    watched = engine._model.model = Watched(engine._model.model)
    clips = [*recordings(), spoken_clip(0)]
    assert (min(clip.seconds for clip in clips[:-1]), max(clip.seconds for clip in clips)) == pytest.approx((11, 27), 1)
    for step in engine.transcribe_many([(clip, "en", None, index == 1) for index, clip in enumerate(clips)], never):
        assert not isinstance(step[1], Exception)
    for clip in clips[:2]:
        list(engine.segments(clip, FileRequest("en", words=True)))
    for index, found in engine.segments_many([(clip, FileRequest("en", words=True)) for clip in clips], never):
        assert not isinstance(found, Exception), index
    assert len(watched.windows) >= 2 * len(clips) + 2
    for used, frames in watched.windows:
        assert frames >= min(WINDOW, used + SECOND), (used, frames)
        assert frames <= max(used + SECOND, context_s * SECOND) + 1


@pytest.mark.parametrize("context_s", [1.0, 10.0])
def test_utterances_longer_than_the_context_are_exact(context_s: float) -> None:
    engine = engine_of(context_s)
    texts = [text for text, _ in spoken()[:6]]
    clips = [spoken_clip(number) for number in range(6)]
    assert max(clip.seconds for clip in clips) > 2
    assert [last(engine.transcribe(clip, "en", None, False)).text for clip in clips] == texts
    found: dict[int, list[str]] = {number: [] for number in range(6)}
    for number, step in engine.segments_many([(clip, FileRequest("en")) for clip in clips], never):
        if step is not None:
            assert not isinstance(step, Exception)
            found[number].append(step.text)
    assert [" ".join(found[number]) for number in range(6)] == texts


def spoken_clip(number: int) -> Clip:
    return Clip(np.pad(spoken()[number][1], RATE_HZ * 3 // 10), RATE_HZ)


def never(index: int) -> bool:
    return False


@pytest.mark.parametrize("heard", ["nothing", "other words"])
def test_a_model_that_does_not_understand_the_known_clip_gets_30_s(
    heard: str, caplog: pytest.LogCaptureFixture
) -> None:
    clip, text = spoken_clip(0), spoken()[0][0]
    silence = Clip(np.zeros(3 * RATE_HZ, np.float32), RATE_HZ)
    known = Known(silence, text) if heard == "nothing" else Known(clip, "Please tell me what the weather will be like.")
    engine = WhisperEngine(WhisperConfig(str(MODEL), (("cpu", "int8"),), 1, 1, 10.0, Known(clip, text)))
    assert engine.context_s == 10
    assert "less exact" not in caplog.text
    assert WhisperEngine(WhisperConfig(str(MODEL), (("cpu", "int8"),), 1, 1, 10.0, known)).context_s == 30
    assert "less exact" in caplog.text
    assert last(engine.transcribe(clip, "en", None, False)).text == text

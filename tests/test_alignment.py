"""Word alignment: it finds the likeliest path and never drops a word."""

import importlib.util
import io
import itertools
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.audio.clip import Clip
from pipeline.audio.decode import Recording
from pipeline.errors import EngineError, WorkerCrashed
from pipeline.settings import Settings
from pipeline.stt import Segment, Word
from pipeline.stt.word_times import Timed, filled
from pipeline.transcripts.alignment.aligning import MAX_ALIGNERS, Aligners
from pipeline.transcripts.alignment.ctc import CtcConfig, CtcEngine, best_path, split_words
from tests.builders import wav2vec2
from tests.clips import hearing_process, recording

if not all(map(importlib.util.find_spec, ("torch", "transformers"))):  # importing them takes seconds
    pytest.skip("torch or transformers is not installed (make run EXTRAS=align)", allow_module_level=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wav2vec2.build(tmp_path_factory.mktemp("wav2vec2"))


def collapsed(path: tuple[int, ...]) -> list[int]:
    return [one for index, one in enumerate(path) if one and (index == 0 or path[index - 1] != one)]


@pytest.mark.parametrize("seed", range(25))
def test_best_path_is_the_most_likely_of_all_paths(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames, names = 6, 4
    log_probs = np.log(rng.dirichlet(np.ones(names), frames)).astype(np.float32)
    tokens = [int(one) for one in rng.integers(1, names, rng.integers(1, 4))]
    found = best_path(log_probs, tokens)
    every = [path for path in itertools.product(range(names), repeat=frames) if collapsed(path) == tokens]
    if not every:
        assert found is None
        return
    best = max(every, key=lambda path: sum(log_probs[frame, one] for frame, one in enumerate(path)))
    wanted = []
    at = 0
    for token in tokens:
        first = next(i for i in range(at, frames) if best[i] == token)
        last = first
        while last + 1 < frames and best[last + 1] == token:
            last += 1
        wanted.append((first, last + 1))
        at = last + 1
    assert found is not None
    assert [part[:2] for part in found] == wanted


def test_text_longer_than_its_audio_has_no_path() -> None:
    assert best_path(np.zeros((2, 4), np.float32), [1, 2, 3]) is None


@given(
    st.lists(st.tuples(st.text(max_size=8), st.none() | st.tuples(st.floats(-5, 50), st.floats(-5, 50))), max_size=12),
    st.floats(0, 5),
    st.floats(0, 30),
)
@example(words=[("000", None), ("", (12.0, 0.0))], start_s=0.0, length_s=11.513207555926659)
def test_every_word_gets_a_time_between_its_neighbours(
    words: list[tuple[str, tuple[float, float] | None]], start_s: float, length_s: float
) -> None:
    end_s = start_s + length_s
    found = filled([Timed(text, span) for text, span in words], start_s, end_s)
    assert [word.text for word in found] == [text for text, _ in words]
    edges = [edge for word in found for edge in (word.start_s, word.end_s)]
    assert edges == sorted(edges)
    assert all(start_s <= edge <= end_s + 1e-9 for edge in edges)


def test_words_outside_the_vocabulary_get_interpolated_times() -> None:
    found = filled([Timed("in", (1.0, 1.2), 0.9), Timed("2014.", None), Timed("it", (2.0, 2.1), 0.9)], 0.0, 3.0)
    assert [(word.start_s, word.end_s) for word in found] == [(1.0, 1.2), (1.2, 2.0), (2.0, 2.1)]


def test_scripts_without_spaces_are_split_into_characters() -> None:
    assert list(split_words("你好，世界。 ok then")) == ["你", "好，", "世", "界。", "ok", "then"]


def test_alignment_returns_every_word_of_the_text(model: Path) -> None:
    engine = CtcEngine(CtcConfig(str(model), "cpu", 1))
    sound = Clip((np.random.default_rng(0).standard_normal(48_000) * 0.1).astype(np.float32), 16_000)
    for text in ("it cost £13.60 in 2014.", "42", "don't stop", "Ünïcödé", "a" * 400):
        found = engine.align(sound, text)
        assert [word.text for word in found] == text.split()
        edges = [edge for word in found for edge in (word.start_s, word.end_s)]
        assert edges == sorted(edges)
        assert 0 <= edges[0] <= edges[-1] <= 3.0
    assert engine.align(Clip(np.zeros(10, np.float32), 16_000), "hello there")[1].text == "there"


def test_service_aligns_words_if_a_model_is_configured(tmp_path: Path, model: Path) -> None:
    wav, truth = recording(0, 1, 2)
    with hearing_process(tmp_path, ALIGN_MODEL=str(model)) as running:
        answer = httpx.post(
            f"{running.url}/transcribe/", files={"audio_file": wav}, data={"language": "en"}, timeout=120
        ).json()
        names = [process.cmdline() for process in running.workers()]
    assert len(names) >= 2
    assert [word["word"] for word in answer["word_segments"]] == " ".join(text for text, _, _ in truth).split()
    for segment, (_, start_s, end_s) in zip(answer["segments"], truth, strict=True):
        assert start_s - 1.0 < segment["start"] <= segment["end"] < end_s + 1.0
        scores = [word["score"] for word in segment["words"]]
        assert max(scores) < 0.5, "scores of random weights are low, so these must be the aligner's"


def damaged(model: Path, folder: Path, how: str) -> Path:
    shutil.copytree(model, folder)
    if how == "weights":
        (folder / "model.safetensors").write_bytes(b"no weights at all")
    else:
        (folder / "vocab.json").write_text(json.dumps({"en": {"a": 1}, "pt": {"a": 1}}))
    return folder


HEARD = Segment(0.6, 1.4, "what time", words=[Word("what", 0.6, 0.9, 0.5), Word("time", 0.9, 1.4, 0.5)])


def sound() -> Recording:
    return Recording(io.BytesIO(recording(0)[0]), max_seconds=60)


@pytest.mark.parametrize("how", ["weights", "vocabularies"])
async def test_broken_model_keeps_recogniser_times_and_is_logged_once(
    tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    broken = damaged(model, tmp_path / "broken", how)
    aligners = Aligners(Settings(align_model=str(broken), model_host="thread"))
    for _ in range(3):
        assert await aligners.aligned([HEARD], sound, "en") == [HEARD]
    await aligners.close()
    assert len([one for one in caplog.records if "keep the recogniser's times" in one.message]) == 1


class FirstFine:
    """Aligns every first sentence and fails on every second."""

    def __init__(self, error: Exception) -> None:
        self.asked = 0
        self._error = error

    async def align(self, clip: Clip, text: str) -> Sequence[Word]:
        self.asked += 1
        if self.asked % 2 == 0:
            raise self._error
        return [Word(word, 0.1, 0.2, 1.0) for word in text.split()]


class Labelling:
    """Returns its language as the only word."""

    def __init__(self, language: str) -> None:
        self._language = language

    async def align(self, clip: Clip, text: str) -> Sequence[Word]:
        return [Word(self._language, 0.1, 0.2, 1.0)]


@pytest.mark.parametrize(
    ("error", "tries"), [(WorkerCrashed("gone"), 1), (WorkerCrashed("hung", code="timeout"), 1), (EngineError("no"), 2)]
)
async def test_failed_alignment_of_a_segment_keeps_the_recogniser_times(error: Exception, tries: int) -> None:
    aligner = FirstFine(error)

    @asynccontextmanager
    async def opening(settings: Settings, language: str) -> AsyncIterator[FirstFine]:
        yield aligner

    aligners = Aligners(Settings(), opening)
    for _ in range(2):
        assert await aligners.aligned([HEARD, HEARD], sound, "en") == [HEARD, HEARD]
    assert aligner.asked == 2 * tries
    await aligners.close()


async def test_least_recently_used_language_is_unloaded() -> None:
    loaded: list[str] = []

    @asynccontextmanager
    async def opening(settings: Settings, language: str) -> AsyncIterator[FirstFine]:
        loaded.append(language)
        yield FirstFine(EngineError("no"))
        loaded.remove(language)

    aligners = Aligners(Settings(), opening)
    for language in ("en", "fr", "de", "en", "es"):
        await aligners.aligned([HEARD], sound, language)
        assert len(loaded) <= MAX_ALIGNERS
    assert loaded == ["en", "de", "es"]
    await aligners.close()
    assert loaded == []


async def test_segments_are_aligned_in_their_own_language() -> None:
    @asynccontextmanager
    async def opening(settings: Settings, language: str) -> AsyncIterator[Labelling]:
        yield Labelling(language)

    aligners = Aligners(Settings(), opening)
    segments = [replace(HEARD, language=language) for language in ("en", "de", None, "en")]
    aligned = await aligners.aligned(segments, sound, "pt")
    assert [one.words[0].text for one in aligned] == ["en", "de", "pt", "en"]
    assert [one.language for one in aligned] == ["en", "de", None, "en"]
    await aligners.close()

"""Shared fixtures of the recogniser tests: models, sounds, a hub."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.clip import Clip
from tests.builders import whisper
from tests.servers import hub

RATE_HZ = 16_000


@pytest.fixture(scope="session")
def random_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A multilingual model whose weights are meaningless."""
    return whisper.build(tmp_path_factory.mktemp("whisper") / "random", multilingual=True)


@pytest.fixture(scope="session")
def babbling_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A multilingual model with high confidence in its nonsense, always in the same language."""
    return whisper.build(tmp_path_factory.mktemp("whisper") / "babbling", multilingual=True, sure=True, seed=3)


@pytest.fixture
def model_hub() -> Iterator[hub.Hub]:
    with hub.serve() as running:
        yield running


def unspoken(name: str) -> Clip:
    """Two seconds without speech."""
    rng = np.random.default_rng(0)
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    sound = {
        "nothing": np.zeros(0),
        "silence": np.zeros(2 * RATE_HZ),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * time_s),
        "hum": 0.2 * np.sin(2 * np.pi * 50 * time_s) + 0.1 * np.sin(2 * np.pi * 150 * time_s),
        "noise": 0.1 * rng.standard_normal(2 * RATE_HZ),
        "clicks": np.where(np.arange(2 * RATE_HZ) % 8000 < 8, 0.9, 0.0),
    }[name]
    return Clip(sound.astype(np.float32), RATE_HZ)


UNSPOKEN = ("nothing", "silence", "tone", "hum", "noise", "clicks")

"""Folders of real models, which `make models` installs under models/. A test without its model is skipped, or fails
where PARLEY_NEED_MODELS is set, as in `make test`."""

import os
from pathlib import Path

import pytest

from pipeline.settings import HOME
from pipeline.support.model_catalogue import CATALOGUE


def _folder(name: str) -> Path:
    folder = HOME / "models" / name
    missing = [file.name for file in CATALOGUE[name].files if not (folder / file.name).is_file()]
    if missing:
        why = f"models/{name} lacks {missing[0]}: make models"
        if os.environ.get("PARLEY_NEED_MODELS"):
            pytest.fail(why)
        pytest.skip(why)
    return folder


@pytest.fixture(scope="session")
def whisper_tiny_en() -> Path:
    """Whisper tiny.en for CTranslate2."""
    return _folder("whisper-tiny.en")


@pytest.fixture(scope="session")
def whisper_base() -> Path:
    """Whisper base for CTranslate2, multilingual."""
    return _folder("whisper-base")


@pytest.fixture(scope="session")
def kokoro() -> Path:
    """Kokoro-82M: model.onnx and vocab.json."""
    return _folder("kokoro-82m")


@pytest.fixture(scope="session")
def piper_joe() -> Path:
    """A Piper voice, en_US-joe-medium."""
    return _folder("piper-joe")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as gguf."""
    return _folder("smollm2-135m")

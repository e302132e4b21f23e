"""SmolLM2-135M-Instruct, a real language model that is small enough for tests; they are skipped without it."""

from pathlib import Path

import pytest

from pipeline.settings import HOME

FOLDER = HOME / "models" / "smollm2-135m"


def smollm_file() -> Path:
    """Return its gguf file, or skip the test."""
    files = sorted(FOLDER.glob("*.gguf"))
    if not files:
        pytest.skip("SmolLM2-135M is not in models/smollm2-135m.")
    return files[0]

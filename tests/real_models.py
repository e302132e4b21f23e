"""Folders of real models, which `make models` installs under models/."""

import os
from pathlib import Path

import pytest

from pipeline.settings import HOME
from pipeline.support.model_catalogue import CATALOGUE

MODELS = HOME / "models"


def real_model(name: str) -> Path:
    """Return the folder of a model of the catalogue. Without it the test or the module is skipped, or fails where
    PARLEY_NEED_MODELS is set, as in `make test`."""
    folder = MODELS / name
    if missing := CATALOGUE[name].missing(folder):
        why = f"models/{name} lacks {missing[0]}: make models"
        if os.environ.get("PARLEY_NEED_MODELS"):
            pytest.fail(why)
        pytest.skip(why, allow_module_level=True)
    return folder

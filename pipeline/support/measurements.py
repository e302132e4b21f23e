"""Measurements of this machine, kept in MODELS_DIR so that a later start need not repeat them."""

import json
import logging
from pathlib import Path

from pipeline.support.json_types import Json

log = logging.getLogger(__name__)

FOLDER = "measured"
"""Folder in MODELS_DIR with a file for each measurement."""


def kept(models_dir: Path, name: str, conditions: str) -> Json:
    """Return the value that was measured under these conditions; None: it was not measured. Blocking.

    conditions: all that the value depends on.
    """
    try:
        match json.loads(_file(models_dir, name).read_text("utf-8")):
            case {"conditions": str(found), "value": value} if found == conditions:
                known: Json = value
                return known
    except (OSError, ValueError):
        pass
    return None


def keep(models_dir: Path, name: str, conditions: str, value: Json) -> None:
    """Store a value, see `kept`. A folder that cannot be written is logged only. Blocking."""
    file = _file(models_dir, name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"conditions": conditions, "value": value}, indent=1) + "\n", "utf-8")
    except OSError as error:
        log.warning("The measurement %s could not be stored in MODELS_DIR: %s", name, error)


def _file(models_dir: Path, name: str) -> Path:
    return models_dir / FOLDER / f"{name}.json"

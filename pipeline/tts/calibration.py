"""Whether this machine can speak with a model in real time: measured once, kept in MODELS_DIR.

Only a sufficient speed is kept. A machine that was too slow may have been busy, so the next start measures again.
"""

import importlib.metadata
import json
import logging
from pathlib import Path

from pipeline.workers.hardware import this_machine

log = logging.getLogger(__name__)

FILE = "speed.json"
"""File in MODELS_DIR: model → where its speed was measured, and the result."""


def _place(model: Path) -> str:
    """Describe what the speed depends on: the processor, the library and the model. Raises OSError."""
    machine = this_machine()
    library = f"onnxruntime {importlib.metadata.version('onnxruntime')}"
    return f"{machine.cpu}, {machine.cores} cores, {library}, {model.name} of {model.stat().st_size} bytes"


def _read(folder: Path) -> dict[str, dict[str, object]]:
    try:
        table = json.loads((folder / FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, dict) else {}


def kept(folder: Path, name: str, model: Path) -> float | None:
    """Return the seconds of CPU for a second of sound that were measured here before; None: not measured. Blocking.

    folder: MODELS_DIR. name: of the model. model: its ONNX file.
    """
    match _read(folder).get(name):
        case {"place": place, "cost": float(cost)} if place == _place(model):
            return cost
    return None


def keep(folder: Path, name: str, model: Path, cost: float) -> None:
    """Store a cost, see `kept`. A folder that cannot be written is logged only. Blocking."""
    table = {**_read(folder), name: {"place": _place(model), "cost": round(cost, 3)}}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(json.dumps(table, indent=1) + "\n", "utf-8")
    except OSError as error:
        log.warning("the speed of %s could not be stored in MODELS_DIR: %s", name, error)

"""Libraries do not store or send data about the user."""

import os
import subprocess
import sys
from pathlib import Path

LOAD_A_MODEL = """
import pipeline
import numpy
from faster_whisper.vad import get_vad_model
get_vad_model()(numpy.zeros(512, numpy.float32))
"""


def test_onnxruntime_stores_no_device_id(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", LOAD_A_MODEL], env=environment, check=True)
    assert list(tmp_path.rglob("*")) == []

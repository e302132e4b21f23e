"""Loading of ONNX speech models; imported in their workers only."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import onnxruntime

from pipeline.audio.clip import Clip
from pipeline.errors import EngineError


def load(model: Path, threads: int) -> Any:
    """Load a model for the CPU. Raises EngineError."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EngineError(f"{model.name} could not be loaded ({type(error).__name__}).") from error


def cost(speak: Callable[[], Iterable[Clip]]) -> float:
    """Return the seconds of CPU for a second of sound, measured on the second of two runs."""
    list(speak())
    before = time.process_time()
    seconds = sum(clip.seconds for clip in speak())
    return (time.process_time() - before) / max(seconds, 0.1)

"""Loading and stoppable runs of ONNX speech models; imported in their workers only."""

import logging
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pipeline.audio.clip import Clip, Samples
from pipeline.errors import EngineError

log = logging.getLogger(__name__)

STEP_S = 0.1
"""Interval at which a run can be stopped."""


def load(model: Path, threads: int) -> onnxruntime.InferenceSession:
    """Load a model for the CPU. Raises EngineError."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EngineError(f"{model.name} could not be loaded ({type(error).__name__}).") from error


def run(
    session: onnxruntime.InferenceSession, inputs: Mapping[str, NDArray[np.generic]]
) -> Generator[None, None, Samples]:
    """Run a model, and return its one output, flattened. Yields None while it runs; closing the generator stops it.

    Raises EngineError.
    """
    options = onnxruntime.RunOptions()
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(session.run, None, inputs, options)
        try:
            while wait([running], STEP_S).not_done:
                yield
        finally:
            options.terminate = True  # checked before each operation; without effect on a run that has ended
    try:
        samples: Samples = np.asarray(running.result()[0], np.float32).ravel()
    except Exception as error:
        log.exception("a speech model failed")
        raise EngineError(f"The speech model failed: {type(error).__name__}.") from error
    return samples


def cost(speak: Callable[[], Iterable[Clip | None]]) -> float:
    """Return the seconds of CPU for a second of sound, measured on the second of two runs."""
    list(speak())
    before = time.process_time()
    seconds = sum(clip.seconds for clip in speak() if clip is not None)
    return (time.process_time() - before) / max(seconds, 0.1)

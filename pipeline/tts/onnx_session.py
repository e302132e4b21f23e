"""Loading and stoppable runs of ONNX speech models; imported in their workers only."""

import logging
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pipeline.audio.clip import Samples
from pipeline.errors import EngineError
from pipeline.tts import integer_convolutions, onnx_graph

log = logging.getLogger(__name__)

STEP_S = 0.1
"""Interval at which a run can be stopped."""
RUNS = 4
"""Runs for measuring the speed of a model on a machine that seems too slow."""


def load(model: Path, threads: int, *, fast_convolutions: bool = False) -> onnxruntime.InferenceSession:
    """Load a model for the CPU. fast_convolutions: see `integer_convolutions`. Raises EngineError."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        source: str | bytes = str(model)
        if fast_convolutions:
            graph = onnx_graph.read(model)
            integer_convolutions.speed_up(graph)
            source = graph.SerializeToString()
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
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


def cost(speak: Callable[[], float], enough: float) -> float:
    """Return the seconds of CPU for a second of sound: the least of RUNS runs, or the first that is not over `enough`.

    speak: runs the loaded model, and returns the seconds of sound that it produced. Other work on the machine, such as
    the loading of other models, makes a run dearer, also in CPU time, where two processors share a core.
    """
    least = float("inf")
    for _ in range(RUNS):
        before = time.process_time()
        seconds = speak()
        least = min(least, (time.process_time() - before) / max(seconds, 0.1))
        if least <= enough:
            break
    return least

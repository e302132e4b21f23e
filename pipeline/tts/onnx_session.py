"""Loading and stoppable runs of ONNX speech models; imported in their workers only."""

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pipeline.audio.clip import Samples
from pipeline.errors import EngineError

log = logging.getLogger(__name__)

STEP_S = 0.1
"""Interval at which a run can be stopped."""
RUNS = 4
"""Runs for measuring the speed of a model on a machine that seems too slow."""


def load(model: Path, threads: int) -> onnxruntime.InferenceSession:
    """Load a model for the CPU. Raises EngineError."""
    with loading(model):
        return session(str(model), threads)


@contextmanager
def loading(model: Path) -> Iterator[None]:
    """Raise EngineError for any error of loading a model."""
    try:
        yield
    except Exception as error:
        raise EngineError(f"{model.name} could not be loaded ({type(error).__name__}).") from error


def session(source: str | bytes, threads: int) -> onnxruntime.InferenceSession:
    """Return a session for the CPU. source: an ONNX file, or its content. Raises the errors of onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run(
    session: onnxruntime.InferenceSession, inputs: Mapping[str, NDArray[np.generic]]
) -> Generator[None, None, Samples]:
    """Run a model, and return its first output, flattened. Yields None while it runs; closing the generator stops it.

    Raises EngineError.
    """
    outputs = yield from run_all(session, inputs)
    samples: Samples = outputs[0].ravel()
    return samples


def run_all(
    session: onnxruntime.InferenceSession, inputs: Mapping[str, NDArray[np.generic]]
) -> Generator[None, None, list[Samples]]:
    """Run a model, and return its outputs as float32; see `run`. Raises EngineError."""
    options = onnxruntime.RunOptions()
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(session.run, None, inputs, options)
        try:
            while wait([running], STEP_S).not_done:
                yield
        finally:
            options.terminate = True  # checked before each operation; without effect on a run that has ended
    try:
        outputs: list[Samples] = [np.asarray(one, np.float32) for one in running.result()]
    except Exception as error:
        log.exception("a speech model failed")
        raise EngineError(f"The speech model failed: {type(error).__name__}.") from error
    return outputs


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

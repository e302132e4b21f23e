"""Smart Turn v3 (Daily, BSD-2): from the sound alone, the probability that the user has finished.

A Whisper-tiny encoder with a classifier, in int8, trained on the last 8 s of speech and about 200 ms of silence, in 23
languages. It hears intonation, lengthened words and fillers, and knows no words.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.audio.clip import Samples
from pipeline.errors import EngineError

NAME = "smart-turn-v3"
"""Its name in the catalogue of models."""
FILE = "smart-turn-v3.2-cpu.onnx"
RATE_HZ = 16_000
SECONDS = 8
"""Length of sound that the model hears; shorter sound gets silence before it."""
MAX_WAITING = 8
"""Calls that can wait for the thread, some 20 to 90 ms each; further ones get no estimate."""


class TurnEnd(Protocol):
    """Estimates from the sound of an utterance whether the user has finished."""

    async def probability(self, samples: Samples) -> float | None:
        """Return the probability that nothing follows; None: there is no estimate. samples: the utterance with the
        silence after it, float32 at 16 kHz."""
        ...


class SmartTurn:
    """The model. Blocking."""

    def __init__(self, model: Path) -> None:
        """Load the model. Raises EngineError."""
        import onnxruntime  # 0.1 s, once per process
        from faster_whisper.feature_extractor import FeatureExtractor

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EngineError(f"{model.name} could not be loaded ({type(error).__name__}).") from error
        self._features = FeatureExtractor(chunk_length=SECONDS)

    def probability(self, samples: Samples) -> float:
        """Return the probability that nothing follows. See `TurnEnd`."""
        heard = samples[-SECONDS * RATE_HZ :]
        heard = np.pad(heard, (SECONDS * RATE_HZ - len(heard), 0))
        level = (heard - heard.mean()) / np.sqrt(heard.var() + 1e-7)  # as Whisper's `do_normalize`
        features = self._features(level, padding=0)[None].astype(np.float32)
        return float(np.asarray(self._session.run(None, {"input_features": features})[0]).reshape(-1)[0])


class Threaded:
    """Smart Turn for all sessions of this process, in one thread: ONNX Runtime and the FFT release the interpreter."""

    def __init__(self, model: SmartTurn) -> None:
        self._model = model
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=NAME)
        self._waiting = 0

    async def probability(self, samples: Samples) -> float | None:
        """See `TurnEnd`."""
        if self._waiting >= MAX_WAITING:
            return None
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._model.probability, samples)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the thread after its current call."""
        self._thread.shutdown(wait=False, cancel_futures=True)

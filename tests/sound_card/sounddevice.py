"""A replacement for the package sounddevice and a sound card, for processes whose PYTHONPATH begins with this folder.

The microphone plays the WAV named by $MICROPHONE, then silence. The loudspeaker's samples are appended to the file
named by $LOUDSPEAKER, as float32. Both run in real time, in their own threads, as in PortAudio.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import soundfile


class PortAudioError(Exception):
    """The package's error class."""


def check_input_settings(**settings: Any) -> None:
    """Accept every setting."""


check_output_settings = check_input_settings


class _Stream:
    def __init__(self, samplerate: float, callback: Callable[..., None], blocksize: int = 0, **settings: Any) -> None:
        self.samplerate = samplerate
        self._callback = callback
        self._size = blocksize or int(samplerate / 100)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            due += self._size / self.samplerate
            self._block()

    def _block(self) -> None:
        raise NotImplementedError

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class InputStream(_Stream):
    """The microphone."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._sound, rate_hz = soundfile.read(os.environ["MICROPHONE"], dtype="float32")
        assert rate_hz == self.samplerate

    def _block(self) -> None:
        block, self._sound = self._sound[: self._size], self._sound[self._size :]
        self._callback(np.pad(block, (0, self._size - len(block)))[:, None], self._size, None, None)


class OutputStream(_Stream):
    """The loudspeaker."""

    def _block(self) -> None:
        out = np.full((self._size, 1), np.nan, np.float32)
        self._callback(out, self._size, None, None)
        with open(os.environ["LOUDSPEAKER"], "ab") as file:
            file.write(out.tobytes())

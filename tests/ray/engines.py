"""Engines with the faults of replicas: without isolation, an engine shares the process of its replica."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path


class Faulty:
    """Dies or freezes with its whole replica, on request."""

    def __init__(self, config: None) -> None:
        pass

    def pid(self) -> int:
        return os.getpid()

    def visible_gpus(self) -> str:
        return os.environ.get("CUDA_VISIBLE_DEVICES", "")

    def freeze(self, path: str) -> int:
        """Stop the first replica that runs it; the next one returns its process."""
        return self._once(path, signal.SIGSTOP)

    def die(self, path: str) -> int:
        """Kill the first replica that runs it; the next one returns its process."""
        return self._once(path, signal.SIGKILL)

    def _once(self, path: str, number: int) -> int:
        try:
            with open(path, "x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return os.getpid()
        os.kill(os.getpid(), number)
        return 0

    def speak_and_die(self, path: str) -> Iterator[str]:
        """Yields once, and kills its replica when that has been received."""
        with open(path, "a") as file:
            file.write("spoken\n")
        yield "Good"
        while not Path(f"{path}.received").exists():
            time.sleep(0.01)
            yield None  # type: ignore[misc]
        os.kill(os.getpid(), signal.SIGKILL)

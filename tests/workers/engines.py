"""Small synchronous engines for the worker's tests: what goes wrong in a real one, on demand."""

import os
import time
from collections.abc import Iterator

from pipeline.errors import EngineError


class Counter:
    """Counts, echoes, fails, hangs and dies as told."""

    def __init__(self, start: int) -> None:
        if start < 0:
            raise EngineError("cannot start below zero")
        self._start = start

    def pid(self) -> int:
        return os.getpid()

    def echo(self, value: object) -> object:
        return value

    def fail(self) -> None:
        raise EngineError("asked to fail", code="timeout")

    def fail_strangely(self) -> None:
        class Local(Exception):  # cannot be pickled
            pass

        raise Local("strange")

    def die(self) -> None:
        os._exit(3)

    def count(self, n: int, pause_s: float) -> Iterator[int]:
        for i in range(n):
            time.sleep(pause_s)
            yield self._start + i

    def count_and_die(self, n: int) -> Iterator[int]:
        yield from range(n)
        os._exit(3)

    def note(self, path: str, n: int, pause_s: float) -> Iterator[int]:
        """Writes each step to a file, so that a test sees what ran after a cancel."""
        for i in range(n):
            with open(path, "a") as file:
                file.write(f"{i}\n")
            yield i
            time.sleep(pause_s)

"""Small synchronous engines for the worker tests, with the faults of real engines on demand."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence

from pipeline.errors import EngineError


class Counter:
    """Counts, echoes, fails, hangs and crashes on request."""

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

    def hang(self) -> None:
        """Hangs like a deadlock in C: no output, and no check for cancellation."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        time.sleep(3600)

    def count_and_hang(self, n: int) -> Iterator[int]:
        yield from range(n)
        time.sleep(3600)

    def die_once(self, path: str) -> str:
        """Kills the first process that runs it."""
        try:
            open(path, "x").close()
        except FileExistsError:
            return "done"
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    def stop_once(self, path: str) -> str:
        """Stops the first process that runs it, which then stays but does not respond."""
        try:
            open(path, "x").close()
        except FileExistsError:
            return "done"
        os.kill(os.getpid(), signal.SIGSTOP)
        return ""

    def hear(self, text: str, seconds: float) -> Iterator[tuple[str, int] | None]:
        """The call's argument, and the number of calls in its batch."""
        time.sleep(seconds)
        yield None
        yield text, 1

    def hear_many(
        self, calls: Sequence[tuple[str, float]], cancelled: Callable[[int], bool]
    ) -> Iterator[tuple[int, object]]:
        time.sleep(max(seconds for _, seconds in calls))
        yield 0, None
        if ("die", 0.1) in calls:
            os._exit(3)
        for index, (text, _) in enumerate(calls):
            if cancelled(index):
                continue
            yield index, EngineError("asked to fail") if text == "fail" else (text, len(calls))

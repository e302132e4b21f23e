"""Record of the models on an existing cluster that processes use, so that the old version of a model is unloaded after
the last process that used it has been replaced. An actor of the cluster: one for all its processes."""

import time
from collections.abc import Callable, Iterable
from typing import Any

UNUSED_S = 600.0
"""Time without a sign of a process that uses a model after which it is unloaded, in seconds: longer than a restart of
the service, which finds its models loaded."""
GAP_S = 60.0
"""Time without a report of any process after which it does not count: the network was cut, all processes were stopped,
or the machine was suspended. In seconds; each process reports every 5 s."""
LEAVING_S = 60.0
"""Time after which a model that is still there, although a process was to unload it, counts as one that is used now, in
seconds."""


class Versions:
    """The actor. Its methods run one after the other."""

    def __init__(self, unused_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._unused_s, self._clock = unused_s, clock
        self._used: dict[str, float] = {}
        """Model → when a process has used it last, or when it was seen first."""
        self._leaving: dict[str, float] = {}
        """Model that a process unloads → since when."""
        self._reported = clock()
        """Time of the last report."""

    def claim(self, model: str) -> bool:
        """Note that a process will use a model; return False while it is being unloaded."""
        if model in self._leaving:
            return False
        self._used[model] = self._clock()
        return True

    def report(self, used: Iterable[str], there: Iterable[str]) -> list[str]:
        """Note the models that a process uses, and all those on the cluster; return those that this process must
        unload now. Time in which no process reports does not count."""
        now = self._clock()
        if (gap := now - self._reported) > GAP_S:
            self._used = {model: at + gap for model, at in self._used.items()}
            self._leaving = {model: at + gap for model, at in self._leaving.items()}
        self._reported = now
        present = {*there}
        for model, since in list(self._leaving.items()):
            if model not in present or now - since > LEAVING_S:
                del self._leaving[model]
        for model in present - self._leaving.keys():
            self._used.setdefault(model, now)
        self._used.update(dict.fromkeys((one for one in used if one not in self._leaving), now))
        old = [model for model in present & self._used.keys() if now - self._used[model] > self._unused_s]
        for model in old:
            self._leaving[model] = now
        self._used = {model: at for model, at in self._used.items() if model not in old}
        return sorted(old)


def versions() -> Any:
    """Return the handle of the actor on the cluster that this process is connected to. Blocking."""
    import ray

    # It has no load, and starts again on another node, where the models that are there count as used.
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Versions)
    return actor.options(name="parley-versions", namespace="parley", lifetime="detached", get_if_exists=True).remote(
        UNUSED_S
    )

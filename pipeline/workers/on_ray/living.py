"""Record of the replicas that answer. Without it, calls would go to the replicas of a lost node until the head of the
cluster has noticed the loss, 15 s later."""

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

FRESH_S = 0.5
"""Age up to which a replica's last answer shows that it lives, in seconds."""
ASK_S = 0.5
"""Longest wait for the answer of a doubted replica, and the interval between two questions, in seconds."""

_records: "WeakSet[Living]" = WeakSet()
# Module state, because Serve makes the routers, from copies of their module: one for each model of this process.


class Replica(Protocol):
    """One of Serve's `RunningReplica`."""

    @property
    def replica_id(self) -> Hashable: ...

    async def get_queue_len(self, *, deadline_s: float) -> int: ...


R = TypeVar("R", bound=Replica)


class Living:
    """The replicas of one model. One that is doubted is asked until it answers, or until Serve has removed it."""

    def __init__(self, replicas: Callable[[], Mapping[Any, Replica]]) -> None:
        """replicas: returns those that Serve knows, by their id."""
        self._replicas = replicas
        self._answered: dict[Hashable, float] = {}
        """Replica → time of its last answer."""
        self._asking: dict[Hashable, asyncio.Task[None]] = {}
        """Doubted replica → the task that asks it."""
        _records.add(self)

    async def among(self, replicas: Sequence[R]) -> Sequence[R]:
        """Return those that are not doubted. If all are, wait for an answer, ASK_S at most; without one, return all."""
        if not (living := self._undoubted(replicas)) and self._asking:
            await asyncio.wait(self._asking.values(), timeout=ASK_S, return_when=asyncio.FIRST_COMPLETED)
            living = self._undoubted(replicas)
        return living or replicas

    def _undoubted(self, replicas: Sequence[R]) -> list[R]:
        return [one for one in replicas if one.replica_id not in self._asking]

    def answered(self, replica_id: Hashable) -> None:
        """Note that a replica has answered."""
        self._answered[replica_id] = asyncio.get_running_loop().time()

    def lost(self, replica_id: Hashable) -> None:
        """Doubt a replica that could not be reached."""
        self._answered.pop(replica_id, None)
        self.doubt()

    def doubt(self) -> None:
        """Doubt all replicas that have not answered a moment ago."""
        there = self._replicas()
        self._answered = {one: at for one, at in self._answered.items() if one in there}
        late = asyncio.get_running_loop().time() - FRESH_S
        for replica_id, replica in there.items():
            if replica_id not in self._asking and self._answered.get(replica_id, late) <= late:
                self._asking[replica_id] = asyncio.create_task(self._ask(replica))

    async def _ask(self, replica: Replica) -> None:
        try:
            while replica.replica_id in self._replicas():
                try:
                    async with asyncio.timeout(ASK_S):
                        await replica.get_queue_len(deadline_s=ASK_S)
                except Exception:  # one of Ray's, or the timeout
                    await asyncio.sleep(ASK_S)
                else:
                    self.answered(replica.replica_id)
                    return
        finally:
            del self._asking[replica.replica_id]


def doubt_all() -> None:
    """Doubt the replicas of all models, because one was lost: perhaps with its node."""
    for record in _records:
        record.doubt()

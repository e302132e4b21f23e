"""Messages between the service and a replica, pickled with `pipeline.workers.wire.dump`.

A call is one Request; its response is a stream of Alive and Item, and ends with Ended. Only holders of the cluster's
token can send either.
"""

from dataclasses import dataclass

from pipeline.workers.caller import Caller
from pipeline.workers.wire import Done, Failed, Item

BEAT_S = 0.5
"""Time without another message after which a replica sends Alive, in seconds."""
ALIVE_S = 2.0
"""Time without any message after which a replica counts as lost, in seconds: dead, frozen or unreachable."""


@dataclass(frozen=True, slots=True)
class Request:
    """A call of the engine."""

    method: str
    args: tuple[object, ...]
    caller: Caller
    """Its urgency when the call was sent; a later change does not reach the replica."""


@dataclass(frozen=True, slots=True)
class Alive:
    """The call waits or runs, and has no item yet."""

    running: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of the call."""

    result: Done | Failed
    waited_s: float | None = None
    """Time in the replica's queue; None: no engine ran it."""


Message = Alive | Item | Ended

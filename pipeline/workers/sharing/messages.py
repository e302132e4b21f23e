"""Messages between a front and the main process about models.

A call is one CallModel; its response is a stream of CallItem, and ends with CallEnded.
"""

from dataclasses import dataclass

from pipeline.workers import EngineSpec, Load, Serving
from pipeline.workers.caller import Caller, Urgency
from pipeline.workers.wire import Done, Failed


@dataclass(frozen=True, slots=True)
class OpenModel:
    """Request of a front: load a model, unless another front has; then its `serving` holds. The result is an Opened."""

    spec: EngineSpec
    serving: Serving


@dataclass(frozen=True, slots=True)
class Opened:
    """A loaded model."""

    model: int
    load: Load


@dataclass(frozen=True, slots=True)
class CloseModel:
    """The front no longer uses a model. It is unloaded with the last one that does."""

    model: int


@dataclass(frozen=True, slots=True)
class CallModel:
    """Call a model."""

    number: int
    model: int
    method: str
    args: tuple[object, ...]
    caller: Caller


@dataclass(frozen=True, slots=True)
class Hasten:
    """The urgency of a call has changed while it waits."""

    number: int
    urgency: Urgency


@dataclass(frozen=True, slots=True)
class Received:
    """The caller has received an item of its call, so that one more may be sent."""

    number: int


@dataclass(frozen=True, slots=True)
class CancelCall:
    """Stop a call at its next item."""

    number: int


@dataclass(frozen=True, slots=True)
class CallItem:
    """The next item of a call."""

    number: int
    value: object


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The end of a call."""

    number: int
    result: Done | Failed
    waited_s: float | None = None
    """Time in the queue; None: no engine ran it."""


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """How busy a model is, with the calls of all fronts."""

    model: int
    load: Load

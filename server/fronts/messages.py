"""Messages between the main process and the fronts, other than those about models and shared values."""

from dataclasses import dataclass

from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Welcome:
    """First message to a front."""

    settings: Settings
    """As the main process has read them, so that a front that is started later has the same."""
    first: bool
    """Whether it is the first front of the service, which shows the progress of the start and the engines."""
    name: str
    """Its name among the fronts that have ever run."""


@dataclass(frozen=True, slots=True)
class Accepts:
    """The front can take connections, but has not loaded its models."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The front serves connections."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Request to a front: respond."""


@dataclass(frozen=True, slots=True)
class StopNow:
    """Message to a front that drains: stop at once."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """The front is draining; connections should go to others."""

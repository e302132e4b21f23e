"""The states of a job and the ways between them; every change of a state in the database goes through this table."""

from enum import StrEnum


class Status(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    """Waits for a worker; also between two attempts."""
    RUNNING = "running"
    COMPLETED = "completed"
    """Has a result."""
    FAILED = "failed"
    """Has an error, and no further attempt is made by itself."""
    CANCELLED = "cancelled"
    """Somebody did not want it any more; never has a result."""
    EXPIRED = "expired"
    """Nobody came to work on it in time."""


ALLOWED: dict[Status, frozenset[Status]] = {
    # To completed directly: the same file with the same options was transcribed before.
    Status.QUEUED: frozenset({Status.RUNNING, Status.COMPLETED, Status.CANCELLED, Status.EXPIRED, Status.FAILED}),
    # Back to queued: another attempt, or its worker went away.
    Status.RUNNING: frozenset({Status.QUEUED, Status.COMPLETED, Status.FAILED, Status.CANCELLED}),
    Status.COMPLETED: frozenset(),
    # Back to queued: tried again by hand.
    Status.FAILED: frozenset({Status.QUEUED}),
    Status.CANCELLED: frozenset({Status.QUEUED}),
    Status.EXPIRED: frozenset({Status.QUEUED}),
}
"""From a state to those that may follow it."""

FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.EXPIRED})
"""Nothing happens by itself in these."""


def sources(target: Status, *, within: frozenset[Status] = frozenset(Status)) -> list[str]:
    """The states that `target` may be entered from, of those given; for `WHERE status IN (…)`."""
    return sorted(status.value for status, after in ALLOWED.items() if target in after and status in within)

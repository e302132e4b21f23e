"""The states of a job and the allowed transitions; every change of a state in the database uses this table."""

from enum import StrEnum


class Status(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    """Waits for a job worker; also between two attempts."""
    RUNNING = "running"
    COMPLETED = "completed"
    """Has a result."""
    FAILED = "failed"
    """Has an error and is not retried automatically."""
    CANCELLED = "cancelled"
    """Cancelled by a client; never has a result."""
    EXPIRED = "expired"
    """No job worker began it in time."""


ALLOWED: dict[Status, frozenset[Status]] = {
    # Directly to completed: the same file was already transcribed with the same options.
    Status.QUEUED: frozenset({Status.RUNNING, Status.COMPLETED, Status.CANCELLED, Status.EXPIRED, Status.FAILED}),
    # Back to queued: a retry, or its job worker disappeared.
    Status.RUNNING: frozenset({Status.QUEUED, Status.COMPLETED, Status.FAILED, Status.CANCELLED}),
    Status.COMPLETED: frozenset(),
    # Back to queued: a client requested a retry.
    Status.FAILED: frozenset({Status.QUEUED}),
    Status.CANCELLED: frozenset({Status.QUEUED}),
    Status.EXPIRED: frozenset({Status.QUEUED}),
}
"""Each state with the states that may follow it."""

FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.EXPIRED})
"""The states of jobs that have ended."""


def sources(target: Status, *, within: frozenset[Status] = frozenset(Status)) -> list[str]:
    """Return the states within `within` from which `target` may be entered; for `WHERE status IN (…)`."""
    return sorted(status.value for status, after in ALLOWED.items() if target in after and status in within)

"""Changes that the fronts of one machine tell each other (PROCESSES). Without this they would find them in the table,
some seconds later, as processes on other machines do."""

from collections.abc import Callable
from dataclasses import dataclass

from jobs.change_signal import Notices
from jobs.queue import Queue
from pipeline.workers.sharing import Relay, joined


@dataclass(frozen=True, slots=True)
class JobChanged:
    """Message to the other fronts: a job has changed."""

    job_id: str


@dataclass(frozen=True, slots=True)
class JobsAdded:
    """Message to the other fronts: jobs were queued."""


def join_others(notices: Notices, queue: Queue) -> Callable[[], None]:
    """Exchange changes with the other fronts, if there are any; return a function that tells them of queued jobs."""
    link = joined()
    if link is None:
        return lambda: None
    link.on(JobChanged, lambda change: notices.tell_here(change.job_id))
    link.on(JobsAdded, lambda _: queue.added_elsewhere())
    notices.relay = lambda job_id: link.post(Relay(JobChanged(job_id)))
    return lambda: link.post(Relay(JobsAdded()))

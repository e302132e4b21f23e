"""Whose jobs a caller may see and touch: his own; with the right admin, and where no keys are asked for, all.

A job of somebody else is answered as one that is not there: ids are no secret to guess at.
"""

from typing import Annotated

from fastapi import Depends, Request

from jobs.errors import JobNotFound
from jobs.schema import Job
from server.access import Right, caller_of
from server.job_views import jobs_of


def owner_of(request: Request) -> str:
    """What is kept on the jobs that this caller makes; "" for who has no key."""
    caller = caller_of(request)
    # A key and a login may have the same name, and be two people.
    return f"{caller.kind}:{caller.name}" if caller.known else ""


def seen_by(request: Request) -> str | None:
    """The owner whose jobs this caller may see; None: all there are."""
    return None if caller_of(request).may(Right.ADMIN) else owner_of(request)


async def own_job(job_id: str, request: Request) -> Job:
    """The job of the path. Raises JobNotFound, also for one that is somebody else's."""
    job = await jobs_of(request).get(job_id)
    only = seen_by(request)
    if only is not None and job.owner != only:
        raise JobNotFound("There is no job of this id.")
    return job


OwnJob = Annotated[Job, Depends(own_job)]
"""For every route about one job: an owner never changes, so it may be looked at before the job is touched."""

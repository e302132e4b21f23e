"""Ownership of jobs: callers can see and change their own jobs; with the admin permission, or if no keys are required,
all jobs.

A job of another caller is reported as not found, so that guessing ids reveals nothing.
"""

from typing import Annotated

from fastapi import Depends, Request

from jobs.errors import JobNotFound
from jobs.job import Job
from server.access import Permission, caller_of
from server.state import state_of


def owner_of(request: Request) -> str:
    """Return the owner stored with this caller's jobs; "" for a caller without a key."""
    caller = caller_of(request)
    # A key and a login of the same name can belong to different callers.
    return f"{caller.kind}:{caller.name}" if caller.known else ""


def seen_by(request: Request) -> str | None:
    """Return the owner whose jobs this caller can see; None: all jobs."""
    return None if caller_of(request).may(Permission.ADMIN) else owner_of(request)


async def own_job(job_id: str, request: Request) -> Job:
    """Return the job in the path. Raises JobNotFound, also for a job of another caller."""
    job = await state_of(request).jobs.get(job_id)
    check_own(job, request)
    return job


def check_own(job: Job, request: Request) -> None:
    """Raises JobNotFound for a job that the caller cannot see."""
    only = seen_by(request)
    if only is not None and job.owner != only:
        raise JobNotFound("There is no job of this id.")


OwnJob = Annotated[Job, Depends(own_job)]
"""Dependency of every route for one job. An owner never changes, so checking it before the job is used is safe."""

"""Rows of the table `jobs` as they are written: all columns of a new one, and changes of an existing one."""

from typing import TypedDict

from sqlalchemy import ColumnElement


class JobRow(TypedDict):
    """A new row; the fields are those of `Job`."""

    id: str
    status: str
    version: int
    created_at: float
    updated_at: float
    started_at: float | None
    finished_at: float | None
    due_at: float
    filename: str
    sha256: str | None
    size_bytes: int | None
    source_url: str | None
    options: str
    """JSON, from `Options.dumps`."""
    owner: str
    session_id: str | None
    webhook_url: str | None
    speakers: str | None
    """JSON."""
    progress: float
    done_s: float
    duration_s: float | None
    attempts: int
    interruptions: int
    lease: str | None
    heartbeat_at: float | None
    error_code: str | None
    error_message: str | None
    result_key: str | None
    partial: str | None
    trace: str | None
    tags: str
    """JSON; "" for none."""
    pinned_at: float | None
    background: int


class Changes(TypedDict, total=False):
    """New values of columns. Counters can be expressions that the database computes."""

    started_at: float
    finished_at: float | None
    due_at: float
    filename: str
    sha256: str
    size_bytes: int
    progress: float
    done_s: float
    duration_s: float | None
    attempts: int | ColumnElement[int]
    interruptions: int | ColumnElement[int]
    lease: str | None
    heartbeat_at: float
    error_code: str | None
    error_message: str | None
    result_key: str
    partial: str | None

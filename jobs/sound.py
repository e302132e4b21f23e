"""Recordings of finished jobs, opened for the page: their outlines, and the voices in them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import select

from jobs import schema
from jobs.database import Database
from jobs.errors import JobNotFound
from jobs.files import FileStore
from jobs.job import Job
from jobs.turns import Turns
from pipeline.audio.decode import Recording
from pipeline.audio.waveform import waveform
from pipeline.errors import ParleyError
from pipeline.workers.caller import Urgency, calling

AT_ONCE = 2
"""Recordings that are read at a time, one of each owner."""
MAX_OF_ONE = 16
"""Those of one owner, with those that wait."""
LIMIT_S = 300.0
"""Limit for reading one recording, with the wait before it, in seconds."""
POINTS = 1_000
"""Parts of an outline."""


class Sound:
    """Access to the recordings of jobs."""

    def __init__(self, database: Database, files: FileStore, max_seconds: float) -> None:
        self._database = database
        self._files = files
        self._max_seconds = max_seconds
        self._turns = Turns(AT_ONCE, "recordings", most_of_one=MAX_OF_ONE)

    @asynccontextmanager
    async def opened(self, job: Job) -> AsyncIterator[Recording]:
        """Open a job's recording; the block has LIMIT_S. Raises JobNotFound without a file, Overloaded, ParleyError
        (timeout)."""
        try:
            async with asyncio.timeout(LIMIT_S), self._turns.one(job.owner):
                if job.sha256 is None:
                    raise FileNotFoundError
                file = await asyncio.to_thread(self._files.open, job.sha256)
                try:
                    with calling(account=job.owner, urgency=Urgency.FILE):
                        yield Recording(file, max_seconds=self._max_seconds, track=job.options.audio_track)
                finally:
                    file.close()
        except FileNotFoundError:
            raise JobNotFound("The file of this job does not exist.") from None
        except TimeoutError:
            raise ParleyError(f"Reading the recording took more than {LIMIT_S:g} s.", code="timeout") from None

    async def waveform(self, job: Job) -> list[int]:
        """Return the outline of a job's recording, as `pipeline.audio.waveform` does, and keep it. Raises as `opened`
        and `Recording.blocks` do."""
        table, track = schema.waveforms, -1 if job.options.audio_track is None else job.options.audio_track
        which = (table.c.sha256 == job.sha256, table.c.track == track)
        async with self._database.reading() as connection:
            known = await connection.scalar(select(table.c.body).where(*which))
        if known is not None:
            peaks: list[int] = json.loads(known)
            return peaks
        async with self.opened(job) as recording:
            peaks = await waveform(recording, POINTS)
        row = {"sha256": job.sha256, "track": track, "body": json.dumps(peaks)}
        async with self._database.writing() as connection:
            await connection.execute(self._database.insert(table).values(row).on_conflict_do_nothing())
        return peaks

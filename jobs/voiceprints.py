"""Voiceprints: the voices of people who agreed to be recognised in later recordings of the same owner.

A voiceprint is one vector of the voice encoder (`pipeline.transcripts.speakers.encoder`), made of a speaker's speech in
a finished transcript. Nothing is stored of any other voice: to suggest names, the voices of a recording are compared
when a client asks, and forgotten.
"""

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import delete, func, insert, select

from jobs import schema
from jobs.database import Database
from jobs.documents import Documents
from jobs.errors import NotPossible, Refused, VoiceprintNotFound
from jobs.job import Job
from jobs.result import segments_of
from jobs.schema import new_id
from jobs.sound import Sound
from pipeline.stt import Segment
from pipeline.transcripts.refine import Refiners
from pipeline.transcripts.speakers.clustering import Matrix
from pipeline.transcripts.speakers.resemblyzer import KNOWN_LIKENESS
from pipeline.transcripts.speakers.voice_samples import matches, samples_of, spans_of

MAX_VOICEPRINTS = 200
"""Limit of one owner's voiceprints."""
MAX_SPEAKERS = 50
"""Speakers of a recording whose voices are compared, the first ones."""


@dataclass(frozen=True, slots=True)
class Voiceprint:
    """An enrolled voice, without its vector."""

    id: str
    owner: str
    """As `Job.owner`: only recordings of this owner are compared with it."""
    name: str
    created_at: float
    consent_by: str
    """The caller who stated that the person agreed; "" without a key."""
    seconds: float
    """Speech from which it was made."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A name for a speaker, because the voice is like an enrolled one."""

    speaker: str
    voiceprint: str
    name: str
    likeness: float


class Voiceprints:
    """The voiceprints of a deployment."""

    def __init__(self, database: Database, documents: Documents, sound: Sound, refiners: Refiners) -> None:
        self._database = database
        self._documents = documents
        self._sound = sound
        self._refiners = refiners

    async def listed(self, owner: str | None) -> list[Voiceprint]:
        """Return an owner's voiceprints by name; None: those of all owners."""
        table = schema.voiceprints
        columns = [table.c[name] for name in ("id", "owner", "name", "created_at", "consent_by", "seconds")]
        statement = select(*columns).order_by(table.c.name, table.c.id)
        if owner is not None:
            statement = statement.where(table.c.owner == owner)
        async with self._database.reading() as connection:
            return [Voiceprint(**row) for row in (await connection.execute(statement)).mappings()]

    async def enrol(self, job: Job, speaker: str, name: str, *, consent_by: str) -> Voiceprint:
        """Keep the voice of a speaker of this job, who agreed to it, for its owner; it replaces an earlier one of the
        same name. Raises Refused for an unknown speaker and for too little speech, NotPossible (no_result),
        EngineUnavailable without a voice encoder, and what `Sound.opened` raises."""
        vectors = await self._voices(job, await self._segments(job), [speaker])
        if speaker not in vectors:
            raise Refused("This speaker does not have enough speech for a voiceprint.", code="bad_parameter")
        vector, seconds = vectors[speaker]
        made = Voiceprint(new_id(), job.owner, name, time.time(), consent_by, round(seconds, 1))
        table = schema.voiceprints
        row = {"id": made.id, "owner": made.owner, "name": name, "created_at": made.created_at,
               "consent_by": consent_by, "seconds": made.seconds, "vector": _written(vector)}  # fmt: skip
        async with self._database.writing() as connection:
            mine = table.c.owner == job.owner
            await connection.execute(delete(table).where(mine, table.c.name == name))
            if (await connection.scalar(select(func.count()).select_from(table).where(mine)) or 0) >= MAX_VOICEPRINTS:
                raise Refused(f"There are {MAX_VOICEPRINTS} voiceprints; delete one.", code="bad_parameter")
            await connection.execute(insert(table).values(row))
        return made

    async def delete(self, voiceprint_id: str, owner: str | None) -> None:
        """Delete a voiceprint of this owner; None: of any owner. Raises VoiceprintNotFound."""
        table = schema.voiceprints
        which = [table.c.id == voiceprint_id] + ([table.c.owner == owner] if owner is not None else [])
        async with self._database.writing() as connection:
            if not (await connection.execute(delete(table).where(*which))).rowcount:
                raise VoiceprintNotFound("There is no voiceprint of this id.")

    async def suggested(self, job: Job) -> list[Suggestion]:
        """Return names for the speakers without one whose voices are enrolled. Without voiceprints the recording is not
        read. Raises as `enrol` does."""
        table = schema.voiceprints
        async with self._database.reading() as connection:
            statement = select(table.c.id, table.c.name, table.c.vector).where(table.c.owner == job.owner)
            known = [row for row in await connection.execute(statement) if row.name not in job.speakers.values()]
        if not known:
            return []
        segments = await self._segments(job)
        labels = dict.fromkeys(one.speaker for one in segments if one.speaker and one.speaker not in job.speakers)
        voices = await self._voices(job, segments, list(labels)[:MAX_SPEAKERS])
        vectors = {speaker: vector for speaker, (vector, _) in voices.items()}
        found = matches(vectors, [_read(row.vector) for row in known], KNOWN_LIKENESS)
        return [
            Suggestion(one.speaker, known[one.known].id, known[one.known].name, round(one.likeness, 3))
            for one in found
        ]  # fmt: skip

    async def _segments(self, job: Job) -> list[Segment]:
        body = await self._documents.body(job)
        if body is None:
            raise NotPossible(f"The job does not have a result; it is {job.status.value}.", code="no_result")
        return await asyncio.to_thread(lambda: segments_of(json.loads(body)))

    async def _voices(
        self, job: Job, segments: Sequence[Segment], speakers: Sequence[str]
    ) -> dict[str, tuple[Matrix, float]]:
        """Return the voice of each speaker with enough speech, and the seconds from which it is known."""
        spans = spans_of(segments, speakers)
        if not spans:
            return {}
        found = {}
        async with self._sound.opened(job) as recording:
            for speaker, samples in (await samples_of(recording, spans)).items():
                [vector] = await self._refiners.embed([samples])
                found[speaker] = (vector, sum(end - start for start, end in spans[speaker]))
        return found


def _written(vector: Matrix) -> str:
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()


def _read(text: str) -> Matrix:
    return np.frombuffer(base64.b64decode(text), "<f4")

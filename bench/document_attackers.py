"""The attackers of `bench.attack` at transcripts: search, tags, bundles, exports, edits, voiceprints, insights."""

import asyncio

import httpx

from bench.attacker import Attacker
from tests.jobs.conftest import recording

JOBS = 8
TEXT = "the heron stands quite still and waits for a small fish " * 350
"""Nearly as long as a segment may be."""
SEGMENTS = 5
"""Segments of that length; a transcript may not grow more."""
FINAL = ("completed", "failed", "cancelled")


async def prepare(attacker: Attacker) -> None:
    """Let the service transcribe some recordings, one of them with speakers, and make their transcripts as long as
    edits can."""
    async with attacker.client() as client:
        for number in range(JOBS):
            files = {"files": (f"{number}.wav", recording(0, silence_s=1 + number / 10))}
            made = await client.post(
                "/jobs", files=files, data={"diarize": str(not number)}, headers={"Idempotency-Key": f"attack-{number}"}
            )
            attacker.jobs.append(made.raise_for_status().json()["jobs"][0]["job_id"])
        for job in attacker.jobs:
            while (await client.get(f"/jobs/{job}")).json()["status"] not in FINAL:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
            await client.post(f"/jobs/{job}/edits", json={"version": 0, "operations": longer()})


def longer() -> list[dict[str, object]]:
    """Return operations that make a transcript of one segment long."""
    operations: list[dict[str, object]] = []
    for segment in range(SEGMENTS):
        operations += [
            {"op": "text", "segment": segment, "text": TEXT},
            {"op": "split", "segment": segment, "at": len(TEXT) - 5},
        ]
    return operations


async def version_of(client: httpx.AsyncClient, job: str) -> int:
    return int((await client.get(f"/jobs/{job}/versions")).json()["version"])


async def searches(attacker: Attacker) -> None:
    """Searches for words of one letter, phrases and signs, and changes of tags between them, from 24 senders."""
    queries = [
        "t h e a s q w",
        '"the heron" "a small fish" "and waits"',
        '"' * 200,
        "e" * 200,
        "(a OR b) NOT c*",
        "ﬁ̈ " * 60,
    ]
    async with attacker.client() as client:

        async def attempt(number: int) -> str:
            query = queries[number % len(queries)]
            answer = await client.get("/library/search", params={"q": query, "limit": 50})
            job = attacker.jobs[number % len(attacker.jobs)]
            await client.patch(f"/jobs/{job}", json={"tags": [f"tag {number} {one}" for one in range(20)]})
            await client.get("/library")
            return str(answer.status_code)

        await attacker.again(attempt, 24)


async def bundles(attacker: Attacker) -> None:
    """Bundles of all transcripts and single exports, in all formats, which half of twelve senders do not read; and
    deletions of jobs that do not exist."""
    formats = ("pdf", "docx", "md", "ttml", "json")
    async with attacker.client() as client:

        async def attempt(number: int) -> str:
            kind = formats[number % len(formats)]
            if number % 3 == 2:
                absent = [f"{one:032x}" for one in range(500)]
                await client.post("/library/delete", json={"ids": absent})
            if number % 3 == 1:
                job = attacker.jobs[number % len(attacker.jobs)]
                answer = await client.get(f"/jobs/{job}/download", params={"format": kind})
                return str(answer.status_code)
            wanted = {"ids": attacker.jobs, "format": kind}
            async with client.stream("POST", "/library/download", json=wanted) as answer:
                if number % 2:
                    await asyncio.sleep(3)
                    return "not read"
                await answer.aread()
                return str(answer.status_code)

        await attacker.again(attempt, 12)


async def edits(attacker: Attacker) -> None:
    """Edits of a hundred operations, versions, restores and outlines of the same transcripts, from 16 senders."""
    async with attacker.client() as client:

        async def attempt(number: int) -> str:
            job = attacker.jobs[number % len(attacker.jobs)]
            version = await version_of(client, job)
            match number % 4:
                case 0:
                    text = [{"op": "text", "segment": 0, "text": TEXT + str(one)} for one in range(10)]
                    answer = await client.post(f"/jobs/{job}/edits", json={"version": version, "operations": text})
                case 1:
                    steps = [{"op": "split", "segment": 0, "at": 1}, {"op": "merge", "segment": 0}] * 50
                    answer = await client.post(f"/jobs/{job}/edits", json={"version": version, "operations": steps})
                case 2:
                    answer = await client.post(f"/jobs/{job}/versions/0/restore", json={"version": version})
                case _:
                    await client.get(f"/jobs/{job}/waveform")
                    answer = await client.get(f"/jobs/{job}/versions/{version}")
            return str(answer.status_code)

        await attacker.again(attempt, 16)


async def voices_of_speakers(attacker: Attacker) -> None:
    """Voiceprints of all speakers, suggestions of names, and transcriptions again with other options, from 12
    senders."""
    async with attacker.client() as client:

        async def attempt(number: int) -> str:
            job = attacker.jobs[number % len(attacker.jobs)]
            match number % 3:
                case 0:
                    wanted = {"speaker": "A", "name": f"Ann {number}", "consent": True}
                    answer = await client.post(f"/jobs/{job}/voiceprints", json=wanted)
                case 1:
                    answer = await client.get(f"/jobs/{job}/voiceprints")
                case _:
                    answer = await client.post(f"/jobs/{job}/again", json={"diarize": True, "language": "en"})
            return str(answer.status_code)

        await attacker.again(attempt, 12)


async def insights(attacker: Attacker) -> None:
    """Questions with the longest prompts about each transcript, and deletions of their answers, from 16 senders."""
    async with attacker.client() as client:

        async def attempt(number: int) -> str:
            job = attacker.jobs[number % len(attacker.jobs)]
            wanted = {"kind": "answer", "question": "Why? " * 199, "prompt": "Say it again. " * 140}
            answer = await client.post(f"/jobs/{job}/insights", json=wanted)
            if answer.status_code == 409 or number % 4 == 0:
                for one in (await client.get(f"/jobs/{job}/insights")).json()["insights"][:5]:
                    await client.delete(f"/jobs/{job}/insights/{one['insight_id']}")
            return str(answer.status_code)

        await attacker.again(attempt, 16)


ATTACKS = (searches, bundles, edits, voices_of_speakers, insights)

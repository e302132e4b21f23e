"""Jobs under load and under SIGKILL: `python -m bench.jobs posts|rows|kills|crashes|databases [COUNT]`.

posts: submit COUNT jobs (10,000): POST p50 and p95, memory of the service before and after.
rows: COUNT rows (1,000,000): lists and filters, p50, p95 and CPU, on SQLite and, if installed, PostgreSQL.
kills: kill the service during a job COUNT times (20): jobs lost, stuck, done twice; time to resume.
crashes: kill the model's process during a job COUNT times (50).
databases: kill PostgreSQL during a job COUNT times (2), and start it again.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
from sqlalchemy import insert, text

from jobs import schema
from jobs.database import open_database
from jobs.listing import list_jobs
from jobs.schema import new_id
from jobs.states import Status
from pipeline.support.file_sizes import file_sizes
from tests.jobs.test_endpoints import HEARS, slow_recording
from tests.server_process import constants, killed, serving
from tests.servers import postgres, web

OWNERS = [f"key:k{number}" for number in range(10)]


def quantiles(values_s: list[float]) -> dict[str, float]:
    """p50 and p95 in ms."""
    cut = statistics.quantiles(values_s, n=20)
    return {"p50_ms": round(1000 * statistics.median(values_s), 1), "p95_ms": round(1000 * cut[-1], 1)}


def posts(count: int) -> dict[str, Any]:
    sound = slow_recording()[:20_000]
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), **HEARS, JOB_WORKERS="0") as service:
        process = psutil.Process(service.process.pid)

        def post(number: int) -> float:
            begun = time.perf_counter()
            answer = client.post(
                "/api/v1/upload/file", files={"file": (f"{number}.flac", sound)}, data={"session_id": f"{number}"}
            )
            assert answer.status_code == 202, answer.text
            return time.perf_counter() - begun

        with httpx.Client(base_url=service.url, timeout=60) as client, ThreadPoolExecutor(4) as pool:
            list(pool.map(post, range(200)))
            before = process.memory_info().rss
            begun = time.perf_counter()
            took_s = list(pool.map(post, range(count)))
            wall_s = time.perf_counter() - begun
            queued = client.get("/queues").json()["queued"]
        grown = process.memory_info().rss - before
        disk = sum(file_sizes(Path(folder) / "uploads"))
    return {
        "jobs": count, "queued": queued, "clients": 4, **quantiles(took_s), "per_s": round(count / wall_s),
        "rss_before_mb": before >> 20, "rss_grown_mb": round(grown / 2**20, 1), "files_kb": disk >> 10,
    }  # fmt: skip


async def rows(count: int, url: str) -> dict[str, Any]:
    states = [*[Status.COMPLETED] * 90, *[Status.FAILED] * 5, *[Status.CANCELLED] * 3, Status.QUEUED, Status.RUNNING]
    async with open_database(url) as database:
        for start in range(0, count, 20_000):
            made = [_row(number, states[number % 100]) for number in range(start, min(count, start + 20_000))]
            async with database.writing() as connection:
                await connection.execute(insert(schema.jobs), made)
        async with database.writing() as connection:
            for status in set(states):
                share = sum(one is status for one in states) * count // 100
                await connection.execute(insert(schema.tallies).values(status=status.value, jobs=share))
                for owner in OWNERS:
                    told = {"owner": owner, "status": status.value, "jobs": share // len(OWNERS)}
                    await connection.execute(insert(schema.owner_tallies).values(told))
            await connection.execute(text("ANALYZE"))
        cursor = (await list_jobs(database, limit=1, page=5000)).next_cursor
        wanted: dict[str, dict[str, Any]] = {
            "newest": {}, "page 400": {"page": 400}, "cursor": {"cursor": cursor},
            "failed": {"statuses": [Status.FAILED]}, "active": {"statuses": [Status.QUEUED, Status.RUNNING]},
            "done or failed": {"statuses": [Status.COMPLETED, Status.FAILED]}, "session": {"session_id": "s77"},
            "session, failed": {"session_id": "s77", "statuses": [Status.FAILED]}, "search": {"search": "77.wav"},
            "search without a match": {"search": "nothing"}, "of a key": {"owner": OWNERS[0]},
            "of a key, failed": {"owner": OWNERS[0], "statuses": [Status.FAILED]},
            "of a key, done or failed": {"owner": OWNERS[0], "statuses": [Status.COMPLETED, Status.FAILED]},
            "of a key, session": {"owner": OWNERS[7], "session_id": "s77"},
        }  # fmt: skip
        found = {}
        for name, which in wanted.items():
            took_s, used_s = [], time.process_time()
            for _ in range(100):
                begun = time.perf_counter()
                await list_jobs(database, **which)
                took_s.append(time.perf_counter() - begun)
            # CPU time of this process: all of SQLite's work, and the client side of PostgreSQL.
            found[name] = {**quantiles(took_s), "cpu_ms": round(10 * (time.process_time() - used_s), 1)}
        return {"rows": count, "database": url.split(":")[0], **found}


def _row(number: int, status: Status) -> dict[str, Any]:
    ended = status in (Status.COMPLETED, Status.FAILED, Status.CANCELLED)
    return {
        "id": new_id(), "status": status.value, "version": 1, "created_at": 1.0, "updated_at": 1.0, "started_at": None,
        "finished_at": 1e12 if ended else None, "due_at": 0.0, "filename": f"{number}.wav", "sha256": f"{number:064x}",
        "size_bytes": 1, "source_url": None, "options": "{}",
        "owner": OWNERS[number % len(OWNERS)], "session_id": f"s{number % 20_000}", "webhook_url": None,
        "progress": 0.0, "done_s": 0.0, "duration_s": None, "attempts": 0, "interruptions": 0, "lease": None,
        "heartbeat_at": None, "error_code": None, "error_message": None, "result_key": None,
    }  # fmt: skip


def kills(count: int) -> dict[str, Any]:
    made: list[str] = []
    resumed_s: list[float] = []
    with tempfile.TemporaryDirectory() as name, web.serving() as receiver:
        folder = Path(name)
        for number in range(count):
            with killed(folder, **HEARS) as service, httpx.Client(base_url=service.url, timeout=60) as client:
                if made:
                    begun = time.monotonic()
                    while not client.get("/queues").json()["processing"]:
                        time.sleep(0.01)
                    resumed_s.append(time.monotonic() - begun)
                fields = {"session_id": f"{number}", "webhook_url": f"{receiver.address}/hook", "prompt": f"{number}"}
                answer = client.post("/jobs", files={"files": ("long.flac", slow_recording(number))}, data=fields)
                made.append(answer.raise_for_status().json()["jobs"][0]["job_id"])
                while not client.get("/queues").json()["processing"]:
                    time.sleep(0.01)
                time.sleep(0.02 * (number % 10))
        with killed(folder, **HEARS) as service, httpx.Client(base_url=service.url, timeout=60) as client:
            return {"kills": count, "resumed": quantiles(resumed_s), **_outcome(client, made, receiver)}


def crashes(count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name, web.serving() as receiver:
        settings = {**HEARS, **constants({"jobs.run:RETRY_S": 0.1, "jobs.run:ATTEMPTS": 1000})}
        with (
            killed(Path(name), **settings) as service,
            httpx.Client(base_url=service.url, timeout=60) as client,
        ):
            fields = {"webhook_url": f"{receiver.address}/hook"}
            files = [("files", (f"{n}.flac", slow_recording(n))) for n in range(6)]
            made = [job["job_id"] for job in client.post("/jobs", files=files, data=fields).json()["jobs"]]
            gone = 0
            while gone < count:
                active = client.get("/queues").json()
                if not active["queued"] + active["processing"]:
                    extra = {**fields, "prompt": f"{gone}"}
                    made += [job["job_id"] for job in client.post("/jobs", files=files, data=extra).json()["jobs"]]
                for child in service.workers():
                    if "whisper" in " ".join(child.cmdline()) and active["processing"]:
                        child.kill()
                        gone += 1
                time.sleep(0.3)
            return {"crashes": gone, **_outcome(client, made, receiver)}


def databases(count: int) -> dict[str, Any]:
    resumed_s: list[float] = []
    with tempfile.TemporaryDirectory() as name, web.serving() as receiver, postgres.running() as server:
        settings = {**HEARS, "DATABASE_URL": server.database()}
        with (
            killed(Path(name), **settings) as service,
            httpx.Client(base_url=service.url, timeout=120) as client,
        ):
            files = [("files", (f"{n}.flac", slow_recording(n))) for n in range(3 * count)]
            answer = client.post("/jobs", files=files, data={"webhook_url": f"{receiver.address}/hook"})
            made = [job["job_id"] for job in answer.raise_for_status().json()["jobs"]]
            for _ in range(count):
                while not client.get("/queues").json()["processing"]:
                    time.sleep(0.05)
                time.sleep(1)
                server.kill()
                time.sleep(1)
                server.start()
                begun, before = time.monotonic(), None
                while True:
                    answer = client.get("/queues")
                    now = [(job["job_id"], job["progress"]) for job in answer.json().get("jobs", ())]
                    if answer.is_success and before not in (None, now):
                        break
                    before = now if answer.is_success else None
                    time.sleep(0.05)
                resumed_s.append(round(time.monotonic() - begun, 2))
            return {"kills": count, "resumed_s": resumed_s, **_outcome(client, made, receiver)}


def _outcome(client: httpx.Client, made: list[str], receiver: web.Web) -> dict[str, Any]:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        queues = client.get("/queues").json()
        if not queues["queued"] + queues["processing"]:
            break
        time.sleep(0.2)
    time.sleep(6)
    told = [(json.loads(r.body)["data"]["job_id"], r.headers["webhook-id"]) for r in receiver.seen]
    states = [client.get(f"/jobs/{job_id}").json()["status"] for job_id in made]
    return {
        "jobs": len(made), "lost": len(made) - queues["total"], "completed": states.count("completed"),
        "stuck": queues["queued"] + queues["processing"], "done_twice": len(set(told)) - len({job for job, _ in told}),
        "webhooks_told": len({job for job, _ in told}),
    }  # fmt: skip


DEFAULTS = {"posts": 10_000, "rows": 1_000_000, "kills": 20, "databases": 2}


def main() -> None:
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    count = int(sys.argv[2]) if len(sys.argv) > 2 else DEFAULTS.get(what, 50)
    if what == "rows":
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(asyncio.run(rows(count, f"sqlite:///{folder}/jobs.db"))))
        if postgres.binaries() is not None and not os.environ.get("PARLEY_NO_POSTGRES"):
            with postgres.running() as server:
                print(json.dumps(asyncio.run(rows(count, server.database()))))
    else:
        print(json.dumps({"posts": posts, "kills": kills, "crashes": crashes, "databases": databases}[what](count)))


if __name__ == "__main__":
    main()

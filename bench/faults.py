"""Each part of a service killed, frozen or cut off under load, again and again: what its users notice.

    python -m bench.faults [--times 10] [--talkers 4] [--kinds replica front frozen-front redis …]

Real services with PROCESSES=2 and engines that wait (`bench.waiting`), in processes of their own. The talkers ask
spoken questions on /ws?stream=1 without a pause, and behave like a good client: when their connection ends, or when
nothing comes for 10 s while they wait for a reply, they reconnect and resume. Before each fault a job is sent.

nothing       no fault: what "next good answer" is without one, because a talker may just have begun its question
replica       kill -9 of a model's process (its own worker)
front         kill -9 of a process that serves connections
frozen-front  SIGSTOP of one (the main process kills it after 20 s)
redis         kill -9 of Redis, of two services that share it; another one starts on its port after a second
ray-nothing, ray-replica, ray-node, ray-head, ray-frozen, ray-cut
              MODEL_HOST=ray with a head and two nodes, each with a replica of each model: kill -9 of a replica, of all
              processes of a node, of the head's; SIGSTOP of all processes of a node for 10 s; its address cut off for
              10 s (all of this runs in a network namespace of its own). A lost node or head is started again
              after 10 s. For ray-head the head keeps its state in a Redis, and the service has a node of its own.

"turns lost": turns without a complete reply, because of an error or a lost connection. "conversations lost": not
resumed, or another one. "jobs lost": accepted, and not completed within two minutes of the end. "hung": no complete
reply for 30 s. "next good answer": from the fault, or from the next question of a talker that had heard its reply, to
the first sound of the next complete reply; of the talkers that have lost a turn by this fault, and of all.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from bench.fault_scenes import KINDS, READY_S, SETTLE_S, Scene
from bench.load import Question, write
from bench.rows import Rows
from tests.questions import sample
from tests.server_process import ServerProcess
from tests.waiting import eventually

ENDS = ("turn_completed", "turn_interrupted", "turn_failed", "error", "utterance_ignored")
SILENT_S = 10.0
"""Time without a message after which a client that waits for a reply gives its connection up, in seconds."""
HUNG_S = 30.0
OWN_NETWORK = "PARLEY_FAULTS_NETWORK"


@dataclass
class Seen:
    """Observations of all talkers of one kind of fault."""

    turns: int = 0
    turns_lost: list[str] = field(default_factory=list)
    """Reasons."""
    conversations_lost: int = 0
    hung: int = 0


@dataclass(slots=True)
class Turn:
    """One question of a talker. Times are on the clock of time.monotonic()."""

    asked: float
    first: float | None = None
    """First sound of the reply."""
    ended: float | None = None
    good: bool = False
    """Whether the reply was complete."""

    def heard_before(self, moment: float) -> bool:
        """Return whether its reply was complete, and its first sound came before `moment`."""
        return self.good and (self.first or self.asked) <= moment


@dataclass(eq=False)
class Talker:
    """One conversation. It continues on any of the services."""

    urls: Sequence[str]
    question: Question
    seen: Seen
    turns: list[Turn] = field(default_factory=list)
    _token: str | None = None
    _session: str | None = None
    _attempts: int = 0

    def answered(self) -> bool:
        """Return whether a reply was complete."""
        return any(turn.good for turn in self.turns)

    def waited_s(self, moment: float) -> tuple[float, bool] | None:
        """Return the wait for the first complete reply after a fault, and whether a turn was lost before it; None
        while there is none."""
        after = [turn for turn in self.turns if (turn.ended or moment) >= moment and not turn.heard_before(moment)]
        for turn in after:
            if turn.good:
                return (turn.first or turn.asked) - max(moment, after[0].asked), turn is not after[0]
        return None

    async def run(self) -> None:
        """Talk until cancelled."""
        good = time.monotonic()
        while True:
            url = self.urls[self._attempts % len(self.urls)]
            self._attempts += 1
            resume = f"&resume={self._token}" if self._token else ""
            try:
                async with connect(
                    f"{url}/ws?stream=1&rate=16000{resume}", max_size=None, open_timeout=SILENT_S, close_timeout=0.2
                ) as socket:
                    await self._begin(socket)
                    while True:
                        if await self._turn(socket):
                            good = time.monotonic()
                        elif time.monotonic() - good > HUNG_S:
                            self.seen.hung += 1
                            good = time.monotonic()
            except (OSError, TimeoutError, WebSocketException):
                if time.monotonic() - good > HUNG_S:
                    self.seen.hung += 1
                    good = time.monotonic()
                await asyncio.sleep(0.1)

    async def _begin(self, socket: ClientConnection) -> None:
        started = await self._event(socket)
        if self._token and self.answered() and not (started["resumed"] and started["session"] == self._session):
            self.seen.conversations_lost += 1
        self._token, self._session = str(started["resume"]), str(started["session"])

    async def _turn(self, socket: ClientConnection) -> bool:
        """Ask the question; return whether the reply was complete."""
        self.seen.turns += 1
        turn = Turn(time.monotonic())
        self.turns.append(turn)
        try:
            for frame in (*self.question.frames, *[self.question.silence] * 40):
                await write(socket, frame)
            while True:
                event = await self._event(socket, turn)
                if event["type"] in (*ENDS, "session_ended"):
                    break
        except (OSError, WebSocketException, TimeoutError) as error:
            self.seen.turns_lost.append(f"connection: {type(error).__name__}")
            raise
        else:
            turn.good = event["type"] == "turn_completed"
            if not turn.good:
                self.seen.turns_lost.append(str(event.get("code") or event["type"]))
            return turn.good
        finally:
            turn.ended = time.monotonic()

    async def _event(self, socket: ClientConnection, turn: Turn | None = None) -> dict[str, object]:
        while True:
            async with asyncio.timeout(SILENT_S):
                message = await socket.recv()
            if isinstance(message, str):
                return dict(json.loads(message))
            if turn:
                turn.first = turn.first or time.monotonic()


async def accepted_job(server: ServerProcess, number: int) -> str | None:
    """Send a job; return its id, or None if the service has not accepted it."""
    try:
        async with httpx.AsyncClient(timeout=30) as client:
            files = {"files": (f"{number}.wav", sample("hello"))}
            answer = await client.post(f"{server.url}/jobs", files=files, data={"language": "en"})
            return str(answer.json()["jobs"][0]["job_id"]) if answer.is_success else None
    except httpx.HTTPError:
        return None


async def jobs_lost(server: ServerProcess, jobs: list[str]) -> int:
    """Wait until the jobs are completed, two minutes at most; return the number of others."""
    left = set(jobs)
    deadline = time.monotonic() + 120
    async with httpx.AsyncClient(timeout=30) as client:
        while left and time.monotonic() < deadline:
            for job in list(left):
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(f"{server.url}/jobs/{job}")).json().get("status") == "completed":
                        left.discard(job)
            await asyncio.sleep(0.5)
    return len(left)


async def measure(
    scene: Scene, times: int, count: int, chance: random.Random
) -> tuple[Seen, list[float], list[float], int]:
    """Return the observations, the times to the next good answer of the affected and of all talkers, and the number of
    lost jobs."""
    seen, question = Seen(), Question()
    urls = [f"ws://127.0.0.1:{server.port}" for server in scene.servers]
    talkers = [
        Talker(urls[number % len(urls) :] + urls[: number % len(urls)], question, seen) for number in range(count)
    ]
    affected: list[float] = []
    everyone: list[float] = []
    jobs: list[str] = []
    tasks = [asyncio.create_task(talker.run()) for talker in talkers]
    try:
        await eventually(lambda: all(talker.answered() for talker in talkers), READY_S)
        seen.turns, seen.turns_lost, seen.hung = 0, [], 0
        for number in range(times):
            if (job := await accepted_job(scene.servers[0], number)) is not None:
                jobs.append(job)
            await asyncio.sleep(chance.uniform(0.5, 3.0))
            moment = time.monotonic()
            await asyncio.to_thread(scene.fault)
            repairing = asyncio.create_task(asyncio.to_thread(scene.repair))
            missing = set(talkers)
            while missing and time.monotonic() - moment < HUNG_S + SILENT_S:
                for talker in list(missing):
                    if (waited := talker.waited_s(moment)) is not None:
                        missing.discard(talker)
                        everyone.append(waited[0])
                        if waited[1]:
                            affected.append(waited[0])
                await asyncio.sleep(0.02)
            seen.hung += len(missing)
            await repairing
            await asyncio.sleep(SETTLE_S)
        return seen, affected, everyone, await jobs_lost(scene.servers[0], jobs)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def percentiles(values: list[float]) -> str:
    """Return p50 and p95 as text."""
    if not values:
        return "–"
    return " / ".join(f"{np.percentile(values, percent):.1f} s" for percent in (50, 95))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--talkers", type=int, default=4)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["replica", "front", "frozen-front", "redis"])
    options = parser.parse_args()
    if any(kind.startswith("ray") for kind in options.kinds) and OWN_NETWORK not in os.environ:
        in_own_network()
    rows = Rows(
        "fault         ", "times", "turns", "turns lost", "conversations lost", "jobs lost", "hung",
        "next good answer p50 / p95", "all p50 / p95  ", "reasons",
    )  # fmt: skip
    for kind in options.kinds:
        chance = random.Random(0)
        with tempfile.TemporaryDirectory() as folder, KINDS[kind](Path(folder), chance) as scene:
            seen, affected, everyone, lost = asyncio.run(measure(scene, options.times, options.talkers, chance))
            for server in scene.servers:
                if "Traceback" in server.text:
                    print(server.text[server.text.index("Traceback") :][:4_000], file=sys.stderr)
        reasons = {reason: seen.turns_lost.count(reason) for reason in set(seen.turns_lost)}
        rows.add(
            kind, str(options.times), str(seen.turns), str(len(seen.turns_lost)), str(seen.conversations_lost),
            str(lost), str(seen.hung), percentiles(affected), percentiles(everyone),
            ", ".join(f"{number} × {reason}" for reason, number in reasons.items()),
        )  # fmt: skip


def in_own_network() -> None:
    """Continue in a network namespace of its own, with loopback only."""
    unshare = shutil.which("unshare")
    if unshare is None:
        raise SystemExit("the kinds with Ray need the command unshare (util-linux)")
    own = f'ip link set lo up && exec {sys.executable} -m bench.faults "$@"'
    environment = {**os.environ, OWN_NETWORK: "1"}
    os.execve(  # noqa: S606
        unshare, ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", own, "sh", *sys.argv[1:]], environment
    )


if __name__ == "__main__":
    main()

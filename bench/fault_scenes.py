"""The services of `bench.faults`, what breaks in each, and how it is restored."""

import contextlib
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import waiting
from bench.ray_nodes import Node, cluster
from tests.server_process import ServerProcess, killed
from tests.servers.redis_server import redis
from tests.servers.running import closed_port

SETTLE_S, READY_S = 3.0, 180.0
LOST_S = 10.0
"""Time for which a node is frozen or cut off, in seconds."""
SERVICE = {**waiting.settings(), "STT_REPLICAS": "2", "TTS_REPLICAS": "2"}


@dataclass(frozen=True, slots=True)
class Scene:
    """Running services, and what breaks."""

    servers: list[ServerProcess]
    fault: Callable[[], None]
    """Breaks something. Blocking, short."""
    repair: Callable[[], None]
    """Restores what does not restore itself, and waits until that is done. Blocking."""


@contextmanager
def nothing(folder: Path, chance: random.Random) -> Iterator[Scene]:
    with killed(folder, **SERVICE, PROCESSES="2") as server:
        yield Scene([server], lambda: None, lambda: None)


@contextmanager
def own_worker(folder: Path, chance: random.Random) -> Iterator[Scene]:
    with killed(folder, **SERVICE, PROCESSES="2") as server:
        yield Scene([server], lambda: chance.choice(server.workers()).kill(), lambda: None)


def fronts(server: ServerProcess) -> list[psutil.Process]:
    return [one for one in server.children() if "commands.front" in one.cmdline()]


@contextmanager
def a_front(folder: Path, chance: random.Random, number: int) -> Iterator[Scene]:
    with killed(folder, **SERVICE, PROCESSES="2") as server:

        def wait() -> None:
            """Wait until all that is stopped has been replaced."""
            deadline = time.monotonic() + READY_S
            while time.monotonic() < deadline:
                with contextlib.suppress(psutil.Error):
                    if len(now := fronts(server)) == 2 and all(one.status() != psutil.STATUS_STOPPED for one in now):
                        return
                time.sleep(0.2)

        yield Scene([server], lambda: chance.choice(fronts(server)).send_signal(number), wait)


@contextmanager
def the_redis(folder: Path, chance: random.Random) -> Iterator[Scene]:
    port = closed_port()
    with ExitStack() as stack:
        running = [stack.enter_context(redis(folder, port))]
        shared = {**SERVICE, "REDIS_URL": f"redis://127.0.0.1:{port}", "PROCESSES": "2"}
        servers = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            servers.append(stack.enter_context(killed(folder / name, **shared)))

        def start() -> None:
            time.sleep(1)
            running.append(stack.enter_context(redis(folder, port)))
            time.sleep(8)  # until all processes use it again

        yield Scene(servers, lambda: running[-1].kill(), start)


@contextmanager
def ray(folder: Path, chance: random.Random, kind: str) -> Iterator[Scene]:
    with cluster(durable=kind == "ray-head") as there, killed(folder, **SERVICE, **there.settings) as server:
        hit: list[Node] = []

        def replicas(node: Node) -> list[psutil.Process]:
            return [one for one in node.all() if one.name().startswith("ray::ServeRepl")]

        def fault() -> None:
            if kind == "ray-nothing":
                return
            nodes = [there.head] if kind == "ray-head" else [one for one in there.workers if replicas(one)]
            node = chance.choice(nodes or there.workers)
            hit.append(node)
            if kind == "ray-replica":
                chance.choice(replicas(node)).kill()
            elif kind == "ray-cut":
                firewall("add", node.ip)
            else:
                node.send(signal.SIGSTOP if kind == "ray-frozen" else signal.SIGKILL)

        def repair() -> None:
            if not hit:
                return
            node = hit[-1]
            if kind in ("ray-frozen", "ray-cut"):
                time.sleep(LOST_S)
                node.send(signal.SIGCONT)
                if kind == "ray-cut":
                    firewall("delete", node.ip)
                time.sleep(LOST_S)
                if node.process.poll() is not None:  # the cluster has declared it dead
                    node.restart()
            elif kind != "ray-replica":
                time.sleep(LOST_S)  # its start takes the cores of the others here
                node.restart()
            deadline = time.monotonic() + READY_S
            while time.monotonic() < deadline and sum(len(replicas(one)) for one in there.workers) < 4:
                time.sleep(0.5)

        time.sleep(SETTLE_S)
        yield Scene([server], fault, repair)


def firewall(what: str, ip: str) -> None:
    """Cut off an address (add), or restore the network (delete), in this network namespace."""
    rules = [
        "add table ip cut", "add chain ip cut out { type filter hook output priority 0; }",
        f"add rule ip cut out ip saddr {ip} ip daddr != {ip} drop",
        f"add rule ip cut out ip daddr {ip} ip saddr != {ip} drop",
    ]  # fmt: skip
    script = "\n".join(rules if what == "add" else ["delete table ip cut"])
    subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True)


KINDS: dict[str, Callable[[Path, random.Random], contextlib.AbstractContextManager[Scene]]] = {
    "nothing": nothing,
    "replica": own_worker,
    "front": lambda folder, chance: a_front(folder, chance, signal.SIGKILL),
    "frozen-front": lambda folder, chance: a_front(folder, chance, signal.SIGSTOP),
    "redis": the_redis,
    "ray-nothing": lambda folder, chance: ray(folder, chance, "ray-nothing"),
    "ray-replica": lambda folder, chance: ray(folder, chance, "ray-replica"),
    "ray-node": lambda folder, chance: ray(folder, chance, "ray-node"),
    "ray-frozen": lambda folder, chance: ray(folder, chance, "ray-frozen"),
    "ray-cut": lambda folder, chance: ray(folder, chance, "ray-cut"),
    "ray-head": lambda folder, chance: ray(folder, chance, "ray-head"),
}

"""A Ray cluster of a head and nodes with addresses of their own, on loopback, as separate raylets."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.support.environment import clean_environment
from tests.servers.redis_server import redis
from tests.servers.running import closed_port

HEAD, NODES, FRONT = "127.0.0.2", ("127.0.0.3", "127.0.0.4"), "127.0.0.5"
"""Addresses. Not 127.0.0.1, which Ray replaces by the machine's own."""


class Node:
    """A head or a node of a Ray cluster, with an address and a folder of its own."""

    def __init__(
        self, ip: str, head: "Node | None", token: str, folder: Path, *, cpus: int = 4, store: str = ""
    ) -> None:
        """head: that of the cluster; None: this is the head. store: address of the Redis, with `token` as its
        password, in which a head keeps its state; empty: in its memory."""
        self.ip = ip
        self.folder = folder / ip.rpartition(".")[2]  # short: it is a part of the names of sockets
        self.address: str = head.address if head else f"{ip}:{closed_port()}"
        variables = {
            "PYTHONUNBUFFERED": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        }  # fmt: skip
        if head:
            role = [f"--address={self.address}"]
            variables["RAY_gcs_rpc_server_reconnect_timeout_s"] = "600"
        else:
            role = ["--head", f"--port={self.address.rpartition(':')[2]}", "--include-dashboard=false"]
        if store:
            role.append(f"--redis-password={token}")
            variables["RAY_REDIS_ADDRESS"] = store
        self._command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--node-ip-address={ip}",
            f"--temp-dir={self.folder}", f"--num-cpus={cpus}", "--object-store-memory=100000000", *role,
        ]  # fmt: skip
        self._environment = {**clean_environment(), **variables}
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(self._command, env=self._environment, stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdout is not None
        if not any(b"Ray runtime started" in line for line in process.stdout):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise RuntimeError(f"the Ray node {self.ip} did not start; its messages are above")
        threading.Thread(target=process.stdout.read, daemon=True).start()  # a full pipe would stop it
        return process

    def all(self) -> list[psutil.Process]:
        """Return its processes, with those of its replicas."""
        with contextlib.suppress(psutil.NoSuchProcess):
            this = psutil.Process(self.process.pid)
            return [*this.children(recursive=True), this]
        return []

    def send(self, number: int) -> None:
        for one in self.all():
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(number)

    def restart(self) -> None:
        """Kill it and start it again; if that fails, because the machine is busy, again, as a supervisor does."""
        self.send(signal.SIGKILL)
        self.process.wait()
        for attempts_left in (2, 1, 0):
            (self.folder / "ray_current_cluster").unlink(missing_ok=True)  # a head refuses to start beside it
            try:
                self.process = self._start()
                break
            except RuntimeError:
                if not attempts_left:
                    raise

    def end(self) -> None:
        self.send(signal.SIGCONT)
        self.send(signal.SIGKILL)
        self.process.wait()


@dataclass(frozen=True, slots=True)
class Nodes:
    """A running cluster."""

    head: Node
    """Without models."""
    workers: list[Node]
    """Nodes for models."""
    front: Node
    """The node of the service: one without models, or the head."""
    settings: dict[str, str]
    """Settings of a service that uses them."""


@contextmanager
def cluster(*, workers: int = len(NODES), durable: bool = False) -> Iterator[Nodes]:
    """Run a head and some nodes for models. durable: the head keeps its state in a Redis, and the service has a node
    of its own."""
    token = os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(16)  # Ray reads it once a process
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)))
        store = ""
        if durable:
            port = closed_port()
            stack.enter_context(redis(folder, port, "--requirepass", token))
            store = f"127.0.0.1:{port}"

        def started(ip: str, head: Node | None = None, *, cpus: int = 4) -> Node:
            node = Node(ip, head, token, folder, cpus=cpus, store="" if head else store)
            stack.callback(node.end)
            return node

        head = started(HEAD, cpus=0)
        nodes = [started(ip, head) for ip in NODES[:workers]]
        front = started(FRONT, head, cpus=0) if durable else head
        there = {"RAY_ADDRESS": head.address, "RAY_AUTH_TOKEN": token, "RAY_TEMP_DIR": str(front.folder)}
        yield Nodes(head, nodes, front, {"MODEL_HOST": "ray", **there})

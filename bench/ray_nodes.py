"""A Ray cluster of a head and nodes with addresses of their own, on loopback, as separate raylets."""

import contextlib
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from pipeline.support.environment import clean_environment
from tests.servers.running import closed_port

NODES = ("127.0.0.2", "127.0.0.3")


class Node:
    """A head or a node of a Ray cluster, with an address of its own."""

    def __init__(self, ip: str, address: str | None, token: str, folder: Path) -> None:
        """address: that of the head; None: this is the head."""
        self.ip = ip
        self._token = token
        self._folder = folder
        self.address = address or f"{ip}:{closed_port()}"
        self._head = address is None
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        role = [f"--address={self.address}", "--num-cpus=4"]
        if self._head:
            port = self.address.rpartition(":")[2]
            role = [
                "--head",
                f"--port={port}",
                "--num-cpus=0",
                "--include-dashboard=false",
                f"--temp-dir={self._folder}",
            ]
        environment = clean_environment(
            PYTHONUNBUFFERED="1", RAY_USAGE_STATS_ENABLED="0", RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="0",
            RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=self._token, RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD="0",
        )  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--node-ip-address={self.ip}",
             "--object-store-memory=100000000", *role],
            env=environment, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        if not any(b"Ray runtime started" in line for line in process.stdout):
            process.kill()
            process.wait()
            raise RuntimeError(f"the Ray node {self.ip} did not start; its messages are above")
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
        self.send(signal.SIGKILL)
        self.process.wait()
        (self._folder / "ray_current_cluster").unlink(missing_ok=True)  # a head refuses to start beside it
        self.process = self._start()

    def end(self) -> None:
        self.send(signal.SIGCONT)
        self.send(signal.SIGKILL)
        self.process.wait()


@contextmanager
def cluster() -> Iterator[tuple[Node, list[Node], dict[str, str]]]:
    """Run a head without models and two nodes; yield them, and the settings of a service that uses them."""
    token = secrets.token_hex(16)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)))
        head = Node("127.0.0.1", None, token, folder)
        stack.callback(head.end)
        nodes = []
        for ip in NODES:
            nodes.append(Node(ip, head.address, token, folder))
            stack.callback(nodes[-1].end)
        yield head, nodes, {"MODEL_HOST": "ray", "RAY_ADDRESS": head.address, "RAY_AUTH_TOKEN": token}

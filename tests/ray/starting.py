"""Real Ray clusters on this machine, and the mark of tests that need them."""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import pytest

from pipeline.support.environment import clean_environment
from tests.servers.running import closed_port

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra `ray`")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster."""

    address: str
    pid: int

    def models(self) -> set[int]:
        """Return the processes of its models."""
        processes = psutil.Process(self.pid).children(recursive=True)
        return {one.pid for one in processes if "pipeline.workers.child" in one.cmdline()}


@contextmanager
def started(*, gpus: int = 0, **environment: str) -> Iterator[Cluster]:
    """Run a cluster of one node with these variables, as an operator starts it. gpus: what the node says it has."""
    port = closed_port()
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}",
            "--node-ip-address=127.0.0.1", "--num-cpus=4", f"--num-gpus={gpus}", "--object-store-memory=134217728",
            "--include-dashboard=false", f"--temp-dir={folder}",
        ]  # fmt: skip
        own = {
            **clean_environment(
                PYTHONUNBUFFERED="1", RAY_USAGE_STATS_ENABLED="0", RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="0"
            ),
            **environment,
        }
        process = subprocess.Popen(command, env=own, stdout=subprocess.PIPE, start_new_session=True)
        try:
            assert process.stdout is not None
            assert any(b"Ray runtime started" in line for line in process.stdout)
            yield Cluster(f"127.0.0.1:{port}", process.pid)
        finally:
            process.terminate()  # ends all processes of this cluster, and no others
            process.wait(60)

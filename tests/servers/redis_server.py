"""A Redis server for one test."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.running import wait_for_port

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None or os.environ.get("PARLEY_NO_REDIS") == "1",
    reason="Redis is not installed (Debian: redis-server; `make services`), or PARLEY_NO_REDIS=1",
)


@contextmanager
def redis(folder: Path, port: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield process
    finally:
        process.send_signal(18)  # SIGCONT, if the test stopped it
        process.kill()
        process.wait()

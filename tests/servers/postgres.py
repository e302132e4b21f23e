"""A PostgreSQL server for the tests: Debian's package, in a temporary folder, on a free port."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.servers.running import closed_port
from tests.waiting import left_of

START_S = 60.0


def binaries() -> Path | None:
    """The folder of the newest installed version, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    elsewhere = shutil.which("initdb")
    return Path(elsewhere).parent if elsewhere else None


@dataclass
class Postgres:
    """A running server."""

    folder: Path
    binaries: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def database(self) -> str:
        """The address of a new, empty database."""
        name = f"test_{secrets.token_hex(6)}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "parley", name)
        return f"postgresql://parley@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        command = [str(self.binaries / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.folder}"]
        command += ["-c", "fsync=off"]  # durability does not matter: the machine itself does not fail
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(_as_other(command), stdout=log, stderr=log, cwd="/")
        until = time.monotonic() + START_S
        ready = [str(self.binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill the postmaster and all its processes, as a power cut would."""
        assert self.process is not None
        postmaster = psutil.Process(self.process.pid)
        postmaster.suspend()  # otherwise it would start others in place of those that are killed
        family = [*postmaster.children(recursive=True), postmaster]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(20)
        assert not left_of(family, 20)  # the next server needs their shared memory

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)  # at once: its data is no longer needed
            self.process.wait(30)

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run(_as_other([str(self.binaries / name), *arguments]), check=True, cwd="/", capture_output=True)


def _as_other(command: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command] if os.geteuid() == 0 else command


@contextmanager
def running() -> Iterator[Postgres]:
    """A server, with its data in a temporary folder that is removed with it."""
    programs = binaries()
    assert programs is not None
    own = Path(tempfile.mkdtemp(prefix="pg-"))  # socket paths must be short, and the server's user must have access
    if os.geteuid() == 0:
        os.chown(own, 65534, 65534)
    server = Postgres(own, programs, closed_port())
    try:
        server._run("initdb", "-D", str(own / "data"), "-U", "parley", "-A", "trust", "-E", "UTF8", "--no-sync")
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(own, ignore_errors=True)

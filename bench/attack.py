"""Attacks, one after the other, each on a fresh service while another user talks to it.

    python -m bench.attack [--only NAME …] [--seconds 20] [--quiet 10]

Another user sends a spoken question as soon as the last reply is complete: first without an attack, then during it. The
attacker is a separate process, with the least permission that the attack needs; at doors without keys it is a stranger
from another address, because callers on the same machine have no limits of their own. All run in a network of their
own. Printed for each attack: the user's p95 from the question to the complete reply, quiet and attacked, and their
ratio; the CPU time of the event loop during the attack; the memory of the service and its processes before the attack,
at its peak, and after the attacker has left; the time from SIGTERM to the end in a second attack, minus the drain; and
the responses to the attacker. Targets: ratio at most 1.5, memory back within 50 MB, ended 2 s after the drain.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path

import httpx
import numpy as np
import psutil
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect as sync_connect

from bench.attacker import ANNA, KEYS, TURN_S, Ports
from bench.attackers import ATTACKS
from bench.live_attackers import translated_speech
from bench.openai_attackers import TEXT
from bench.rough_network import enter_namespace
from bench.rows import Rows
from tests.jobs.test_endpoints import HEARS
from tests.questions import sample
from tests.real_models import real_whisper
from tests.server_process import ServerProcess, constants, serving
from tests.servers.running import closed_port, wait_for_port
from tests.telephone.twilio import TOKEN

AS_ANNA = {"Authorization": f"Bearer {ANNA}"}
STRANGER = "10.99.0.1"
"""An address of this machine from which connections to it come."""
WARMING = 4
"""Number of texts that are spoken at a time before the measurement: more than Whisper has copies here."""
BACK_S = 30.0
"""Seconds for the memory to return to normal after the attack."""
DRAIN_S = 2.0
MAX_RATIO, MAX_KEPT_MB, MAX_END_S = 1.5, 50.0, 2.0
WITH_MODEL = ("unread_translations", "chats", "client_secrets", "insights")
"""Attacks for which the service has a language model, which replies at once."""


def memory_mb(server: ServerProcess) -> float:
    """Resident memory of the service and its processes."""
    process = psutil.Process(server.process.pid)
    total = 0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += one.memory_info().rss
    return total / 2**20


def loop_s(server: ServerProcess) -> float:
    """CPU time of the event loop's thread, which other programs on the machine change less than the turns' times."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for thread in psutil.Process(server.process.pid).threads():
            if thread.id == server.process.pid:
                return float(thread.user_time + thread.system_time)
    return 0.0


def turns(server: ServerProcess, until: Callable[[], bool], question: bytes) -> list[float]:
    """Seconds of each turn of the other user, all on one connection. A refused turn counts as TURN_S, and the next one
    opens a new connection."""
    taken: list[float] = []
    url = f"ws://127.0.0.1:{server.port}/ws?language=en"
    while not until():
        try:
            with sync_connect(url, additional_headers=AS_ANNA, max_size=None, open_timeout=TURN_S) as connection:
                while not until():
                    began = time.monotonic()
                    connection.send(question)
                    first = connection.recv(timeout=TURN_S)
                    if "transcription" not in json.loads(first):
                        raise WebSocketException(first)
                    connection.recv(timeout=TURN_S)
                    taken.append(time.monotonic() - began)
        except (OSError, TimeoutError, WebSocketException):
            taken.append(TURN_S)
            time.sleep(0.2)
    return taken


def speak(server: ServerProcess) -> httpx.Response:
    """Let the other user have a text spoken, with the times of its words."""
    spoken = {"input": TEXT[: len(TEXT) // 4], "voice": "af_heart", "stream": False}
    return httpx.post(f"{server.url}/dev/captioned_speech", json=spoken, headers=AS_ANNA, timeout=TURN_S)


@contextlib.contextmanager
def language_model() -> Iterator[str]:
    """Run a language model that replies at once, in a process of its own; yield its URL."""
    port = closed_port()
    command = [sys.executable, "-m", "tests.servers.ollama", "--port", str(port), "--tokens-per-second", "10000"]
    with subprocess.Popen(command) as process:
        try:
            wait_for_port(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@contextlib.contextmanager
def attacking(name: str, ports: Ports) -> Iterator[subprocess.Popen[str]]:
    """Run the attacker's process during the block. It has a low priority: on another machine it would not use our
    processor.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.attackers", name, *map(str, astuple(ports))],
        stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.nice(19),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        process.stdout.readline()  # the attack begins
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def measure(name: str, seconds: float, quiet_s: float, rows: Rows) -> bool:
    """Run one attack; return whether all targets were met."""
    question, wyoming, audiosocket = sample("hello"), closed_port(), closed_port()
    settings = {
        # An interpreter of its own, started as users start it, with the copies of the model that it then has.
        "PYTHONUNBUFFERED": "1", **constants({}, by_default=False), **HEARS, **real_whisper(), "STT_REPLICAS": "0",
        "API_KEYS": KEYS, "DRAIN_SECONDS": str(DRAIN_S), "TWILIO_AUTH_TOKEN": TOKEN,
        "WYOMING_URI": f"tcp://0.0.0.0:{wyoming}", "AUDIOSOCKET_ADDRESS": f"0.0.0.0:{audiosocket}",
        "AUDIOSOCKET_ALLOWED": f"{STRANGER}/32",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        if name in WITH_MODEL:
            settings |= {"LLM_ENGINE": "ollama", "LLAMA_ENDPOINT": stack.enter_context(language_model())}
        server = stack.enter_context(serving(Path(folder), **settings))
        ports = Ports(STRANGER, server.port, wyoming, audiosocket)
        wait_for_port(wyoming)

        def after(length: float) -> Callable[[], bool]:
            end = time.monotonic() + length
            return lambda: time.monotonic() > end

        # The first session of a kind imports what it needs, once; the first text that is spoken loads the detector of
        # languages, which takes 70 MB; the first utterances on each copy of Whisper take 15 to 30 MB.
        with ThreadPoolExecutor(WARMING) as pool:
            for response in pool.map(speak, [server] * WARMING):
                response.raise_for_status()
        url = f"ws://127.0.0.1:{server.port}/v1/realtime"
        with sync_connect(url, additional_headers=AS_ANNA, open_timeout=TURN_S) as realtime:
            realtime.recv(timeout=TURN_S)
        if name in WITH_MODEL:
            url += "/translations?model=parley"
            with sync_connect(url, additional_headers=AS_ANNA, max_size=None, open_timeout=TURN_S) as translation:
                for event in translated_speech():
                    translation.send(event)
                translation.send(json.dumps({"type": "session.close"}))
                while json.loads(translation.recv(timeout=TURN_S))["type"] != "session.closed":
                    pass
        turns(server, after(5), question)
        over, peak = threading.Event(), [0.0]

        def watch() -> None:
            while not over.wait(0.25):
                peak[0] = max(peak[0], memory_mb(server))

        watching = threading.Thread(target=watch)
        watching.start()  # during both, because it takes time from the user's thread
        calm = np.percentile(turns(server, after(quiet_s), question), 95)
        with attacking(name, ports) as attacker:
            before = memory_mb(server)  # after its preparations, for which models may be loaded
            peak[0] = before
            began, loop = time.monotonic(), loop_s(server)
            attacked = np.percentile(turns(server, after(seconds), question), 95)
            busy = (loop_s(server) - loop) / (time.monotonic() - began)
        told = attacker.stdout.read().strip() if attacker.stdout else ""
        over.set()
        watching.join()
        back = after(BACK_S)
        while (kept := memory_mb(server) - before) > MAX_KEPT_MB and not back():
            time.sleep(0.5)
        with attacking(name, ports):
            time.sleep(3)
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.process.wait(60)
            ended = time.monotonic() - began - DRAIN_S
            if server.process.poll() is None:
                server.process.kill()
                stack.pop_all()
            if "Traceback" in server.text:
                print(server.text[server.text.index("Traceback") - 200 :][:5000], file=sys.stderr)
                stack.pop_all()
        met = bool(attacked / calm <= MAX_RATIO and kept <= MAX_KEPT_MB and ended <= MAX_END_S)
        rows.add(
            name, f"{calm:.2f} s", f"{attacked:.2f} s", f"{attacked / calm:.2f}", f"{busy:.0%}", f"{before:.0f}",
            f"{peak[0]:.0f}", f"{kept:+.0f}", f"{max(0.0, ended):.1f} s", "met" if met else "MISSED", told,
        )  # fmt: skip
        return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--quiet", type=float, default=10.0)
    options = parser.parse_args()
    enter_namespace()
    for command in ("ip link set lo up", f"ip addr add {STRANGER}/32 dev lo"):
        subprocess.run(command.split(), check=True)
    rows = Rows(
        "attack",
        "quiet p95",
        "attacked",
        "ratio",
        "event loop",
        "MB before",
        "peak",
        "kept",
        "end",
        "targets",
        "responses to the attacker",
    )
    missed = [name for name in options.only if not measure(name, options.seconds, options.quiet, rows)]
    print(f"{len(options.only) - len(missed)} of {len(options.only)} within the targets")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()

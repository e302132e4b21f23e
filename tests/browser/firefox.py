"""Firefox, headless, through its own WebDriver BiDi: it needs no driver."""

import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.browser.conftest import DEADLINE_MS
from tests.servers.running import closed_port, wait_for_port

PREFERENCES = {"datareporting.policy.dataSubmissionEnabled": False}


def firefox_path() -> str | None:
    """Path of Firefox, if it is installed."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


class Firefox:
    """A tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._call("session.new", capabilities={})
        [tab] = self._call("browsingContext.getTree", maxDepth=0)["contexts"]
        self._tab: str = tab["context"]

    def open(self, url: str) -> None:
        """Open a page, and wait until it is loaded."""
        self._call("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def evaluate(self, function: str, *arguments: str) -> Any:
        """Call a JavaScript function, and return its result, awaited."""
        made = self._call(
            "script.callFunction", target={"context": self._tab}, awaitPromise=True, userActivation=True,
            functionDeclaration=f"async (...given) => JSON.stringify((await ({function})(...given)) ?? null)",
            arguments=[{"type": "string", "value": argument} for argument in arguments],
        )  # fmt: skip
        assert made["type"] == "success", made
        return json.loads(made["result"]["value"])

    def until(self, function: str) -> None:
        """Wait until a JavaScript function returns true."""
        deadline = time.monotonic() + DEADLINE_MS / 1000
        while not self.evaluate(function):
            assert time.monotonic() < deadline, function
            time.sleep(0.1)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        id = next(self._ids)
        self._socket.send(json.dumps({"id": id, "method": method, "params": parameters}))
        while True:
            answer: dict[str, Any] = json.loads(self._socket.recv(timeout=DEADLINE_MS / 1000))
            if answer.get("id") == id:
                assert answer["type"] == "success", answer
                result: dict[str, Any] = answer["result"]
                return result


@contextmanager
def firefox(folder: Path) -> Iterator[Firefox]:
    """Run Firefox with a new profile in a folder."""
    path, port = firefox_path(), closed_port()
    assert path is not None
    lines = [f'user_pref("{name}", {json.dumps(value)});\n' for name, value in PREFERENCES.items()]
    (folder / "user.js").write_text("".join(lines))
    command = [path, "--headless", "--no-remote", "--profile", str(folder), "--remote-debugging-port", str(port)]
    environment = {**os.environ, "HOME": str(folder)}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            wait_for_port(port)
            with _connected(port) as socket:
                yield Firefox(socket)
        finally:
            process.terminate()
            process.wait(30)


def _connected(port: int) -> ClientConnection:
    """Connect to a Firefox that listens; while it still starts, it refuses connections."""
    deadline = time.monotonic() + DEADLINE_MS / 1000
    while True:
        try:
            return connect(f"ws://127.0.0.1:{port}/session", compression=None, max_size=None, open_timeout=60)
        except InvalidStatus:
            assert time.monotonic() < deadline
            time.sleep(0.2)

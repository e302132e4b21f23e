"""The base of all attackers of `bench.attack`: keys, connections, and the count of the responses."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

TURN_S = 60.0
"""A turn that takes longer counts as this many seconds."""
KEYS = "anna:talk+transcribe:anna-0123456789abcdefghij,mallory:talk+transcribe:mallory-0123456789abcdefghij"
ANNA, MALLORY = (part.rsplit(":", 1)[1] for part in KEYS.split(","))
MESSAGES = (OSError, TimeoutError, WebSocketException, httpx.HTTPError, asyncio.IncompleteReadError)
"""Errors that a refused attacker meets."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The service's ports, and the address at which strangers reach those without keys."""

    host: str
    http: int
    wyoming: int
    audiosocket: int


class Attacker:
    """The attacker's state: the service's ports, and the responses so far."""

    def __init__(self, ports: Ports) -> None:
        self.ports = ports
        self.told: Counter[str] = Counter()
        self.jobs: list[str] = []
        """Jobs with transcripts, for the attacks on them."""

    @property
    def port(self) -> int:
        return self.ports.http

    def socket(self, path: str, key: str = MALLORY) -> connect:
        headers = {"Authorization": f"Bearer {key}"}
        return connect(
            f"ws://127.0.0.1:{self.port}{path}", additional_headers=headers, max_size=None, compression=None,
            open_timeout=TURN_S,
        )  # fmt: skip

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", headers={"Authorization": f"Bearer {MALLORY}"}, timeout=TURN_S
        )

    async def again(self, attempt: Callable[[int], Awaitable[str]], many: int) -> None:
        """Run `many` attackers at a time, each in a loop. An attempt returns the response that it got."""

        async def one(number: int) -> None:
            while True:
                try:
                    self.told[await attempt(number)] += 1
                except MESSAGES as error:
                    self.told[type(error).__name__] += 1
                    await asyncio.sleep(0.2)

        await asyncio.gather(*(one(number) for number in range(many)))


def code_of(message: str | bytes) -> str:
    """The error code in a JSON response, or its first field."""
    found = json.loads(message)
    error = found.get("error") or (found.get("response") or {}).get("error")
    return str(error.get("code") if isinstance(error, dict) else next(iter(found)))

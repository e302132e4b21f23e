"""A client of a live conversation, `/ws?stream=1`, for tests."""

import json
from typing import Any, Self

import numpy as np

from pipeline.audio.clip import Clip
from tests.questions import SUM, spoken
from tests.server_process import TURN_S, Service

ENDS = ("turn_completed", "turn_interrupted", "turn_failed")


class Live:
    """A client that sends audio and commands and keeps what it receives."""

    def __init__(self, server: Service, query: str = "rate=16000", **options: Any) -> None:
        self.connection = server.connect(f"?stream=1&{query}", **options)
        self.events: list[dict[str, Any]] = []
        self.sound: list[bytes] = []
        self.order: list[str] = []
        """Types of the events, and "sound" for binary messages; each run of one type once."""

    def __enter__(self) -> Self:
        self.started = self.until("session_started")
        return self

    def __exit__(self, *error: object) -> None:
        self.connection.close()

    def receive(self) -> dict[str, Any] | None:
        """Receive the next message; return an event, or None for audio."""
        message = self.connection.recv(timeout=TURN_S)
        event = None if isinstance(message, bytes) else json.loads(message)
        if isinstance(message, bytes):
            self.sound.append(message)
        else:
            assert isinstance(event, dict)
            self.events.append(event)
        name = event["type"] if event else "sound"
        if not self.order or self.order[-1] != name:
            self.order.append(name)
        return event

    def until(self, *types: str) -> dict[str, Any]:
        """Return the next event of one of these types."""
        while True:
            event = self.receive()
            if event is not None and event["type"] in types:
                return event

    def tell(self, type: str, **fields: Any) -> None:
        self.connection.send(json.dumps({"type": type, **fields}))

    def speak(self, clip: Clip, silence_s: float = 1.5, rate_hz: int = 16_000, chunk_ms: int = 40) -> None:
        """Send speech faster than real time: the service counts samples, not seconds."""
        pause = Clip(np.zeros(int(silence_s * rate_hz), np.float32), rate_hz)
        pcm = Clip.join([clip, pause], rate_hz).pcm16()
        step = rate_hz * chunk_ms // 1000 * 2
        for start in range(0, len(pcm), step):
            self.connection.send(pcm[start : start + step])

    @property
    def sound_ms(self) -> float:
        """Duration of the received audio in ms."""
        return 1000 * self.speech.seconds

    @property
    def speech(self) -> Clip:
        """The received audio."""
        return Clip.from_pcm16(b"".join(self.sound), self.of("speech_started")[-1]["rate_hz"])

    def of(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == type]

    def ask(self, text: str = SUM) -> dict[str, Any]:
        """Ask a spoken question and wait for the end of the turn."""
        self.speak(spoken(text))
        return self.until(*ENDS)

"""The replies of a Twilio call. Twilio plays them, and reports each mark once the sound before it was played."""

import base64
from collections import deque
from dataclasses import dataclass

from pipeline.audio.clip import Clip, Samples
from pipeline.audio.g711 import RATE_HZ, to_mulaw
from pipeline.audio.stream_resampler import RateConverter
from pipeline.support.channel import Channel
from pipeline.support.json_types import Json, JsonObject

OUTBOX = 1024
"""Messages that can wait for a slow connection before its call ends: 20 s of sound."""
MAX_UNPLAYED = 256
"""Chunks, of 40 ms, whose marks are awaited. More are not ahead of real time: their marks were lost."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Sound that was sent."""

    mark: str
    payload: str
    ends_ms: float
    """Its end within the reply."""


class TwilioLine:
    """A `Line`: its messages are in `outbox`."""

    def __init__(self, stream: str) -> None:
        """stream: Twilio's ID of the stream."""
        self.outbox: Channel[JsonObject] = Channel(OUTBOX)
        """Messages to Twilio, in order; ends with the conversation, by its reason."""
        self.played_ms = 0.0
        self._stream = stream
        self._converter = RateConverter(RATE_HZ)
        self._sent_ms = 0.0
        self._marks = 0
        self._unplayed: deque[_Chunk] = deque(maxlen=MAX_UNPLAYED)
        """Chunks that Twilio has, in order."""
        self._kept: list[_Chunk] = []
        """Chunks that Twilio has dropped while the reply is held."""

    def begin(self) -> None:
        self._unplayed.clear()
        self._sent_ms = self.played_ms = 0.0

    def play(self, clip: Clip) -> bool:
        self._sent_ms += clip.seconds * 1000
        return self._send(_payload(self._converter.take(clip)), self._sent_ms)

    def hold(self) -> None:
        if self._unplayed:
            self._tell("clear")
            self._kept += self._unplayed
            self._unplayed.clear()  # Twilio now reports their marks as well

    def resume(self) -> None:
        kept, self._kept = self._kept, []
        for chunk in kept:
            self._send(chunk.payload, chunk.ends_ms)

    def cut(self) -> None:
        self.hold()
        self._kept = []
        self._converter.end()

    def end(self) -> None:
        self._send(_payload(self._converter.end()), self._sent_ms)

    def close(self, error: BaseException | None = None) -> None:
        self.outbox.close(error)

    def marked(self, mark: str) -> bool:
        """Process a mark that Twilio has sent back; return whether `played_ms` has changed."""
        if not any(chunk.mark == mark for chunk in self._unplayed):
            return False
        while (chunk := self._unplayed.popleft()).mark != mark:
            pass
        self.played_ms = chunk.ends_ms
        return True

    def _send(self, payload: str, ends_ms: float) -> bool:
        self._marks += 1
        chunk = _Chunk(str(self._marks), payload, ends_ms)
        self._unplayed.append(chunk)
        if payload and not self._tell("media", media={"payload": payload}):
            return False
        return self._tell("mark", mark={"name": chunk.mark})

    def _tell(self, event: str, **fields: Json) -> bool:
        return self.outbox.offer({"event": event, "streamSid": self._stream, **fields})


def _payload(samples: Samples) -> str:
    return base64.b64encode(to_mulaw(samples)).decode()

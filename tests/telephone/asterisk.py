"""Asterisk as a client of the tests: the application AudioSocket(), at 8 kHz or another rate."""

import asyncio
import struct
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np

from pipeline.audio.clip import Clip, Samples
from tests.telephone.phone import FRAME, LOUD, RATE_HZ, Phone

KINDS = {8_000: 0x10, 12_000: 0x11, 16_000: 0x12, 24_000: 0x13, 48_000: 0x16}
CALL = uuid.UUID("40325ec2-5efd-4bd3-805f-53576e581d13")


def frame(kind: int, payload: bytes = b"") -> bytes:
    """Return the bytes of a frame."""
    return struct.pack(">BH", kind, len(payload)) + payload


class AsteriskPhone(Phone):
    """One call over AudioSocket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate_hz: int) -> None:
        super().__init__()
        self.reader, self.writer = reader, writer
        self.kinds: set[int] = set()
        """Kinds of the frames received."""
        self.arrived: list[float] = []
        """Times at which frames of sound have arrived."""
        self.loud_at = 0.0
        """Time at which the last frame that is not silent has arrived."""
        self.loud_until = 0.0
        """Time at which its last loud sample is heard."""
        self._rate_hz = rate_hz
        self._incoming: list[Samples] = []

    async def send(self, samples: Samples) -> None:
        self.writer.write(frame(KINDS[self._rate_hz], Clip(samples, RATE_HZ).at(self._rate_hz).pcm16()))
        await self.writer.drain()

    async def tick(self) -> Samples:
        # Like Asterisk: what has come is played at once.
        incoming, self._incoming = self._incoming, []
        return np.concatenate(incoming) if incoming else np.zeros(FRAME, np.float32)

    async def press(self, digits: str) -> None:
        for digit in digits:
            self.writer.write(frame(0x03, digit.encode()))

    async def hang_up(self) -> None:
        self.writer.write(frame(0x00))

    async def listen(self) -> None:
        """Receive frames until the service hangs up."""
        try:
            while True:
                kind, size = struct.unpack(">BH", await self.reader.readexactly(3))
                payload = await self.reader.readexactly(size)
                self.kinds.add(kind)
                if kind == 0x00:
                    break
                if self._rate_hz == RATE_HZ or kind != KINDS[RATE_HZ]:  # the service has not heard our rate before
                    assert kind == KINDS[self._rate_hz]
                    assert len(payload) == self._rate_hz // 50 * 2
                    now, sound = asyncio.get_running_loop().time(), Clip.from_pcm16(payload, self._rate_hz)
                    self.arrived.append(now)
                    if len(loud := np.flatnonzero(np.abs(sound.samples) > LOUD)):
                        self.loud_at, self.loud_until = now, now + (loud[-1] + 1) / self._rate_hz
                    self._incoming.append(sound.at(RATE_HZ).samples)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        self.over.set()


@asynccontextmanager
async def calling(port: int, rate_hz: int = RATE_HZ) -> AsyncIterator[AsteriskPhone]:
    """Hold a call."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    phone = AsteriskPhone(reader, writer, rate_hz)
    writer.write(frame(0x01, CALL.bytes))
    tasks = [asyncio.create_task(phone.listen()), asyncio.create_task(phone.run())]
    try:
        yield phone
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        writer.close()

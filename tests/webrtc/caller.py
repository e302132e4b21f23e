"""A WebRTC client for the tests, with `aiortc`: speaks a clip in real time, and keeps what it hears, and the events."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

import httpx
import numpy as np
import soxr
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import is_rtcp
from av import AudioFrame

from pipeline.audio.clip import Clip

RATE_HZ, FRAME = 48_000, 960
SOON_S = 60.0
"""Generous, because the machine can be busy."""
Delivery = Callable[[int, bytes], Iterable[bytes]]
"""A network: the number of a packet that is sent, from 1, and the packet → the packets that arrive now."""


class Mouth(MediaStreamTrack):
    """Sends what was said, and silence otherwise."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._sound = np.zeros(0, np.float32)
        self._frames = 0
        self._begun = 0.0
        self.silent = asyncio.Event()

    def say(self, clip: Clip) -> None:
        self._sound = np.concatenate([self._sound, clip.at(RATE_HZ).samples])
        self.silent.clear()

    async def recv(self) -> AudioFrame:
        now = asyncio.get_running_loop().time()
        self._begun = self._begun or now
        await asyncio.sleep(max(0.0, self._begun + self._frames * 0.02 - now))
        part, self._sound = self._sound[:FRAME], self._sound[FRAME:]
        if not len(part):
            self.silent.set()
        pcm = (np.pad(part, (0, FRAME - len(part))) * 32_767).astype(np.int16)
        frame = AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = RATE_HZ, Fraction(1, RATE_HZ), self._frames * FRAME
        self._frames += 1
        return frame


class Caller:
    """One call of the client."""

    def __init__(self) -> None:
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.mouth = Mouth()
        self.peer.addTrack(self.mouth)
        self.channel = self.peer.createDataChannel("oai-events")
        self.events: list[dict[str, Any]] = []
        self.heard: list[np.ndarray[Any, Any]] = []
        self.location = ""
        self.headers = httpx.Headers()
        self._listening: asyncio.Task[None] | None = None
        self.ended = asyncio.Event()
        self.channel.on("message", self._take)
        self.channel.on("close", self.ended.set)
        self.peer.on("track", self._hear)

    def _take(self, text: str) -> None:
        self.events.append(json.loads(text))

    def _hear(self, track: MediaStreamTrack) -> None:
        async def listen() -> None:
            while True:
                try:
                    frame = await track.recv()
                except MediaStreamError:
                    return
                assert isinstance(frame, AudioFrame)
                self.heard.append(frame.to_ndarray().reshape(-1, len(frame.layout.channels)).mean(axis=1) / 32_768)

        self._listening = asyncio.create_task(listen())

    def send(self, **event: object) -> None:
        self.channel.send(json.dumps(event))

    def through(self, network: Delivery) -> None:
        """Send the packets of the sound, as they are on the wire, through this network."""
        [transceiver] = self.peer.getTransceivers()
        ice, numbers = transceiver.sender.transport.transport, itertools.count(1)
        send = ice._send

        async def deliver(data: bytes) -> None:
            sound = 128 <= data[0] < 192 and not is_rtcp(data)  # RFC 7983
            for packet in network(next(numbers), data) if sound else (data,):
                await send(packet)

        ice._send = deliver

    def sound(self) -> Clip:
        """Everything heard so far, at 16 kHz."""
        whole = np.concatenate(self.heard or [np.zeros(0)]).astype(np.float32)
        return Clip(np.asarray(soxr.resample(whole, RATE_HZ, 16_000), np.float32), 16_000)

    async def until(self, kind: str, *, after: int = 0, seconds: float = SOON_S) -> dict[str, Any]:
        """Wait for an event of this kind, from the given number on."""
        async with asyncio.timeout(seconds):
            while True:
                for event in self.events[after:]:
                    if event["type"] == kind:
                        return event
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        await self.peer.close()


CALLS = "/v1/realtime/calls"


async def _post(url: str, sdp: str, session: str | None, key: str = "", at: str = CALLS) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(timeout=SOON_S, headers=headers) as client:
        if session is None:
            return await client.post(f"{url}{at}", content=sdp, headers={"Content-Type": "application/sdp"})
        form: dict[str, Any] = {"sdp": (None, sdp, "application/sdp"), "session": (None, session)}
        return await client.post(f"{url}{at}", files=form)


async def offer() -> str:
    """Return a valid SDP offer, with addresses that do not respond."""
    caller = Caller()
    try:
        await caller.peer.setLocalDescription(await caller.peer.createOffer())
        return str(caller.peer.localDescription.sdp)
    finally:
        await caller.close()


async def offered(
    url: str, session: str | None, *, change: Callable[[str], str] = lambda sdp: sdp, key: str = "", at: str = CALLS
) -> httpx.Response:
    """Send an offer, changed, and return the response without connecting. at: the path."""
    return await _post(url, change(await offer()), session, key, at=at)


def without_addresses(sdp: str) -> str:
    """The offer of a browser that does not wait for its addresses."""
    lines = sdp.split("\r\n")
    return "\r\n".join(line for line in lines if not line.startswith(("a=candidate:", "a=end-of-candidates")))


@asynccontextmanager
async def calling(
    url: str,
    *,
    trickle: bool = False,
    session: dict[str, Any] | None = None,
    key: str = "",
    seconds: float = SOON_S,
) -> AsyncIterator[Caller]:
    """Open a call. trickle: see `without_addresses`. seconds: timeout for connecting."""
    caller = Caller()
    try:
        await caller.peer.setLocalDescription(await caller.peer.createOffer())
        sdp = caller.peer.localDescription.sdp
        answer = await _post(
            url, without_addresses(sdp) if trickle else sdp, None if session is None else json.dumps(session), key
        )
        assert answer.status_code == 201, answer.text
        assert answer.headers["Content-Type"].startswith("application/sdp")
        caller.location, caller.headers = answer.headers["Location"], answer.headers
        await caller.peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        await caller.until("session.created", seconds=seconds)
        yield caller
    finally:
        await caller.close()

"""Realtime over WebRTC against the WebSocket: python -m bench.webrtc [--turns 6] [--sessions 8]

The same question goes at the same time over both to one server process with scripted stages, through a network with
loss and jitter (`bench.rough_network`). "First audio" is the time from sending the user's last sample to receiving the
first packet with sound. "Stalls" are silences of more than 200 ms for a player that starts 100 ms after the first
sound: over TCP it waits for the sound that is late, over WebRTC it conceals what is lost, as browsers do.

"CPU" is the processor time of the server for a second of a session: questions and replies over each transport in turn,
without loss. "Sessions a process" would fill the one core that a process uses.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
import psutil
from aiortc.rtp import RtpPacket
from websockets.asyncio.client import connect

from bench.realtime import RATE_HZ, append
from bench.rough_network import THERE, Conditions, RoughNetwork, enter_namespace, rough_network
from bench.rows import Rows
from bench.scripted import FAST, process, serve
from bench.speaker import question
from pipeline.audio.clip import Clip
from pipeline.voices.catalogue import Voice
from tests.scripted import ScriptedTTS
from tests.webrtc.caller import Caller, calling

PORT = 8000
REPLY = "The heron stands quite still at the edge of the pond. It waits there for a small and careless fish."
ROUGH = (Conditions(0.0, 0.0), Conditions(0.0, 50.0), Conditions(0.02, 50.0), Conditions(0.05, 50.0))
BUFFER_S = 0.1
"""Sound that a player collects before it begins."""
STALL_S = 0.2
PACKET_S = 0.02
CHUNK_MS = 20
TURN_DETECTION = {"type": "server_vad", "silence_duration_ms": 500}
SESSION = {"type": "realtime", "audio": {"input": {"turn_detection": TURN_DETECTION}}}


class Tone(ScriptedTTS):
    """Speaks a tone, which Opus passes on."""

    async def speak(self, text: str, *, voice: Voice, language: str | None) -> AsyncGenerator[Clip, None]:
        at = 0
        async for clip in super().speak(text, voice=voice, language=language):
            wave = 0.3 * np.sin(2 * np.pi * 440 * (at + np.arange(len(clip.samples))) / clip.rate_hz)
            at += len(clip.samples)
            yield Clip(wave.astype(np.float32), clip.rate_hz)


@dataclass
class Heard:
    """The sound of one reply at its client."""

    asked: float = 0.0
    """Time of the user's last sample."""
    arrived: list[tuple[float, float]] = field(default_factory=list)
    """Time of arrival and position in the reply, in seconds, of each packet or message with sound."""
    length_s: float = 0.0
    stalls: list[float] = field(default_factory=list)

    @property
    def first_s(self) -> float:
        return self.arrived[0][0] - self.asked


class OverWebSocket:
    """A session over the WebSocket."""

    def __init__(self, host: str) -> None:
        self._url = f"ws://{host}:{PORT}/v1/realtime?model=any"

    async def __aenter__(self) -> "OverWebSocket":
        self._socket = await connect(self._url, compression=None, ping_interval=None, open_timeout=60)
        await self._socket.send(json.dumps({"type": "session.update", "session": SESSION}))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()

    async def ask(self, sound: Clip) -> Heard:
        """Ask a question in real time; return the reply."""
        heard, over = Heard(), asyncio.Event()

        async def listen() -> None:
            at = 0.0
            async for message in self._socket:
                told = json.loads(message)
                if told["type"] == "response.output_audio.delta":
                    heard.arrived.append((time.monotonic(), at))
                    at += len(told["delta"]) * 3 / 4 / 2 / RATE_HZ
                elif told["type"] == "response.done":
                    heard.length_s = at
                    over.set()
                    return

        listening = asyncio.create_task(listen())
        pcm, size = sound.at(RATE_HZ).pcm16(), RATE_HZ * CHUNK_MS // 1000 * 2
        due, sent = time.monotonic(), 0
        while not over.is_set():
            due += CHUNK_MS / 1000
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self._socket.send(append(pcm[sent : sent + size].ljust(size, b"\0")))
            sent += size
            if not heard.asked and sent >= len(pcm):
                heard.asked = time.monotonic()
        await listening
        heard.stalls = self._stalls(heard)
        return heard

    @staticmethod
    def _stalls(heard: Heard) -> list[float]:
        """A player that waits: each late message delays all that follow."""
        begin = heard.arrived[0][0] + BUFFER_S
        stalls = []
        for arrived, at in heard.arrived:
            if (late := arrived - (begin + at)) > 0:
                stalls.append(late)
                begin += late
        return stalls


class OverCall:
    """A session over WebRTC."""

    def __init__(self, host: str) -> None:
        self._open = calling(f"http://{host}:{PORT}", session=SESSION, seconds=60)
        self._packets: list[tuple[float, int, bytes]] = []

    async def __aenter__(self) -> "OverCall":
        self._caller: Caller = await self._open.__aenter__()
        [transceiver] = self._caller.peer.getTransceivers()

        async def take(packet: RtpPacket, arrival_time_ms: int) -> None:
            self._packets.append((time.monotonic(), packet.timestamp, packet.payload))

        transceiver.receiver._handle_rtp_packet = take  # type: ignore[method-assign]
        return self

    async def __aexit__(self, *given: Any) -> None:
        await self._open.__aexit__(*given)

    async def ask(self, sound: Clip) -> Heard:
        """Ask a question in real time; return the reply."""
        self._packets.clear()
        before = len(self._caller.events)
        self._caller.mouth.say(sound)
        await self._caller.mouth.silent.wait()
        heard = Heard(asked=time.monotonic())
        await self._caller.until("response.done", after=before, seconds=120)
        await asyncio.sleep(0.3)  # the last packets
        decoder, begun = av.CodecContext.create("libopus", "r"), None
        for arrived, timestamp, payload in sorted(self._packets, key=lambda one: one[1]):
            frames = decoder.decode(av.Packet(payload))
            full = 32_768 if "s16" in frames[0].format.name else 1
            if arrived > heard.asked and any(np.abs(frame.to_ndarray()).max() > 0.02 * full for frame in frames):
                begun = timestamp if begun is None else begun
                heard.arrived.append((arrived, (timestamp - begun) / 48_000))
        heard.length_s = heard.arrived[-1][1] + PACKET_S
        heard.stalls = self._stalls(heard)
        return heard

    @staticmethod
    def _stalls(heard: Heard) -> list[float]:
        """A player that goes on: it conceals a packet that is lost or has been overtaken, and waits only when it has no
        later one."""
        arrived = {round(at / PACKET_S): when for when, at in heard.arrived}
        at, gap, stalls = heard.arrived[0][0] + BUFFER_S, 0.0, []
        for number in range(round(heard.length_s / PACKET_S)):
            later = [when for other, when in arrived.items() if other >= number]
            if (wait := min(later) - at) > 0:
                gap, at = gap + wait, at + wait
            if arrived.get(number, at + 1) <= at:
                stalls.append(gap)
                gap = 0.0
            else:
                gap += PACKET_S
            at += PACKET_S
        return stalls


Session = OverWebSocket | OverCall
TRANSPORTS: dict[str, type[OverWebSocket] | type[OverCall]] = {"WebSocket": OverWebSocket, "WebRTC": OverCall}


async def compare(turns: int) -> dict[str, list[Heard]]:
    """Ask the question over both at the same time, some times."""
    sound = Clip(question(), 16_000)

    async def talk(session: Session) -> list[Heard]:
        async with session:
            await session.ask(sound)  # warm-up
            return [await session.ask(sound) for _ in range(turns)]

    kinds = {name: kind(THERE) for name, kind in TRANSPORTS.items()}
    return dict(zip(kinds, await asyncio.gather(*map(talk, kinds.values())), strict=True))


async def busy_s(server: psutil.Process, transport: str, sessions: int, turns: int) -> tuple[float, list[Heard]]:
    """CPU seconds of the server for a second of one session, of some at the same time, and what they heard."""
    sound = Clip(question(), 16_000)
    async with AsyncExitStack() as stack:
        open_now: list[Session] = []
        for _ in range(sessions):
            session: Session = TRANSPORTS[transport](THERE)
            await stack.enter_async_context(session)
            open_now.append(session)
        before, began = server.cpu_times(), time.monotonic()
        heard: list[Heard] = []
        for _ in range(turns):
            heard += await asyncio.gather(*(session.ask(sound) for session in open_now))
        after, took_s = server.cpu_times(), time.monotonic() - began
        return (after.user + after.system - before.user - before.system) / took_s / sessions, heard


def rough(network: RoughNetwork, turns: int) -> None:
    rows = Rows("loss", "jitter", "transport", "first audio", "worst", "stalls > 200 ms", "longest", "added")
    for conditions in ROUGH:
        with network.under(conditions):
            taken = asyncio.run(compare(turns))
        medians = {name: 1000 * statistics.median(one.first_s for one in heard) for name, heard in taken.items()}
        for name, heard in taken.items():
            stalls = [stall for one in heard for stall in one.stalls]
            rows.add(
                f"{conditions.loss:.0%}", f"{conditions.jitter_ms:g} ms", name, f"{medians[name]:.0f} ms",
                f"{1000 * max(one.first_s for one in heard):.0f} ms", str(sum(stall > STALL_S for stall in stalls)),
                f"{1000 * max(stalls, default=0.0):.0f} ms",
                "" if name == "WebSocket" else f"{medians[name] - medians['WebSocket']:+.0f} ms",
            )  # fmt: skip


def loads(network: RoughNetwork, server: psutil.Process, counts: list[int], turns: int) -> None:
    rows = Rows("sessions", "transport", "CPU a session", "ratio", "sessions a process", "first audio", "worst")
    with network.under(Conditions(0.0, 0.0, 0.0)):
        for sessions in counts:
            base = 0.0
            for name in TRANSPORTS:
                share, heard = asyncio.run(busy_s(server, name, sessions, turns))
                base = base or share
                firsts = [1000 * one.first_s for one in heard]
                rows.add(
                    str(sessions), name, f"{share:.1%}", f"{share / base:.2f}", f"{1 / share:.0f}",
                    f"{statistics.median(firsts):.0f} ms", f"{max(firsts):.0f} ms",
                )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--sessions", type=int, nargs="*", default=[8])
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(PORT, FAST, host="0.0.0.0", reply=REPLY, tts=Tone)  # noqa: S104
        return
    enter_namespace()
    command = [sys.executable, "-m", "bench.webrtc", "--serve"]
    with rough_network() as network, ExitStack() as stack:
        with network.under(Conditions(0.0, 0.0)):
            server = stack.enter_context(process([*network.within, *command], PORT, THERE))
        rough(network, options.turns)
        loads(network, server, options.sessions, 2)


if __name__ == "__main__":
    main()

"""The attackers of `bench.attack` at the live endpoints: calls over WebRTC and telephone, translations, and Wyoming."""

import asyncio
import base64
import json
import struct
import uuid

from bench.attacker import Attacker
from pipeline.audio.decode import decode_blocking
from tests.questions import sample
from tests.telephone.twilio import FORM, signed
from tests.webrtc.caller import CALLS, offer

ID, SOUND = 0x01, 0x10
"""Kinds of AudioSocket's frames."""


async def sdp_offers(attacker: Attacker) -> None:
    """Offers of calls that never connect, whole, cut or with too many candidates, from twenty-four senders."""
    sdp = await offer()
    candidate = next(line for line in sdp.splitlines() if line.startswith("a=candidate:"))
    offers = [sdp, sdp, sdp[: len(sdp) // 2], sdp + f"{candidate}\r\n" * 60, sdp.replace("opus", "x" * 10_000)]
    async with attacker.client() as client:

        async def attempt(number: int) -> str:
            headers = {"Content-Type": "application/sdp"}
            answer = await client.post(CALLS, content=offers[number % len(offers)], headers=headers)
            return str(answer.status_code)

        await attacker.again(attempt, 24)


def frame(kind: int, payload: bytes) -> bytes:
    """Return a frame of AudioSocket."""
    return struct.pack(">BH", kind, len(payload)) + payload


async def read_all(reader: asyncio.StreamReader) -> None:
    while await reader.read(65_536):
        pass


async def audiosocket_calls(attacker: Attacker) -> None:
    """A hundred AudioSocket connections: eight calls with sound faster than real time, half of which never read, others
    without an ID or with oversize frames."""
    sound = frame(SOUND, bytes(16_000)) * 20

    async def attempt(number: int) -> str:
        reader, writer = await asyncio.open_connection(attacker.ports.host, attacker.ports.audiosocket, limit=1024)
        try:
            if number < 8:
                writer.write(frame(ID, uuid.uuid4().bytes))
                reading = asyncio.create_task(read_all(reader)) if number % 2 else None
                try:
                    while True:
                        writer.write(sound)
                        await asyncio.wait_for(writer.drain(), 10)
                finally:
                    if reading is not None:
                        reading.cancel()
            if number % 2:
                writer.write(b"\x10\xff\xff" + bytes(65_535))
            return "hung up" if await reader.read(3) else "closed"
        finally:
            writer.transport.abort()

    await attacker.again(attempt, 100)


async def twilio_forgeries(attacker: Attacker) -> None:
    """Requests that Twilio has not signed, with large forms, and streams likewise, from sixteen senders."""
    form = {**FORM, **{f"Field{number}": "x" * 900 for number in range(190)}}
    async with attacker.client() as client:

        async def attempt(number: int) -> str:
            if number % 2:
                answer = await client.post("/twilio/voice", data=form, headers=signed("http://elsewhere.example", form))
                return str(answer.status_code)
            async with attacker.socket("/twilio/media") as socket:
                return str(await socket.recv())

        await attacker.again(attempt, 16)


def translated_speech() -> tuple[str, str]:
    """Return two events of a translation: its language, and three seconds of speech."""
    hello = decode_blocking(sample("hello"), max_seconds=60)
    speech = base64.b64encode(hello.at(24_000).pcm16() + bytes(48_000)).decode()
    update = {"type": "session.update", "session": {"audio": {"output": {"language": "es"}}}}
    return json.dumps(update), json.dumps({"type": "session.input_audio_buffer.append", "audio": speech})


async def unread_translations(attacker: Attacker) -> None:
    """Translations that get speech without an end, faster than real time, and are never read, from twenty-four
    senders."""
    update, append = translated_speech()

    async def attempt(_: int) -> str:
        async with attacker.socket("/v1/realtime/translations?model=parley") as socket:
            await socket.send(update)
            while True:
                await asyncio.wait_for(socket.send(append), 60)

    await attacker.again(attempt, 24)


def wyoming(kind: str, data: object = None, payload: bytes = b"") -> bytes:
    """Return an event of Wyoming."""
    header = {"type": kind, "data": data or {}, "payload_length": len(payload)}
    return json.dumps(header).encode() + b"\n" + payload


async def wyoming_commands(attacker: Attacker) -> None:
    """Sixty Wyoming connections: commands and wake words in sound faster than real time, texts that arrive without an
    end, replies and descriptions that are not read, unknown programs."""
    sound = {"rate": 16_000, "width": 2, "channels": 1}
    hello = decode_blocking(sample("hello"), max_seconds=60).at(16_000).pcm16()
    chunk, hearing = wyoming("audio-chunk", sound, hello[:64_000]), wyoming("audio-start", sound)
    words = wyoming("synthesize-chunk", {"text": "the heron waits " * 60})
    said = wyoming("transcript", {"text": "tell me a long story " * 300})
    streams = [
        (wyoming("transcribe", {"language": "en", "vad_sensitivity": "relaxed"}) + hearing, chunk),
        (wyoming("detect", {"names": ["okay_nabu", "parley"]}) + hearing, chunk),
        (wyoming("synthesize-start"), words),
        (wyoming("synthesize", {"text": "the heron waits " * 250}), wyoming("ping", {"text": "x" * 60_000})),
        (said, said),
        (wyoming("describe"), wyoming("describe") * 200),
        (wyoming("recognize", {"text": "x"}), wyoming("select-program", {"name": "x" * 60_000})),
    ]

    async def attempt(number: int) -> str:
        first, more = streams[number % len(streams)]
        writer = (await asyncio.open_connection(attacker.ports.host, attacker.ports.wyoming, limit=1024))[1]
        try:
            writer.write(first)
            async with asyncio.timeout(5):
                while True:
                    writer.write(more)
                    await writer.drain()
        except TimeoutError:
            return "left"
        finally:
            writer.transport.abort()

    await attacker.again(attempt, 60)


ATTACKS = (sdp_offers, audiosocket_calls, twilio_forgeries, unread_translations, wyoming_commands)

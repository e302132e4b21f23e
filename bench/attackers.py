"""The attackers of `bench.attack`: each runs in a separate process until it is ended, and counts the responses.

python -m bench.attackers NAME PORT WYOMING_PORT AUDIOSOCKET_PORT
"""

import asyncio
import base64
import contextlib
import json
import signal
import sys
from collections.abc import Awaitable, Callable

from websockets.asyncio.client import ClientConnection

from bench import document_attackers, hostile, live_attackers, openai_attackers
from bench.attacker import MALLORY, Attacker, Ports, code_of
from tests.jobs.test_endpoints import slow_recording
from tests.questions import sample


async def say(attacker: Attacker, payload: bytes | str, path: str = "/ws") -> str:
    """Send one message on a new connection; return the response, or that the attacker left before it came."""
    async with attacker.socket(path) as socket:
        await socket.send(payload)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                return code_of(await socket.recv())
    return "left"


async def speech(attacker: Attacker) -> None:
    """Plain questions from eight senders: the share of the models that one caller gets, and what `tags` adds to it."""
    question = sample("hello")
    await attacker.again(lambda _: say(attacker, question), 8)


async def tags(attacker: Attacker) -> None:
    """Files with many tags as messages, from eight senders that disconnect."""
    bombs = [make() for make in hostile.BOMBS.values()]
    await attacker.again(lambda number: say(attacker, bombs[number % len(bombs)]), 8)


async def tags_as_jobs(attacker: Attacker) -> None:
    """The same files as jobs, cancelled after a second."""
    bombs = [make() for make in hostile.BOMBS.values()]
    async with attacker.client() as client:

        async def attempt(number: int) -> str:
            answer = await client.post("/jobs", files={"files": (f"{number}.mka", bombs[number % len(bombs)])})
            if answer.status_code == 202:
                await asyncio.sleep(1)
                answer = await client.post(f"/jobs/{answer.json()['jobs'][0]['job_id']}/cancel")
            return str(answer.status_code)

        await attacker.again(attempt, 8)


async def sdp(attacker: Attacker) -> None:
    """Session descriptions that make FFmpeg listen."""
    await attacker.again(lambda number: say(attacker, hostile.SDP.format(port=40_000 + 2 * number).encode()), 12)


async def headers(attacker: Attacker) -> None:
    """Downloads from a server that stops after long headers, or never stops sending interim responses."""
    async with hostile.hostile_server() as port, attacker.client() as client:

        async def attempt(number: int) -> str:
            kind = f"header/{number}" if number % 4 else f"interim/{number}"
            answer = await client.post("/api/v1/upload/url", json={"url": f"http://127.0.0.1:{port}/{kind}"})
            await asyncio.sleep(1)
            return str(answer.status_code)

        await attacker.again(attempt, 8)


async def webhooks(attacker: Attacker) -> None:
    """ZIPs of jobs whose webhook receivers never respond or have invalid URLs."""
    quiet = sample("hello")
    async with hostile.hostile_server() as port, attacker.client() as client:
        urls = [f"http://127.0.0.1:{port}/silent", "http://xn--a.example/", "http://a..b/"]

        async def attempt(number: int) -> str:
            files = [("files", (f"{index}.wav", quiet)) for index in range(3)]
            answer = await client.post("/jobs", files=files, data={"webhook_url": urls[number % len(urls)]})
            await asyncio.sleep(0.5)
            return str(answer.status_code)

        await attacker.again(attempt, 4)


async def pipelining(attacker: Attacker) -> None:
    """A hundred connections without a key that send requests and never read."""
    request = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 100

    async def attempt(_: int) -> str:
        writer = (await asyncio.open_connection("127.0.0.1", attacker.port, limit=1024))[1]
        try:
            while True:
                writer.write(request)
                await asyncio.wait_for(writer.drain(), 10)
        except TimeoutError:
            return "not read"
        finally:
            writer.transport.abort()

    await attacker.again(attempt, 100)


def wyoming_event(kind: str, payload: bytes = b"") -> bytes:
    data = {"rate": 384_000, "width": 4, "channels": 8}
    header = {"type": kind, "data": data, "payload_length": len(payload)}
    return json.dumps(header).encode() + b"\n" + payload


async def wyoming_bytes(attacker: Attacker) -> None:
    """Eight Wyoming connections that each send 43 MB of sound and stay."""
    chunk = wyoming_event("audio-chunk", bytes(768_000))

    async def attempt(_: int) -> str:
        reader, writer = await asyncio.open_connection(attacker.ports.host, attacker.ports.wyoming)
        try:
            writer.write(b'{"type": "transcribe"}\n' + wyoming_event("audio-start"))
            for _ in range(56):
                writer.write(chunk)
                await asyncio.wait_for(writer.drain(), 10)
            answer = await asyncio.wait_for(reader.readline(), 10)
            return code_of(answer) if answer else "closed"
        finally:
            writer.transport.abort()

    await attacker.again(attempt, 8)


async def wyoming_silence(attacker: Attacker) -> None:
    """A hundred Wyoming connections that send nothing."""

    async def attempt(_: int) -> str:
        reader, writer = await asyncio.open_connection(attacker.ports.host, attacker.ports.wyoming)
        try:
            answer = await reader.readline()
            return code_of(answer) if answer else "closed"
        finally:
            writer.transport.abort()

    await attacker.again(attempt, 100)


async def large_json(attacker: Attacker) -> None:
    """JSON texts of 25 MB to every endpoint that accepts JSON."""
    numbers = "[" + "0," * 12_000_000 + "0]"
    update = '{"type": "session.update", "session": {"type": "realtime", "tools": ' + numbers + "}}"

    async def attempt(number: int) -> str:
        match number % 3:
            case 0:
                async with attacker.socket("/v1/realtime?model=parley") as socket:
                    await socket.recv()
                    await socket.send(update)
                    return code_of(await asyncio.wait_for(socket.recv(), 30))
            case 1:
                return await say(attacker, '{"type": "say", "text": ' + numbers + "}", "/ws?stream=1")
            case _:
                async with attacker.client() as client:
                    answer = await client.post(
                        "/v1/audio/speech", content=numbers, headers={"Content-Type": "application/json"}
                    )
                    return str(answer.status_code)

    await attacker.again(attempt, 6)


async def archives(attacker: Attacker) -> None:
    """ZIPs whose ZIP64 directories are larger than their content."""
    archive = hostile.zip64(106_000)
    async with attacker.client() as client:

        async def attempt(_: int) -> str:
            return str((await client.post("/jobs", files={"files": ("a.zip", archive)})).status_code)

        await attacker.again(attempt, 2)


async def realtime_items(attacker: Attacker) -> None:
    """Conversation items of 1,900 s each, on connections that stay."""
    sound = base64.b64encode(b"\xff" * (8000 * 1900)).decode()
    formats = {"input": {"format": {"type": "audio/pcmu"}}}
    session = {"type": "session.update", "session": {"type": "realtime", "audio": formats}}
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": sound}]}
    create = json.dumps({"type": "conversation.item.create", "item": item})

    async def fill(socket: ClientConnection) -> str:
        await socket.send(json.dumps(session))
        for _ in range(20):
            await socket.send(create)
        async for message in socket:
            found = json.loads(message)
            if found["type"] == "error":
                return str(found["error"]["code"])
        return "closed"

    async def attempt(_: int) -> str:
        async with attacker.socket("/v1/realtime?model=parley") as socket:
            return await asyncio.wait_for(fill(socket), 20)

    await attacker.again(attempt, 4)


async def streaming(attacker: Attacker) -> None:
    """Streamed uploads that never end."""
    piece = bytes(1_000_000)

    async def attempt(_: int) -> str:
        async with attacker.socket("/api/v1/streaming?rate=16000") as socket:
            for _ in range(50):
                await socket.send(piece)
            return code_of(await asyncio.wait_for(socket.recv(), 10))

    await attacker.again(attempt, 40)


async def event_streams(attacker: Attacker) -> None:
    """800 event streams of one waiting job."""
    async with attacker.client() as client:
        files = [("files", (f"{number}.flac", slow_recording(number))) for number in range(8)]
        job = (await client.post("/jobs", files=files)).json()["jobs"][-1]["job_id"]
    request = f"GET /jobs/{job}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {MALLORY}\r\n\r\n"

    async def attempt(_: int) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", attacker.port)
        try:
            writer.write(request.encode())
            status = ((await reader.readline()) or b"HTTP/1.1 closed").split(b" ")[1].decode()
            if status == "200":
                while await reader.read(65_536):
                    pass
            else:
                await asyncio.sleep(1)
            return status
        finally:
            writer.transport.abort()

    await attacker.again(attempt, 800)


ATTACKS: dict[str, Callable[[Attacker], Awaitable[None]]] = {
    one.__name__: one
    for one in (
        speech, tags, tags_as_jobs, sdp, headers, webhooks, pipelining, wyoming_bytes, wyoming_silence, large_json,
        archives, realtime_items, streaming, event_streams, *live_attackers.ATTACKS, *openai_attackers.ATTACKS,
        *document_attackers.ATTACKS,
    )
}  # fmt: skip


async def attack(name: str, ports: Ports) -> None:
    """Run in the attacker's process: attack until SIGTERM, then print the responses."""
    attacker = Attacker(ports)
    if ATTACKS[name] in document_attackers.ATTACKS:
        await document_attackers.prepare(attacker)
    work = asyncio.ensure_future(ATTACKS[name](attacker))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    print("begun", flush=True)
    with contextlib.suppress(asyncio.CancelledError):
        await work
    print(", ".join(f"{times} × {what}" for what, times in attacker.told.most_common(4)), flush=True)


if __name__ == "__main__":
    asyncio.run(attack(sys.argv[1], Ports(sys.argv[2], *map(int, sys.argv[3:]))))

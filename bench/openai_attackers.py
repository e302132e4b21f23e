"""The attackers of `bench.attack` at OpenAI's newer endpoints: chats with sound, captioned speech, client secrets."""

import asyncio
import base64
import contextlib
import json

import httpx

from bench import hostile
from bench.attacker import MALLORY, MESSAGES, TURN_S, Attacker
from tests.questions import sample

CHATS, CAPTIONED, SPEECH = "/v1/chat/completions", "/dev/captioned_speech", "/v1/audio/speech"
TEXT = "The heron stands quite still, and it waits for a small fish. " * 67
"""Nearly as long as a text to speak may be."""
SPOKEN = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "pcm16"}, "stream": True}
UNREAD_S = 5.0


async def unread(attacker: Attacker, path: str, body: object) -> str:
    """Send a request, read the status, and nothing after it."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {MALLORY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", attacker.port, limit=1024)
    try:
        writer.write(head.encode() + content)
        status = (await asyncio.wait_for(reader.readline(), TURN_S)).split(b" ")
        await asyncio.sleep(UNREAD_S)
        return f"{status[1].decode()} unread" if len(status) > 1 else "closed"
    finally:
        writer.transport.abort()


async def left(client: httpx.AsyncClient, path: str, body: object, seconds: float) -> str:
    """Send a request and disconnect after some seconds if the response has not come."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return str((await client.post(path, json=body)).status_code)
    return "left"


def sounds(count: int, *files: bytes) -> list[dict[str, object]]:
    """Return a chat with this many recordings."""
    data = [base64.b64encode(one).decode() for one in files]
    content = [
        {"type": "input_audio", "input_audio": {"data": data[number % len(data)], "format": "wav"}}
        for number in range(count)
    ]
    return [{"role": "user", "content": content}]


async def chats(attacker: Attacker) -> None:
    """Chats with 32 recordings (plain, with many tags, or not sound), 30 MB of numbers, a thousand messages, and spoken
    replies that are not read, from 16 senders."""
    hello, bombs = sample("hello"), [make() for make in hostile.BOMBS.values()]
    numbers = '{"messages": [' + "0," * 12_000_000 + "0]}"
    many = [{"role": "user", "content": "x" * 490} for _ in range(1000)]
    async with attacker.client() as client:

        async def attempt(number: int) -> str:
            match number % 5:
                case 0:
                    return await left(client, CHATS, {"messages": sounds(32, hello + bytes(number)), **SPOKEN}, 5)
                case 1:
                    return await left(client, CHATS, {"messages": sounds(8, *bombs, b"x" * 10_000)}, 5)
                case 2:
                    answer = await client.post(CHATS, content=numbers, headers={"Content-Type": "application/json"})
                    return str(answer.status_code)
                case 3:
                    return await left(client, CHATS, {"messages": many}, 5)
                case _:
                    return await unread(attacker, CHATS, {"messages": many[:1], **SPOKEN})

        await attacker.again(attempt, 16)


async def captions(attacker: Attacker) -> None:
    """Long texts with the times of their words, line by line or as events, left or not read, from 16 senders."""
    timed = {"model": "tts-1", "voice": "alloy", "input": TEXT, "timestamp_granularities": ["word"]}
    async with attacker.client() as client:

        async def attempt(number: int) -> str:
            match number % 4:
                case 0:
                    return await left(client, CAPTIONED, {"input": TEXT, "response_format": "wav"}, 1)
                case 1:
                    return await left(client, SPEECH, timed, 3)
                case 2:
                    return await unread(attacker, CAPTIONED, {"input": TEXT, "response_format": "wav"})
                case _:
                    return await unread(attacker, SPEECH, {**timed, "stream_format": "sse"})

        await attacker.again(attempt, 16)


async def client_secrets(attacker: Attacker) -> None:
    """Client secrets with the largest configurations, for conversations and translations, each of which opens sessions
    that stay a moment, from 24 senders."""
    parameters = {"type": "object", "properties": {f"p{one}": {"type": "string"} for one in range(7)}}
    tools = [{"type": "function", "name": f"tool_{one}", "parameters": parameters} for one in range(128)]
    large = {"type": "realtime", "instructions": "i" * 90_000, "tools": tools}
    translation = {"model": "m" * 190, "audio": {"output": {"language": "es"}}}
    async with attacker.client() as client:

        async def attempt(number: int) -> str:
            path = "/v1/realtime/translations" if number % 4 == 3 else "/v1/realtime"
            session = translation if number % 4 == 3 else large
            made = await client.post(f"{path}/client_secrets", json={"session": session})
            if made.status_code != 200:
                await asyncio.sleep(0.2)
                return str(made.status_code)
            with contextlib.suppress(*MESSAGES):
                async with attacker.socket(path, made.json()["value"]) as socket:
                    await asyncio.wait_for(socket.recv(), TURN_S)
                    await asyncio.sleep(1)
                    return "opened"
            return "refused"

        await attacker.again(attempt, 24)


ATTACKS = (chats, captions, client_secrets)

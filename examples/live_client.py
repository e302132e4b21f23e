"""Talk to Parley's live WebSocket from a file: `python examples/live_client.py question.wav --reply reply.wav`.

Sends the WAV in real time, as a microphone would, then silence; prints the events; writes the reply's sound.
Needs only `websockets`. The protocol: docs/protocol.md.
"""

import argparse
import asyncio
import contextlib
import json
import wave
from collections.abc import Iterator

from websockets.asyncio.client import ClientConnection, connect

PIECE_S = 0.04
ENDS = {"turn_completed", "turn_interrupted", "turn_failed", "utterance_ignored", "session_ended"}


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("question", help="16-bit PCM WAV; only its first channel is sent")
    parser.add_argument("--url", default="ws://127.0.0.1:8000/ws")
    parser.add_argument("--reply", default="reply.wav", help="file for the reply's sound")
    parser.add_argument("--key", help="one of the service's API_KEYS")
    parser.add_argument("--option", action="append", default=[], help="voice=woman, silence_ms=700, …; can be repeated")
    arguments = parser.parse_args()

    rate_hz, sound = read(arguments.question)
    query = "&".join([f"stream=1&rate={rate_hz}", *arguments.option])
    headers = {"Authorization": f"Bearer {arguments.key}"} if arguments.key else {}
    async with connect(f"{arguments.url}?{query}", additional_headers=headers, max_size=None) as connection:
        speaking = asyncio.create_task(speak(connection, sound, rate_hz))
        try:
            reply_hz, reply = await listen(connection)
        finally:
            speaking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await speaking
    if reply:
        write(arguments.reply, reply_hz, reply)
        print(f"{len(reply) / 2 / reply_hz:.1f} s of reply written to {arguments.reply}")


def read(path: str) -> tuple[int, bytes]:
    """Return rate and 16-bit mono samples of a WAV."""
    with wave.open(path) as file:
        if file.getsampwidth() != 2:
            raise SystemExit("live_client: send a 16-bit WAV")
        frames, step = file.readframes(file.getnframes()), 2 * file.getnchannels()
        if step > 2:
            frames = b"".join(frames[start : start + 2] for start in range(0, len(frames), step))
        return file.getframerate(), frames


def write(path: str, rate_hz: int, sound: bytes) -> None:
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(sound)


def pieces(sound: bytes, size: int) -> Iterator[bytes]:
    """Yield the sound, then endless silence, from which the service knows that the user has finished."""
    for start in range(0, len(sound), size):
        yield sound[start : start + size]
    while True:
        yield bytes(size)


async def speak(connection: ClientConnection, sound: bytes, rate_hz: int) -> None:
    """Send the sound in real time. The schedule is absolute, so that a late chunk does not delay the next ones."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    for number, piece in enumerate(pieces(sound, 2 * int(rate_hz * PIECE_S))):
        await asyncio.sleep(start + number * PIECE_S - loop.time())
        await connection.send(piece)


async def listen(connection: ClientConnection) -> tuple[int, bytes]:
    """Print events until the turn ends; return rate and sound of the reply."""
    rate_hz, reply = 0, bytearray()
    async for message in connection:
        if isinstance(message, bytes):
            reply += message
            continue
        event = json.loads(message)
        kind = event.pop("type", "error")
        print(f"{kind:20} {json.dumps(event, ensure_ascii=False)}")
        if kind == "speech_started":
            rate_hz = event["rate_hz"]
        if kind in ENDS or "error" in event:
            break
    return rate_hz, bytes(reply)


if __name__ == "__main__":
    asyncio.run(main())

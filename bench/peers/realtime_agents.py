"""The unmodified OpenAI Agents SDK for Python against a running Parley.

    python -m venv /tmp/agents && /tmp/agents/bin/pip install openai-agents
    python main.py &
    /tmp/agents/bin/python bench/peers/realtime_agents.py ws://127.0.0.1:8000/v1/realtime audios/samples/*.wav

Speaks each question into one session, one after the other, and interrupts the last reply with the first question.
Prints one JSON object: transcripts, replies, latencies, and the SDK's own history. Needs none of our packages.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner
from realtime_sound import FRAME_MS, RATE_HZ, sound


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}."


async def converse(url: str, questions: list[Path], key: str) -> dict[str, Any]:
    agent = RealtimeAgent(name="Parley", instructions="Be brief.", tools=[weather])
    runner = RealtimeRunner(
        agent,
        config={
            "model_settings": {
                "model_name": "gpt-realtime",
                "audio": {
                    "input": {"turn_detection": {"type": "server_vad"}, "transcription": {"model": "whisper-1"}},
                    "output": {"voice": "alloy"},
                },
            }
        },
    )
    turns: list[dict[str, Any]] = []
    errors: list[str] = []
    ended, speaking, first_sound = asyncio.Event(), asyncio.Event(), 0.0
    spoke_until = 0.0
    async with await runner.run(model_config={"url": url, "api_key": key}) as session:

        async def watch() -> None:
            nonlocal first_sound
            async for event in session:
                match event.type:
                    case "audio":
                        if not speaking.is_set():
                            first_sound = time.monotonic()
                            speaking.set()
                    case "audio_interrupted":
                        turns.append({"interrupted": True})
                    case "agent_end":
                        ended.set()
                    case "error":
                        errors.append(str(event.error))
                    case "tool_end":
                        turns.append({"tool": event.tool.name, "output": event.output})
                    case _:
                        pass

        watching = asyncio.create_task(watch())

        async def speak(data: bytes) -> None:
            nonlocal spoke_until
            size = RATE_HZ * FRAME_MS // 1000 * 2
            spoken = len(data)
            for start in range(0, spoken + 2 * RATE_HZ, size):
                frame = data[start : start + size].ljust(size, b"\0")
                await session.send_audio(frame)
                if start <= spoken < start + size:
                    spoke_until = time.monotonic()
                await asyncio.sleep(FRAME_MS / 1000)

        async with asyncio.timeout(120):
            for question in questions:
                ended.clear()
                speaking.clear()
                await speak(sound(question))
                await speaking.wait()
                turns.append({"file": question.name, "first_sound_s": round(first_sound - spoke_until, 2)})
                await ended.wait()
            ended.clear()
            speaking.clear()
            await session.send_message("tell me a story")
            await speaking.wait()
            await asyncio.sleep(2)
            await speak(sound(questions[0]))
            await ended.wait()
            await asyncio.sleep(4)
        watching.cancel()
        history = [
            {
                "role": getattr(item, "role", item.type),
                "status": getattr(item, "status", None),
                "text": " ".join(
                    (getattr(part, "transcript", None) or getattr(part, "text", None) or "")
                    for part in getattr(item, "content", ())
                ),
            }
            for item in session._history
        ]
    return {"turns": turns, "errors": errors, "history": history}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("questions", nargs="+", type=Path)
    parser.add_argument("--key", default="none")
    options = parser.parse_args()
    print(json.dumps(asyncio.run(converse(options.url, options.questions, options.key)), indent=1))


if __name__ == "__main__":
    main()

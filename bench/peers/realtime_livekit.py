"""livekit's unmodified model for the OpenAI Realtime API against a running Parley.

    python -m venv /tmp/livekit && /tmp/livekit/bin/pip install livekit-agents livekit-plugins-openai
    python main.py &
    /tmp/livekit/bin/python bench/peers/realtime_livekit.py http://127.0.0.1:8000/v1 audios/samples/*.wav

An AgentSession without a room: its microphone is these recordings in real time, and its loudspeaker counts what it
plays. Speaks each question, and interrupts the last reply with the first question. Prints one JSON object: the events,
livekit's own history and its errors. Needs none of our packages.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

from livekit import rtc
from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.voice import io
from livekit.plugins import openai
from realtime_sound import FRAME_MS, RATE_HZ, sound

FRAME_BYTES = RATE_HZ * FRAME_MS // 1000 * 2
INTERRUPT_AFTER_S = 1.0


class Microphone(io.AudioInput):
    """Silence in real time, and what is put into `said` in between."""

    def __init__(self) -> None:
        super().__init__(label="recordings")
        self.said = bytearray()
        self.silent_since = 0.0
        self._due = 0.0

    async def __anext__(self) -> rtc.AudioFrame:
        self._due = max(self._due + FRAME_MS / 1000, time.monotonic() - 1)
        await asyncio.sleep(self._due - time.monotonic())
        data = bytes(self.said[:FRAME_BYTES]).ljust(FRAME_BYTES, b"\0")
        if 0 < len(self.said) <= FRAME_BYTES:
            self.silent_since = time.monotonic()
        del self.said[:FRAME_BYTES]
        return rtc.AudioFrame(data, RATE_HZ, 1, FRAME_BYTES // 2)


class Loudspeaker(io.AudioOutput):
    """Plays in real time, without a device."""

    def __init__(self) -> None:
        super().__init__(label="nothing", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=RATE_HZ)
        self.began = 0.0
        self.first = asyncio.Event()
        self.played: list[dict[str, Any]] = []
        self._held_s = 0.0
        self._end: asyncio.TimerHandle | None = None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._held_s:
            self.began = time.monotonic()
            self.first.set()
            self.on_playback_started(created_at=time.time())
        self._held_s += frame.duration

    def flush(self) -> None:
        super().flush()
        if self._held_s and self._end is None:
            left_s = self.began + self._held_s - time.monotonic()
            self._end = asyncio.get_running_loop().call_later(max(0.0, left_s), self._finish, False)

    def clear_buffer(self) -> None:
        if self._held_s:
            self._finish(True)

    def _finish(self, interrupted: bool) -> None:
        if self._end is not None:
            self._end.cancel()
        position = min(self._held_s, time.monotonic() - self.began)
        self._held_s, self._end = 0.0, None
        self.played.append({"played_s": round(position, 1), "interrupted": interrupted})
        self.on_playback_finished(playback_position=position, interrupted=interrupted)


@function_tool
async def weather(city: str) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}."


async def converse(url: str, questions: list[Path], key: str) -> dict[str, Any]:
    model = openai.realtime.RealtimeModel(base_url=url, api_key=key)
    session: AgentSession[None] = AgentSession(llm=model)
    microphone, loudspeaker = Microphone(), Loudspeaker()
    session.input.audio, session.output.audio = microphone, loudspeaker
    events: list[dict[str, Any]] = []
    errors: list[str] = []
    listening = asyncio.Event()

    def state(event: Any) -> None:
        (listening.set if event.new_state == "listening" else listening.clear)()

    session.on("agent_state_changed", state)
    session.on("user_input_transcribed", lambda event: event.is_final and events.append({"heard": event.transcript}))
    session.on(
        "function_tools_executed",
        lambda event: events.extend({"tool": one.name, "given": one.arguments} for one in event.function_calls),
    )
    session.on("error", lambda event: errors.append(str(event.error)))
    await session.start(Agent(instructions="Be brief.", tools=[weather]))

    async def ask(question: Path) -> None:
        """Speak a question, until the reply to it begins."""
        loudspeaker.first.clear()
        microphone.said += sound(question)
        await loudspeaker.first.wait()
        first_s = loudspeaker.began - microphone.silent_since
        events.append({"file": question.name, "first_sound_s": round(first_s, 2)})

    async with asyncio.timeout(180):
        for question in questions:
            await ask(question)
            if question is not questions[-1]:
                await listening.wait()
        await asyncio.sleep(INTERRUPT_AFTER_S)
        await ask(questions[0])
        await listening.wait()
    history = [
        {"role": item.role, "text": item.text_content, "interrupted": item.interrupted}
        for item in session.history.items
        if item.type == "message"
    ]
    await session.aclose()
    await model.aclose()
    return {"events": events, "played": loudspeaker.played, "errors": errors, "history": history}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("questions", nargs="+", type=Path)
    parser.add_argument("--key", default="none")
    options = parser.parse_args()
    print(json.dumps(asyncio.run(converse(options.url, options.questions, options.key)), indent=1))


if __name__ == "__main__":
    main()

"""pipecat's unmodified service for the OpenAI Realtime API against a running Parley.

    python -m venv /tmp/pipecat && /tmp/pipecat/bin/pip install "pipecat-ai[openai]"
    python main.py &
    /tmp/pipecat/bin/python bench/peers/realtime_pipecat.py ws://127.0.0.1:8000/v1/realtime audios/samples/*.wav

Speaks each question into one session, one after the other, and interrupts the last reply with the first question.
Prints one JSON object: transcripts, replies in text and sound, calls of functions, interruptions, and pipecat's own
history and errors. Needs none of our packages.
"""

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from loguru import logger
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMRunFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import FunctionCallParams
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner
from realtime_sound import FRAME_MS, RATE_HZ, sound


class Ear(FrameProcessor):
    """Records the frames that the service sends."""

    def __init__(self, transcribed: asyncio.Event) -> None:
        super().__init__()
        self.transcribed = transcribed
        self.heard: list[str] = []
        self.said: list[str] = []
        self.errors: list[str] = []
        self.sound_bytes = 0
        self.interruptions = 0
        self.speaking = asyncio.Event()
        self.ended = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case TranscriptionFrame():
                self.heard.append(frame.text)
                self.transcribed.set()
            case TTSTextFrame():
                self.said.append(frame.text)
            case TTSAudioRawFrame():
                self.sound_bytes += len(frame.audio)
                self.speaking.set()
            case InterruptionFrame():
                self.interruptions += 1
            case ErrorFrame():
                self.errors.append(str(frame.error))
            case LLMFullResponseEndFrame():
                self.ended.set()
            case _:
                pass
        await self.push_frame(frame, direction)


async def weather(params: FunctionCallParams, city: str) -> None:
    """The weather in a city.

    Args:
        city: The city's name.
    """
    await params.result_callback(f"It is sunny in {city}.")


async def converse(url: str, questions: list[Path], key: str) -> dict[str, Any]:
    audio = events.AudioConfiguration(
        input=events.AudioInput(transcription=events.InputAudioTranscription(), turn_detection=events.TurnDetection())
    )
    service = OpenAIRealtimeLLMService(
        api_key=key,
        base_url=url,
        settings=OpenAIRealtimeLLMService.Settings(
            session_properties=events.SessionProperties(audio=audio, instructions="Be brief.")
        ),
    )
    context = LLMContext([{"role": "user", "content": "hello"}], tools=[weather])
    user, assistant = LLMContextAggregatorPair(context)
    transcribed = asyncio.Event()
    ear, before = Ear(transcribed), Ear(transcribed)
    worker = PipelineWorker(
        Pipeline([user, before, service, ear, assistant]),
        params=PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ),
        idle_timeout_secs=None,
    )

    async def listen() -> None:
        """The microphone: silence, and what is in `said`."""
        size = RATE_HZ * FRAME_MS // 1000 * 2
        while True:
            data = bytes(said[:size]).ljust(size, b"\0")
            del said[:size]
            await worker.queue_frame(InputAudioRawFrame(data, RATE_HZ, 1))
            await asyncio.sleep(FRAME_MS / 1000)

    async def begun() -> None:
        """Wait for the sound of a reply; a response that only calls a function has none."""
        ear.speaking.clear()
        await ear.speaking.wait()
        ear.ended.clear()

    async def ask(question: Path) -> None:
        """Speak a question, until the reply to it begins."""
        transcribed.clear()
        said.extend(sound(question))
        await transcribed.wait()
        await begun()

    said = bytearray()
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running, listening = asyncio.create_task(runner.run()), asyncio.create_task(listen())
    try:
        async with asyncio.timeout(180):
            await worker.queue_frame(LLMRunFrame())
            await begun()
            await ear.ended.wait()
            for question in questions:
                await ask(question)
                if question is not questions[-1]:
                    await ear.ended.wait()
            await asyncio.sleep(1)
            await ask(questions[0])
            await ear.ended.wait()
    finally:
        listening.cancel()
        await worker.cancel()
        await asyncio.wait([running], timeout=10)
    return {
        "heard": ear.heard + before.heard, "said": "".join(ear.said), "interruptions": ear.interruptions,
        "sound_s": round(ear.sound_bytes / 2 / RATE_HZ, 1), "history": context.get_messages(),
        "errors": ear.errors + before.errors,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("questions", nargs="+", type=Path)
    parser.add_argument("--key", default="none")
    options = parser.parse_args()
    logger.remove()
    print(json.dumps(asyncio.run(converse(options.url, options.questions, options.key)), indent=1))


if __name__ == "__main__":
    main()

"""pipecat's unmodified service for the OpenAI Realtime API against a running Parley.

    python -m venv /tmp/pipecat && /tmp/pipecat/bin/pip install "pipecat-ai[openai]"
    python main.py &
    /tmp/pipecat/bin/python bench/peers/realtime_pipecat.py ws://127.0.0.1:8000/v1/realtime audios/samples/*.wav

Speaks each question into one session and prints one JSON object: transcripts, replies in text and sound, and the errors
that pipecat saw. Needs none of our packages.
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
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.worker import PipelineParams, PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from realtime_sound import FRAME_MS, RATE_HZ, sound


class Ear(FrameProcessor):
    """Records the frames that the service sends."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.said: list[str] = []
        self.errors: list[str] = []
        self.sound_bytes = 0
        self.interruptions = 0
        self.ended = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case TranscriptionFrame():
                self.heard.append(frame.text)
            case TTSTextFrame():
                self.said.append(frame.text)
            case TTSAudioRawFrame():
                self.sound_bytes += len(frame.audio)
            case InterruptionFrame():
                self.interruptions += 1
            case ErrorFrame():
                self.errors.append(str(frame.error))
            case LLMFullResponseEndFrame():
                self.ended.set()
            case _:
                pass
        await self.push_frame(frame, direction)


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
    user, assistant = LLMContextAggregatorPair(LLMContext([{"role": "user", "content": "hello"}]))
    ear, before = Ear(), Ear()
    task = PipelineTask(
        Pipeline([user, before, service, ear, assistant]),
        params=PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ),
        idle_timeout_secs=None,
    )
    running = asyncio.create_task(PipelineRunner(handle_sigint=False).run(task))
    turns: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(120):
            await task.queue_frame(LLMRunFrame())
            await ear.ended.wait()
            size = RATE_HZ * FRAME_MS // 1000 * 2
            for question in questions:
                ear.ended.clear()
                data = sound(question) + bytes(3 * RATE_HZ)
                for start in range(0, len(data), size):
                    frame = InputAudioRawFrame(data[start : start + size].ljust(size, b"\0"), RATE_HZ, 1)
                    await task.queue_frame(frame)
                    await asyncio.sleep(FRAME_MS / 1000)
                await ear.ended.wait()
                await asyncio.sleep(2)
                turns.append({"file": question.name})
    finally:
        await task.cancel()
        await asyncio.wait([running], timeout=10)
    return {
        "turns": turns, "heard": ear.heard + before.heard, "said": "".join(ear.said),
        "sound_s": round(ear.sound_bytes / 2 / RATE_HZ, 1), "errors": ear.errors + before.errors,
        "interruptions": ear.interruptions,
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

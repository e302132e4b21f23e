"""A pipecat bot on the scripted stages of `bench/conversation.py`: python pipecat_bot.py PORT STAGES

It uses pipecat's own WebSocket transport and protobuf frames, and Silero VAD with 200 ms and a speech timeout of 300
ms: the turn ends after 500 ms of silence, as in Parley's run. For an environment with `pipecat-ai[websocket]` and
uvicorn.
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator

import numpy as np
import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import (
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.worker import PipelineParams, PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.serializers.protobuf import ProtobufFrameSerializer
from pipecat.services.stt_service import SegmentedSTTService
from pipecat.services.tts_service import TTSService
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.turns.user_stop.speech_timeout_user_turn_stop_strategy import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies

logger.remove()
RATE_HZ = 16_000
PORT, STAGES = int(sys.argv[1]), json.loads(sys.argv[2])


class ScriptedSTT(SegmentedSTTService):
    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame, None]:
        await asyncio.sleep(STAGES["stt_s"])
        yield TranscriptionFrame("what does the heron do", "user", "", finalized=True)


class ScriptedLLM(FrameProcessor):
    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        await asyncio.sleep(STAGES["first_token_s"])
        for word in STAGES["reply"].split():
            await self.push_frame(LLMTextFrame(word + " "))
            await asyncio.sleep(1 / STAGES["tokens_per_s"])
        await self.push_frame(LLMFullResponseEndFrame())


class ScriptedTTS(TTSService):
    """60 ms a character, in chunks of 80 ms at a tenth of real time, as in Parley's run."""

    def __init__(self) -> None:
        super().__init__(sample_rate=RATE_HZ, push_start_frame=True, push_stop_frames=True)

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame, None]:
        await asyncio.sleep(STAGES["first_audio_s"])
        chunk = np.full(int(0.08 * RATE_HZ), 3277, "<i2").tobytes()
        for index in range(max(1, round(len(text.strip()) * 0.06 / 0.08))):
            if index:
                await asyncio.sleep(0.008)
            yield TTSAudioRawFrame(chunk, RATE_HZ, 1, context_id=context_id)


app = FastAPI()


@app.websocket("/ws")
async def converse(socket: WebSocket) -> None:
    await socket.accept()
    transport = FastAPIWebsocketTransport(
        socket,
        FastAPIWebsocketParams(
            audio_in_enabled=True, audio_out_enabled=True, add_wav_header=False, serializer=ProtobufFrameSerializer()
        ),
    )
    pair = LLMContextAggregatorPair(
        LLMContext(),
        user_params=LLMUserAggregatorParams(
            vad_analyzer=SileroVADAnalyzer(params=VADParams(stop_secs=0.2)),
            user_turn_strategies=UserTurnStrategies(stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=0.3)]),
        ),
    )
    stages = [transport.input(), ScriptedSTT(sample_rate=RATE_HZ), pair.user(), ScriptedLLM(), ScriptedTTS()]
    task = PipelineTask(
        Pipeline([*stages, transport.output(), pair.assistant()]),
        params=PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ),
    )

    @transport.event_handler("on_client_disconnected")
    async def _gone(transport: object, client: object) -> None:
        await task.cancel()

    await PipelineRunner(handle_sigint=False).run(task)


uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", ws="websockets")

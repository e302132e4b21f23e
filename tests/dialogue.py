"""A scripted dialogue with a live session on virtual time, and a log of the events with their times."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from pipeline.audio.clip import Samples
from pipeline.conversation import effects, events, turn
from pipeline.conversation.events import Event
from pipeline.conversation.history import Conversation
from pipeline.conversation.session import Session
from pipeline.conversation.speaker_lock import Encoder, SpeakerLock
from pipeline.conversation.turn import TURN_TIMEOUT_S, Stages
from pipeline.listening.options import LiveOptions
from pipeline.listening.smart_turn import TurnEnd
from pipeline.listening.wake_word import MicroWakeWord, WakeWordDetector
from pipeline.settings import Settings
from tests import virtual_time
from tests.scripted import VOICE, Running, ScriptedLLM, ScriptedSTT, ScriptedTTS

RATE_HZ = 16_000
FRAME_MS = 20


def tone(count: int, level: float) -> Samples:
    """Return a square wave as speech for scripts. A constant level would be removed as an offset."""
    wave: Samples = np.where(np.arange(count) // 4 % 2, -level, level).astype(np.float32)
    return wave


class LoudIsSpeech:
    """A VAD for scripts: a loud frame is speech, a quiet frame is not."""

    def probability(self, frame: Samples) -> float:
        return 1.0 if float(np.abs(frame).max()) > 0.01 else 0.0

    def reset(self) -> None:
        pass


@dataclass
class Dialogue:
    """A session under test. Times are seconds of virtual time since its start."""

    session: Session
    stages: Stages
    running: Running
    log: list[tuple[float, Event]] = field(default_factory=list)
    frames_s: list[float] = field(default_factory=list)
    """Time at which each frame of the reply was sent."""

    def resumed(self) -> Session:
        """Return another session on the same conversation."""
        old = self.session
        return Session(
            self.stages, Settings(), old.options, old.conversation, voice=VOICE, language=None,
            activity=LoudIsSpeech(), lock=old._lock,
        )  # fmt: skip

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def speak(self, ms: int) -> float:
        """Feed `ms` of speech; return the time at which the last sample was fed."""
        return await self._feed(ms, 0.2)

    async def silence(self, ms: int) -> float:
        """Feed `ms` of silence from an open microphone."""
        return await self._feed(ms, 0.0)

    async def _feed(self, ms: int, level: float) -> float:
        for _ in range(ms // FRAME_MS):
            await asyncio.sleep(FRAME_MS / 1000)
            self.session.hear(tone(RATE_HZ * FRAME_MS // 1000, level))
        return self.now

    async def until(self, kind: type[Event], *, within_s: float = 60.0, count: int = 1) -> float:
        """Feed silence until the `count`-th event of this kind; return its time."""
        deadline = self.now + within_s
        while len(found := [at for at, event in self.log if isinstance(event, kind)]) < count:
            assert self.now < deadline, f"no {kind.__name__} within {within_s} s: {self.kinds}"
            await self.silence(FRAME_MS)
        return found[count - 1]

    @property
    def kinds(self) -> list[str]:
        """Names of the events so far, with each run of deltas or chunks as one."""
        names = [type(event).__name__ for _, event in self.log]
        repeated = ("ReplyDelta", "SpeechChunk", "TranscriptPartial")
        return [n for i, n in enumerate(names) if not (i and n == names[i - 1] and n in repeated)]

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for _, event in self.log if isinstance(event, kind)]

    @property
    def history(self) -> list[tuple[str, str]]:
        return [(message.role, message.content) for message in self.session.conversation.messages]


def hold(
    script: Callable[[Dialogue], Awaitable[None]],
    *,
    stt: ScriptedSTT | None = None,
    llm: ScriptedLLM | None = None,
    tts: ScriptedTTS | None = None,
    idle: bool = False,
    turn_s: float = TURN_TIMEOUT_S,
    wake_word_detector: Callable[[str], WakeWordDetector] = MicroWakeWord,
    turn_end: TurnEnd | None = None,
    encoder: Encoder | None = None,
    **options: Any,
) -> Dialogue:
    """Play a dialogue to the end of its script, then close the session. encoder: for the speaker lock."""

    async def run() -> Dialogue:
        running = Running()
        stages = Stages(stt or ScriptedSTT(), llm or ScriptedLLM(), tts or ScriptedTTS())
        for stage in (stages.stt, stages.llm, stages.tts):
            stage.running = running  # type: ignore[union-attr]
        session = Session(
            stages, Settings(), LiveOptions(**{"partial_ms": 0} | options),
            Conversation("sys", budget_tokens=4000), voice=VOICE, language=None, activity=LoudIsSpeech(),
            idle=lambda: idle, wake_word=wake_word_detector, turn_end=turn_end,
            lock=None if encoder is None else lambda wanted, owner: SpeakerLock(stages.stt, encoder, owner),
        )  # fmt: skip
        dialogue = Dialogue(session, stages, running)

        async def listen() -> None:
            async for event in session.events:
                dialogue.log.append((dialogue.now, event))
                if isinstance(event, events.SpeechChunk):
                    dialogue.frames_s.append(dialogue.now)

        async with session:
            listening = asyncio.create_task(listen())
            try:
                await script(dialogue)
            finally:
                await session.close()
                await asyncio.gather(listening, return_exceptions=True)  # the session may have ended itself
        assert running.now == []
        return dialogue

    with pytest.MonkeyPatch.context() as patch:
        for module in (turn, effects):
            patch.setattr(module, "TURN_TIMEOUT_S", turn_s)
        return virtual_time.run(run())

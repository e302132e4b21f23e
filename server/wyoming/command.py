"""Find the end of a spoken command in sound that arrives as it is spoken, so that the client needs no voice activity
detection."""

import asyncio
from dataclasses import replace
from types import TracebackType
from typing import Self

from wyoming.asr import VadSensitivity

from pipeline.assistant import Assistant
from pipeline.audio.clip import Samples
from pipeline.conversation import events
from pipeline.conversation.events import Event, TranscriptPartial, UtteranceTranscribed
from pipeline.conversation.reply_options import ReplyOptions
from pipeline.conversation.states import Paused
from pipeline.conversation.watchdog import IdleTimeout
from pipeline.errors import ParleyError
from pipeline.listening.detector import RATE_HZ
from pipeline.listening.options import LiveOptions
from pipeline.stt import Hinted
from pipeline.support.channel import Channel
from server.access.limits import Share

NOTHING_S = 15.0
"""Seconds without speech after which the transcript is empty, as with Home Assistant's own detection."""
PATIENCE = {VadSensitivity.RELAXED: 2.0, VadSensitivity.AGGRESSIVE: 0.5}
"""Factor on the silence that ends a command, by `vad_sensitivity`."""
PACE_KNOWN_S, LEAD_S, PACE = 1.0, 1.0, 1.25
"""Sound arrives as it is spoken if after PACE_KNOWN_S at most PACE times the time that has passed was received, and
LEAD_S more. Faster sound is a recording, which ends where its sender says, because it can contain long pauses."""
PARTIAL_MS = 1500
"""Interval between partial transcripts. Longer than in a conversation: most commands are over before, and partial
transcripts would delay theirs on a small machine."""
UPDATES = 64
"""Partial transcripts that can wait for a slow client."""


def is_live(received_s: float, passed_s: float) -> bool:
    """Whether sound arrives as it is spoken. passed_s: time since its first chunk."""
    return passed_s >= PACE_KNOWN_S and received_s <= PACE * passed_s + LEAD_S


class Command:
    """One spoken command. Enter it with `async with`, pass sound to `hear`, and iterate `updates`: the stable partial
    transcripts, then the transcript, which is missing if there were no words. `updates` raises ParleyError if the
    recogniser fails."""

    def __init__(
        self, assistant: Assistant, *, language: str | None, hint: Hinted, patience: float, room: Share
    ) -> None:
        """hint: names and words that the user may say. patience: factor on the silence that ends the command. room:
        budget for the sound that waits for its transcript, and its pace."""
        self.updates: Channel[TranscriptPartial | UtteranceTranscribed] = Channel(UPDATES)
        self.over = False
        """Whether the command has its transcript, or gets none; further sound is ignored."""
        self.stopped = False
        """Whether the client has ended the sound before the command was over."""
        self._closing = False
        """Whether no further sound comes: the command is over after the transcript in progress."""
        self._room = room
        self._session = assistant.session(
            _options(assistant, patience),
            assistant.conversation(),
            voice=assistant.voice(),
            language=language,
            reply_options=ReplyOptions(answers=False, hint=hint),
            sink=self,
            room=room,
        )

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        await self._session.close()

    async def hear(self, samples: Samples) -> None:
        """Process the next sound: float32 mono at 16 kHz."""
        if not self.over:
            await self._room.heard(len(samples) / RATE_HZ)
            self._session.hear(samples)
            await asyncio.sleep(0)

    def stop(self) -> None:
        """End the command where the client has ended the sound. A transcript in progress is awaited."""
        if not self.over:
            self.stopped = True
            if isinstance(self._session.state, Paused):  # the words so far may already be transcribed
                self._session.commit()
            self._end_unless_pending()

    def fail(self, error: ParleyError) -> None:
        """End the command without a transcript."""
        self._end(error)

    def drop(self) -> None:
        """End the command without a transcript: the client has begun another sound."""
        self._end()

    # --- events of the session ---

    def offer(self, event: Event) -> bool:
        """Take the next event of the session (`Sink`)."""
        match event:
            case events.TranscriptPartial():
                return self.over or self.updates.offer(event)
            case events.UtteranceTranscribed(text=text) if text:
                there_was_room = self.over or self.updates.offer(event)
                self._end()
                return there_was_room
            case events.UtteranceTranscribed() if self._closing:  # a noise was the last sound
                asyncio.get_running_loop().call_soon(self._end_unless_pending)
            case events.UtteranceFailed(_, code, message):
                self._end(ParleyError(message, code=code))
            case _:
                pass
        return True

    def close(self, error: BaseException | None = None) -> None:
        """Take the end of the session (`Sink`)."""
        if isinstance(error, IdleTimeout):
            self._end_unless_pending()
        else:
            self._end(error)

    def _end_unless_pending(self) -> None:
        self._closing = True
        if not self._session.dictation.pending:
            self._end()

    def _end(self, error: BaseException | None = None) -> None:
        self.over = True
        self.updates.close(error)


def patience(asked: str | VadSensitivity | None) -> float:
    """Return the factor on the silence for `vad_sensitivity`; unknown names have the default."""
    return next((factor for name, factor in PATIENCE.items() if asked == name), 1.0)


def _options(assistant: Assistant, patience: float) -> LiveOptions:
    """Return the deployment's options for one command without a reply."""
    options = LiveOptions.of(assistant.settings)
    return replace(
        options,
        turn_detection=True,
        wake_word="",
        speaker_lock="",
        silence_ms=round(options.silence_ms * patience),
        min_silence_ms=round(options.min_silence_ms * patience),
        max_silence_ms=round(options.max_silence_ms * patience),
        partial_ms=PARTIAL_MS,
        idle_prompt_s=0.0,
        idle_timeout_s=NOTHING_S,
    )

"""The state of a Realtime session, without its socket: the handlers of client events work on it."""

from types import TracebackType
from typing import Protocol, Self

from pipeline.assistant import Assistant
from pipeline.personas import ConversationOptions
from pipeline.support.channel import Channel
from server.access.limits import Share
from server.realtime.audio import SoundIn
from server.realtime.config import Config
from server.realtime.deferral import Deferral
from server.realtime.out_of_band import OutOfBand
from server.realtime.responses import Response, ServerEvent
from server.realtime.server_events import OUTBOX, Translation

MAX_SESSION_S = 3600.0
"""Maximum length of a session in seconds, as at OpenAI."""


class Player(Protocol):
    """Plays the responses in real time."""

    def clear(self) -> None:
        """Drop the sound that is not played yet, and tell the client."""


class RealtimeSession:
    """One session: its configuration, its conversation, and what it has to send. Enter it with `async with`."""

    def __init__(
        self,
        assistant: Assistant,
        *,
        model: str,
        transcription: bool,
        record: bool,
        timings: bool,
        room: Share | None = None,
        lead_ms: int | None = None,
        speaker_lock: str | None = None,
        conversation_options: ConversationOptions | None = None,
    ) -> None:
        """model, transcription, timings, lead_ms, speaker_lock, conversation_options: see `Config`. record:
        whether the client agrees to be recorded. room: budget for audio that waits for its transcript, and its pace.
        Raises BadInput if the speaker lock cannot be used."""
        self.assistant = assistant
        self._room = room
        self.player: Player | None = None
        """Plays the responses, if the service does and not the client."""
        self.lives_s = MAX_SESSION_S
        self.config = Config(
            assistant,
            model=model,
            transcription=transcription,
            lives_s=self.lives_s,
            timings=timings,
            lead_ms=lead_ms,
            speaker_lock=speaker_lock,
            conversation_options=conversation_options,
        )
        self.sound = SoundIn(self.config.input_format)
        self.outbox: Channel[ServerEvent] = Channel(OUTBOX)
        """The server events to send; ends with the reason why the session has ended."""
        conversation = assistant.conversation()
        conversation.instruct(self.config.instructions, exact=self.config.own_instructions)
        self.translation = Translation(conversation, self.config, self.outbox, ended=self._ended)
        self.live = assistant.session(
            self.config.options,
            conversation,
            voice=self.config.voice_now,
            language=self.config.language,
            reply_options=self.config.reply_options,
            sink=self.translation,
            record=record,
            room=room,
        )
        self.out_of_band = OutOfBand(self.live, self.translation)
        self.deferral = Deferral(self.live, self.translation, self.out_of_band.start)

    async def __aenter__(self) -> Self:
        await self.live.__aenter__()
        self.translation.send({"type": "session.created", "session": self.config.json})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.deferral.clear()
        try:
            await self.out_of_band.close()
        finally:
            await self.live.close()

    async def heard(self, seconds: float) -> None:
        """Count sound that the client has sent; see `Share.heard`."""
        if self._room is not None:
            await self._room.heard(seconds)

    def configure(self) -> None:
        """Apply a changed configuration to the conversation."""
        config, live = self.config, self.live
        if self.sound.format != config.input_format:
            self.sound = SoundIn(config.input_format)
        if live.options.turn_detection != config.options.turn_detection:
            live.clear()
            self.translation.uncommitted_ms = 0.0
        live.configure(config.options, voice=config.voice_now, language=config.language)
        live.reply_options = config.reply_options
        live.conversation.instruct(config.instructions, exact=config.own_instructions)

    def _ended(self, response: Response | None) -> None:
        self.deferral.ended(response)

"""`WS /ws?stream=1`, a live conversation: audio in while the user speaks, events and audio out as they are produced.

`docs/protocol.md` describes the messages. This module only translates: it passes messages to the session, and sends the
session's events as JSON and its audio as bytes.
"""

import asyncio
from dataclasses import asdict, replace

from fastapi import WebSocket
from starlette.types import Message

from pipeline.assistant import Assistant
from pipeline.audio.clip import Clip, Samples
from pipeline.audio.decode import decode
from pipeline.conversation import events
from pipeline.conversation.events import Event
from pipeline.conversation.history import Conversation
from pipeline.conversation.reply_options import ReplyOptions
from pipeline.conversation.saved import saved
from pipeline.errors import BadInput, ParleyError
from pipeline.listening.detector import RATE_HZ
from pipeline.listening.options import LiveOptions
from pipeline.personas import ConversationOptions
from pipeline.support.json_text import BadJson, BadNumber, parsed
from pipeline.support.json_types import JsonObject
from server.access import caller_of, held_of
from server.errors import error_fields
from server.http.websocket_session import WebSocketSession
from server.ops.kept_conversations import agreed
from server.state import state_of
from server.talk.audio import LiveSound, WholeFile
from server.talk.conversation_options import FIELDS, history_of
from server.talk.resume import RESUME_S, Resuming

MAX_TEXT_CHARS = 8_000
"""Longest typed message."""
MAX_COMMAND_CHARS = 16 * MAX_TEXT_CHARS
"""Longest text message: JSON can need twelve characters for one."""

NAMES: dict[type[Event], str] = {
    events.WakeWordHeard: "wake_word_heard",
    events.FellAsleep: "fell_asleep",
    events.UserSpeechStarted: "user_speech_started",
    events.UserSpeechStopped: "user_speech_stopped",
    events.UtteranceIgnored: "utterance_ignored",
    events.TranscriptPartial: "transcript_partial",
    events.TurnStarted: "turn_started",
    events.TranscriptFinal: "transcript_final",
    events.ReplyDelta: "reply_delta",
    events.SpeechStarted: "speech_started",
    events.SpeechHeld: "speech_held",
    events.SpeechResumed: "speech_resumed",
    events.StageError: "stage_error",
    events.TurnCompleted: "turn_completed",
    events.TurnInterrupted: "turn_interrupted",
    events.HeardCorrected: "heard_corrected",
    events.TurnFailed: "turn_failed",
}
"""`type` of each event on the wire; its other fields are those of the dataclass. SpeechChunk is sent as bytes."""

UNTOLD = {"item_id", "cut", "words"}
"""Fields of events that are not part of this protocol."""


class Moved(ParleyError):
    """The conversation was resumed on another connection."""

    code = "resumed_elsewhere"

    def __init__(self) -> None:
        super().__init__("This conversation was resumed on another connection.")


class LiveSocket(WebSocketSession):
    """A connection: one task reads, another writes, and the session connects them."""

    def __init__(
        self,
        socket: WebSocket,
        assistant: Assistant,
        conversation_options: ConversationOptions,
        resuming: Resuming,
        *,
        lead_ms: int | None = None,
    ) -> None:
        """conversation_options: those of the query. resuming: finds the conversation to resume. lead_ms: how far
        ahead of real time sound is sent, if the transport decides it. Raises BadInput for invalid query parameters."""
        query = dict(socket.query_params)
        query.pop("stream", None)
        self._assistant = assistant
        self._store = state_of(socket).resumable
        self._conversation_options = conversation_options
        self._sound = LiveSound(query.pop("rate", None))
        for name in FIELDS:
            query.pop(name, None)
        token = query.pop("resume", None)
        query.pop("record", None)
        for secret in ("api_key", "token"):
            query.pop(secret, None)
        options = LiveOptions.of(assistant.settings).changed(query)
        self._options = options if lead_ms is None else replace(options, lead_ms=lead_ms)
        caller = caller_of(socket)
        self._owner = (caller.kind, caller.name)
        kept = resuming.take()
        self._resuming = resuming
        self._resumed = kept is not None
        self._conversation = kept or assistant.conversation(conversation_options.system_prompt)
        self._token = self._store.token()
        self._earlier_token = token if self._resumed else None
        self.session_id = self._conversation.id
        self.recorded = agreed(socket) and assistant.recorder is not None
        self._session = assistant.session(
            self._options,
            self._conversation,
            voice=conversation_options.voice,
            language=conversation_options.language,
            reply_options=ReplyOptions(tools=assistant.tools, generation=conversation_options.generation),
            record=self.recorded,
            room=held_of(socket),
        )
        self._registered = False
        self._span: tuple[int, int] | None = None
        super().__init__(socket, ended=self._session.ended)

    def _give_up(self) -> Conversation:
        """End this connection, because the client has resumed the conversation on another one."""
        self._session.leave(Moved())
        return self._conversation

    def register(self) -> None:
        """Let the client resume the conversation from now on. `run` must follow."""
        if self._registered:
            return
        self._registered = True
        # The earlier token stays valid until a message shows that the client has the new one.
        for token in self._tokens():
            self._store.open(token, self._owner, self._give_up)
            self._store.copy(token, self._snapshot)
        self._conversation.changed = self._changed
        self._resuming.resumed()

    def _tokens(self) -> list[str]:
        return [token for token in (self._token, self._earlier_token) if token]

    def _snapshot(self) -> JsonObject | None:
        """Return the conversation for other processes."""
        heard = self._session.heard
        return saved(self._conversation, heard) if self._conversation.messages else None

    def _changed(self) -> None:
        for token in self._tokens():
            self._store.changed(token)

    async def run(self) -> None:
        """Run until one side ends the connection. All its work stops within 100 ms after a close; the conversation is
        kept."""
        self.register()
        try:
            async with self._session:
                await self.send(self._started())
                await super().run()
        finally:
            for token in self._tokens():
                self._store.keep(token, self._give_up, self._conversation)

    async def finish(self, reason: ParleyError) -> None:
        """End the conversation after the current turn."""
        self._session.finish(reason)

    async def end(self, reason: ParleyError) -> None:
        """End the conversation at once. The writer sends the reason after all events."""
        self._session.leave(reason)

    def error(self, error: ParleyError) -> JsonObject:
        return {"type": "error", **error_fields(error)}

    def goodbye(self, reason: ParleyError) -> JsonObject:
        return {"type": "session_ended", **error_fields(reason)}

    def _started(self) -> JsonObject:
        return {
            "type": "session_started",
            "session": self.session_id,
            "recorded": self.recorded,
            "resume": self._token,
            "resumed": self._resumed,
            "resume_seconds": RESUME_S,
            "persona": self._conversation_options.persona,
            "voice": self._conversation_options.voice.name,
            "language": self._conversation_options.language,
            "llm_model": self._conversation_options.generation.llm_model,
            "temperature": self._conversation_options.generation.temperature,
            "options": asdict(self._options),
            "history": [
                {"role": m.role, "content": m.content}
                for m in self._conversation.messages
                if m.role in ("user", "assistant") and m.content  # what was said, without tool calls
            ],
        }

    # --- in ---

    async def take(self, message: Message) -> None:
        """Pass sound or a command to the session."""
        if self._earlier_token:
            self._store.forget(self._earlier_token)
            self._earlier_token = None
        if (data := message.get("bytes")) is not None:
            await self._hear(data)
        else:
            await self._obey(message.get("text") or "")

    async def _hear(self, data: bytes) -> None:
        if not data:
            raise BadInput("The message is empty; send sound.", code="empty_message")
        limit_s = self._assistant.settings.max_audio_seconds
        # The disconnect of a client goes unnoticed while its message is processed, so messages are bounded.
        sound = self._sound.take(data, most_s=limit_s)
        if isinstance(sound, WholeFile):
            with self.held.held(len(data)):
                clip = await decode(sound.data, max_seconds=limit_s)
            self._session.ask(clip)
            return
        self._session.ear.narrow_band = self._sound.narrow_band
        for number, samples in enumerate(sound):
            if number:
                await asyncio.sleep(0)  # other conversations run in between
            self.hear(samples)
            await self.held.heard(len(samples) / RATE_HZ)

    def hear(self, samples: Samples) -> None:
        """Pass the user's next sound to the session: float32 at 16 kHz."""
        self._session.hear(samples)

    async def _obey(self, text: str) -> None:
        if len(text) > MAX_COMMAND_CHARS:
            raise BadInput(
                f"A text message has at most {MAX_COMMAND_CHARS} characters. Send sound as bytes, and of an earlier "
                "conversation the newest messages only.",
                code="message_too_large",
            )
        try:
            command = parsed(text, most_chars=MAX_COMMAND_CHARS)
        except BadNumber as error:
            raise BadInput(f"The message {error}.", code="bad_parameter") from None
        except BadJson:
            command = None
        if not isinstance(command, dict) or "type" not in command:
            raise BadInput('Send JSON with a "type"; see docs/protocol.md.', code="unsupported_message")
        session = self._session
        match command["type"]:
            case "begin":
                session.begin()
            case "commit":
                session.commit()
            case "clear":
                session.clear()
            case "interrupt":
                session.interrupt()
            case "say":
                session.say(_text(command))
            case "retry":
                session.retry(_text(command) if "text" in command else None)
            case "restore":
                session.begin_with(history_of(command))
                await self.send({"type": "conversation_restored", "messages": len(self._conversation.messages)})
            case "played":
                session.played(_milliseconds(command))
            case "configure":
                await self._configure(command)
            case kind:
                raise BadInput(f"Unknown message type {str(kind)[:40]!r}.", code="unsupported_message")

    async def _configure(self, command: JsonObject) -> None:
        """Apply all changes or none: validate everything first."""
        options = command.get("options", {})
        if not isinstance(options, dict):
            raise BadInput("options must be an object.", code="bad_parameter")
        session = self._session
        changed = session.options.changed(options)
        wishes = {name: command[name] for name in FIELDS if name in command}
        conversation_options = await self._assistant.conversation_options(wishes, self._conversation_options)
        language = conversation_options.language or self._assistant.settings.speech_language or None
        session.configure(changed, voice=conversation_options.voice, language=language)
        if {"system", "persona"} & wishes.keys():
            self._conversation.instruct(conversation_options.system_prompt)
        session.reply_options = replace(session.reply_options, generation=conversation_options.generation)
        self._conversation_options = conversation_options

    # --- out ---

    async def work(self) -> None:
        """Write the session's events. Raises the reason with which the session has ended."""
        async for event in self._session.events:
            await self.tell(event)

    async def tell(self, event: Event) -> None:
        """Send an event to the client."""
        if isinstance(event, events.SpeechChunk):
            if event.text_span != self._span:
                self._span = event.text_span
                await self.send({"type": "speech_span", "start": self._span[0], "end": self._span[1]})
            self._store.spoken(self._token)
            await self.play(event.clip)
            return
        if isinstance(event, events.TurnStarted):
            self._span = None
        if type(event) in NAMES:
            told = {name: value for name, value in asdict(event).items() if name not in UNTOLD}
            await self.send({"type": NAMES[type(event)], **told})

    async def play(self, clip: Clip) -> None:
        """Send the next sound of the reply."""
        await self.send(clip.pcm16())


def _text(command: JsonObject) -> str:
    text = command.get("text")
    if not isinstance(text, str) or not text.strip():
        raise BadInput('"text" must be a string that is not empty.', code="bad_parameter")
    if len(text) > MAX_TEXT_CHARS:
        raise BadInput(f"The text is longer than {MAX_TEXT_CHARS} characters.", code="bad_parameter")
    return text.strip()


def _milliseconds(command: JsonObject) -> float:
    ms = command.get("ms")
    if isinstance(ms, bool) or not isinstance(ms, int | float) or not 0 <= ms < 1e9:
        raise BadInput('"ms" must be the number of milliseconds of the reply that were played.', code="bad_parameter")
    return float(ms)

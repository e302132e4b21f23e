"""Translation of a session's events into server events of the Realtime API, in documented order."""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Sequence

from pipeline.conversation import events
from pipeline.conversation.events import Event
from pipeline.conversation.history import Conversation, Item
from pipeline.stt import Word
from pipeline.support.channel import Channel
from pipeline.support.json_types import JsonObject
from pipeline.tools import Function
from server.http.websocket_session import SlowReader
from server.openai.languages import detected
from server.openai.logprobs import logprobs
from server.realtime.config import Config
from server.realtime.errors import error_event
from server.realtime.items import Shape, as_json
from server.realtime.responses import Asked, Response, ServerEvent

OUTBOX = 1024
"""Maximum number of unsent server events (about 30 s of sound) before a slow client's session ends."""

End = events.TurnCompleted | events.TurnInterrupted | events.TurnFailed


class Translation:
    """A `Sink`: translates the session's events as they happen into the connection's outbox."""

    def __init__(
        self,
        conversation: Conversation,
        config: Config,
        outbox: Channel[ServerEvent],
        *,
        ended: Callable[[Response | None], None],
    ) -> None:
        """ended: called after each response of the conversation; with None after an utterance without a response."""
        self.conversation = conversation
        self.conversation_id = f"conv_{conversation.id}"
        self.response: Response | None = None
        """The current response of the conversation."""
        self.shapes: dict[str, Shape] = {}
        """The items that the client knows, by their IDs."""
        self.uncommitted_ms = 0.0
        """Duration of the sound appended since the last commit."""
        self.speaking = ""
        """ID of the item that the utterance in progress will become; between utterances, that of the last one."""
        self.closed = asyncio.Event()
        """Set when no more events will be sent."""
        self._config = config
        self._outbox = outbox
        self._ended = ended
        self._waiting = False
        """Whether the response has begun without a `response.created` yet."""
        self._requested: dict[str, Asked] = {}
        self.answers_with: Asked | None = None
        """Options of the response to the utterance in progress; None: the session's options."""
        self._awaited: str | None = None
        """ID of the utterance whose transcript the next turn will contain."""
        self._spoken_at = 0.0
        self._seconds = 0.0
        self._partial = ""
        self._cut: events.TurnInterrupted | None = None
        self._cancelling = False

    # --- the session's side ---

    def offer(self, event: Event, /) -> bool:
        """Translate an event; return False if the outbox is full because the client reads too slowly."""
        room = True
        for told in self._told(event):  # do not stop when full: translating also updates state
            room = self._outbox.offer(_named(told)) and room
        if not room:
            self.close(SlowReader())
        return room

    def close(self, error: BaseException | None = None) -> None:
        """Close the outbox at the end of the session."""
        self._outbox.close(error)
        self.closed.set()

    # --- the client's side ---

    def send(self, *told: ServerEvent) -> None:
        """Send the result of a client event, after the translations of all earlier events."""
        cut, self._cut = self._cut, None
        for event in (*(self._finished(cut) if cut is not None else ()), *told):
            if not self._outbox.offer(_named(event)):
                self.close(SlowReader())

    async def send_when_read(self, told: Iterable[ServerEvent]) -> None:
        """Send events at the client's pace, for a source faster than real time. Half of the outbox stays free for
        events of the conversation.
        """
        for event in told:
            await self._outbox.send(_named(event), leave=OUTBOX // 2)

    def request(self, item_id: str, asked: Asked) -> None:
        """Record the options that the client has requested for the response with this item."""
        self._requested[item_id] = asked

    def cancel_by_client(self) -> None:
        """Record that the client is about to cancel the current response."""
        self._cancelling = True

    def know(self, item: Item, shape: Shape) -> list[ServerEvent]:
        """Add a new, complete item; return the events about it."""
        if len(self.shapes) > 2 * self.conversation.size:  # the conversation has dropped at least half of them
            self.shapes = {id: kept for id, kept in self.shapes.items() if id in self.conversation}
        self.shapes[item.id] = shape
        told = as_json(item, shape)
        place = {"previous_item_id": self.before(item.id), "item": told}
        return [{"type": "conversation.item.added", **place}, {"type": "conversation.item.done", **place}]

    def knows(self, id: str) -> bool:
        """Whether the client knows this item and it still exists."""
        return id in self.shapes and id in self.conversation

    def list_tools(self, functions: Iterable[Function]) -> None:
        """Send, once per server, the functions of the servers that the client has named."""
        told = {shape.server for id, shape in self.shapes.items() if shape.kind == "mcp_list_tools" and self.knows(id)}
        for server in sorted(self._config.shown_servers() - told):
            item = self.conversation.place()
            tools = tuple(function.tool for function in functions if function.server == server)
            added, done = self.know(item, Shape("mcp_list_tools", server=server, tools=tools))
            self.send({"type": "mcp_list_tools.in_progress", "item_id": item.id}, added)
            self.send({"type": "mcp_list_tools.completed", "item_id": item.id}, done)

    def before(self, id: str) -> str | None:
        """Return the closest earlier item that the client knows, or None."""
        previous = self.conversation.previous(id)
        while previous is not None and previous not in self.shapes:
            previous = self.conversation.previous(previous)
        return previous

    def asked(self) -> Asked:
        """Return the default options of a response."""
        config = self._config
        return Asked(
            aloud=config.reply_options.aloud,
            format=config.output_format,
            voice=config.voice_now.name,
            max_output_tokens=config.json["max_output_tokens"],
            conversation_id=self.conversation_id,
            shown_servers=config.shown_servers(),
            timings=config.timings,
        )

    # --- translating ---

    def _told(self, event: Event) -> Iterable[ServerEvent]:
        cut, self._cut = self._cut, None
        if isinstance(event, events.UserSpeechStarted):
            # First, because clients stop their playback on it. Then the end of the interrupted response.
            yield from self._speech_started(event)
            if cut is not None:
                yield from self._finished(cut)
            return
        if cut is not None:
            yield from self._finished(cut)
        match event:
            case events.UserSpeechStopped():
                yield from self._speech_stopped(event)
                if not self._config.reply_options.answers and self.response is None:
                    self._ended(None)
            case events.UtteranceCommitted(item_id):
                yield from self._committed(item_id)
                self._ended(None)
            case events.TranscriptPartial(text):
                yield from self._grown(text)
            case events.UtteranceTranscribed(item_id, text, language, seconds, words):
                yield from self._transcribed(item_id, text, language, seconds, words)
            case events.UtteranceFailed(item_id, code, message):
                yield from self._not_transcribed(item_id, code, message)
            case events.UtteranceIgnored(reason):
                yield from self._ignored(reason)
            case events.UserIdle():
                yield from self._idle(event)
            case events.TurnStarted(_, item_id):
                yield from self._started(item_id)
            case events.TranscriptFinal(text, language, words):
                if self._awaited is not None:
                    yield from self._transcribed(self._awaited, text, language, self._seconds, words)
                yield from self._created()
            case events.TurnInterrupted() if self._cancelling:
                yield from self._finished(event)
            case events.TurnInterrupted():
                # The user's speech interrupted it; the event for that speech follows at once and must be sent first.
                self._cut = event
                asyncio.get_running_loop().call_soon(self.send)
            case events.TurnCompleted() | events.TurnFailed():
                yield from self._finished(event)
            case _:
                yield from self._created()
                yield from self._happened(event)

    def _happened(self, event: Event) -> Iterable[ServerEvent]:
        """Translate an event within a response."""
        response = self.response
        if response is None:
            return
        match event:
            case events.ReplyDelta(text):
                if response.item_id not in self.shapes:
                    content = "output_audio" if response.asked.aloud else "output_text"
                    self.shapes[response.item_id] = Shape("message", "assistant", content, "in_progress")
                yield from response.said(text)
            case events.SpeechChunk(clip):
                yield from response.spoke(clip)
            case events.ToolCalled():
                self.shapes[event.item_id] = Shape("function_call")
                yield from response.called(event)
            case events.ToolStarted():
                yield from response.started(event)
            case events.ToolEnded():
                if event.server in response.asked.shown_servers:
                    self.shapes[event.item_id] = Shape("mcp_call", server=event.server, failed=event.failed)
                yield from response.ended(event)
            case events.StageError(code, message):
                yield error_event(message, code)
            case _:
                pass

    def _speech_started(self, event: events.UserSpeechStarted) -> Iterable[ServerEvent]:
        self._partial, self._spoken_at = "", event.at_ms
        self.speaking = event.item_id
        yield {
            "type": "input_audio_buffer.speech_started", "audio_start_ms": round(event.at_ms), "item_id": event.item_id,
        }  # fmt: skip

    def _speech_stopped(self, event: events.UserSpeechStopped) -> Iterable[ServerEvent]:
        self._seconds = max(0.0, event.at_ms - self._spoken_at) / 1000
        if self._config.reply_options.answers:
            self._awaited = event.item_id
        yield {
            "type": "input_audio_buffer.speech_stopped", "audio_end_ms": round(event.at_ms), "item_id": event.item_id,
        }  # fmt: skip
        yield from self._committed(event.item_id)

    def _committed(self, item_id: str) -> Iterable[ServerEvent]:
        self.uncommitted_ms = 0.0
        yield {
            "type": "input_audio_buffer.committed", "item_id": item_id, "previous_item_id": self.before(item_id),
        }  # fmt: skip
        yield from self.know(self.conversation.get(item_id), Shape("message", "user", "input_audio"))

    def _grown(self, text: str) -> Iterable[ServerEvent]:
        """Send a partial transcript, in a transcription session."""
        if self._config.transcription and text.startswith(self._partial) and text != self._partial:
            delta, self._partial = text[len(self._partial) :], text
            yield _transcript_delta(self.speaking, delta)

    def _transcribed(
        self, item_id: str, text: str, language: str | None, seconds: float, words: Sequence[Word] = ()
    ) -> Iterable[ServerEvent]:
        if item_id == self._awaited:
            self._awaited = None
        if not self._config.transcribes:
            return
        rest = text.removeprefix(self._partial) if text.startswith(self._partial) else ""
        self._partial = ""
        # A recogniser without probabilities reports 1 for all words, which does not mean certainty.
        known = logprobs(words) if any(word.probability < 1 for word in words) else None
        if rest:
            yield _transcript_delta(item_id, rest, known if rest == text else None)
        yield {
            "type": "conversation.item.input_audio_transcription.completed", "item_id": item_id, "content_index": 0,
            "transcript": text, "languages": detected([language] if text else []),
            "usage": {"type": "duration", "seconds": round(seconds, 3)},
            **({"logprobs": known} if known is not None else {}),
        }  # fmt: skip

    def _not_transcribed(self, item_id: str, code: str, message: str) -> Iterable[ServerEvent]:
        if item_id == self._awaited:
            self._awaited = None
        error = {"type": "server_error", "code": code, "message": message, "param": None}
        yield {
            "type": "conversation.item.input_audio_transcription.failed", "item_id": item_id, "content_index": 0,
            "error": error,
        }  # fmt: skip

    def _ignored(self, reason: str) -> Iterable[ServerEvent]:
        awaited = self._awaited
        if awaited is not None and reason in ("nothing_understood", "echo"):
            yield from self._transcribed(awaited, "", None, self._seconds)
        elif awaited is not None and reason == "continued":
            self._awaited = None
            self.shapes.pop(awaited, None)
            yield {"type": "conversation.item.deleted", "item_id": awaited}
        if reason != "continued":
            self._ended(None)

    def _idle(self, event: events.UserIdle) -> Iterable[ServerEvent]:
        item = self.conversation.place()
        yield {
            "type": "input_audio_buffer.timeout_triggered", "audio_start_ms": round(event.since_ms),
            "audio_end_ms": round(event.at_ms), "item_id": item.id,
        }  # fmt: skip
        yield from self._committed(item.id)

    def _started(self, item_id: str) -> Iterable[ServerEvent]:
        asked = self._requested.pop(item_id, None)
        of_utterance = None
        if asked is None and self._awaited is not None:
            of_utterance, self.answers_with = self.answers_with, None
        self.response = Response(asked or of_utterance or self.asked(), item_id, self.before)
        self._waiting = True
        # An utterance's transcript is sent before the response to it.
        if asked is not None or self._awaited is None:
            yield from self._created()

    def _created(self) -> Iterable[ServerEvent]:
        if self.response is not None and self._waiting:
            self._waiting = False
            yield from self.response.created()

    def _finished(self, end: End) -> Iterable[ServerEvent]:
        if self.response is None and self._requested:  # the requested response ended before it started
            yield from self._started(next(iter(self._requested)))
        if self._awaited is not None and isinstance(end, events.TurnFailed):
            yield from self._not_transcribed(self._awaited, end.code, end.message)
        yield from self._created()
        response, self.response, self._awaited = self.response, None, None
        if response is not None:
            response.cancelled_by_client, self._cancelling = self._cancelling, False
            if response.item_id in self.shapes:
                whole = isinstance(end, events.TurnCompleted) and not end.cut
                self.shapes[response.item_id].status = "completed" if whole else "incomplete"
            yield from response.finished(end)
            self._ended(response)


def _named(event: ServerEvent) -> ServerEvent:
    return {"event_id": f"event_{secrets.token_hex(10)}", **event}


def _transcript_delta(item_id: str, delta: str, known: list[JsonObject] | None = None) -> ServerEvent:
    """known: the logprobs of the words, if requested."""
    return {
        "type": "conversation.item.input_audio_transcription.delta", "item_id": item_id, "content_index": 0,
        "delta": delta, **({"logprobs": known} if known is not None else {}),
    }  # fmt: skip

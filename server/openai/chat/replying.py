"""One turn that replies to a chat, within the limits of its caller."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from pipeline.assistant import Assistant
from pipeline.conversation import events
from pipeline.conversation.events import Event
from pipeline.conversation.reply_options import ReplyOptions
from pipeline.conversation.turn import TURN_TIMEOUT_S
from pipeline.errors import EngineError, Overloaded, ParleyError
from pipeline.speech.unread import Unread
from pipeline.support.background import background
from pipeline.support.channel import Channel
from pipeline.tools import Toolbox
from pipeline.voices.catalogue import Voice
from server.access.callers import Caller
from server.access.limits import Share
from server.access.slots import Slots
from server.openai.chat.fields import ChatRequest
from server.openai.chat.messages import Reader

AHEAD = 20_000
"""Limit of events that wait for a slow client: more than a reply has, so that such a client does not hold the shared
models. `Unread` limits its speech."""


@dataclass(frozen=True, slots=True)
class Chat:
    """A checked request."""

    wanted: ChatRequest
    options: ReplyOptions
    voice: Voice

    @staticmethod
    def of(wanted: ChatRequest, assistant: Assistant, engine: str) -> "Chat":
        """Raises BadField, BadInput (unknown_voice). engine: the language model's."""
        voice = assistant.voice()
        if wanted.aloud and wanted.audio is not None:
            asked = wanted.audio.voice
            voice = assistant.openai_voice(asked if isinstance(asked, str) else asked.id)
        tools, choice = wanted.functions()
        options = ReplyOptions(
            aloud=wanted.aloud, tools=Toolbox(client=tools, choice=choice), generation=wanted.generation(engine)
        )
        return Chat(wanted, options, voice)

    async def events(self, reader: Reader, slots: Slots, caller: Caller, held: Share) -> AsyncGenerator[Event, None]:
        """Yield the events of the turn; it holds a conversation's slot. held: counts the speech that waits for the
        client. Raises ParleyError when it fails."""
        assistant = reader.assistant
        with slots.one(caller), Unread(held) as unread:
            conversation = assistant.conversation()
            try:
                async with asyncio.timeout(TURN_TIMEOUT_S):
                    prompt = await reader.prompt(self.wanted, conversation)
            except TimeoutError:
                raise EngineError("The recordings took too long to transcribe.", code="timeout") from None
            turn = assistant.reply_to(prompt, conversation, voice=self.voice, reply_options=self.options, unread=unread)
            ahead: Channel[Event] = Channel(AHEAD)
            async with background(_read(turn, ahead)):
                async for event in ahead:
                    if isinstance(event, events.SpeechChunk):
                        unread.taken(event.clip)
                    yield event


async def _read(turn: AsyncGenerator[Event, None], ahead: Channel[Event]) -> None:
    try:
        async with aclosing(turn):
            async for event in turn:
                if isinstance(event, events.TurnFailed | events.StageError):
                    raise _error(event)
                await ahead.send(event)
    except Exception as error:  # raised where the events are read
        ahead.close(error)
    finally:
        ahead.close()


def _error(event: events.TurnFailed | events.StageError) -> ParleyError:
    """Return the error that an event reports, of the class that its status follows from."""
    if event.code == "overloaded":
        return Overloaded(event.message)
    if event.code == "internal":
        return ParleyError(event.message)
    return EngineError(event.message, code=event.code)

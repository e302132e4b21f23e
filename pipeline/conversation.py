"""The history of one conversation: what the user said, and of each reply what was heard."""

import secrets
from collections.abc import Sequence

from pipeline.llm import Message

BYTES_PER_TOKEN = 3.5
"""LLaMA's tokenisers take about 4 bytes of English and 3 of Portuguese or Spanish a token; no tokeniser is at hand."""
TOKENS_PER_MESSAGE = 5
"""Role and separators of the chat template."""

INTERRUPTED = " …"
"""Marks a reply that the user cut off."""


def estimated_tokens(message: Message) -> int:
    """About how many tokens a message takes in the prompt."""
    return TOKENS_PER_MESSAGE + int(len(message.content.encode()) / BYTES_PER_TOKEN)


class Conversation:
    """System prompt and finished turns of one connection.

    A turn only reads it; whoever commits a turn records it here. Turns beyond the budget are forgotten, oldest first.
    """

    def __init__(self, system_prompt: str, *, budget_tokens: int) -> None:
        self.id = secrets.token_hex(8)
        """Names it to the schedulers of the shared models."""
        self._system = Message("system", system_prompt)
        self._budget_tokens = budget_tokens
        self._messages: list[Message] = []
        self.language: str | None = None
        """What the user spoke last (ISO 639-1)."""

    @property
    def messages(self) -> Sequence[Message]:
        """User and assistant messages in order, without the system prompt."""
        return tuple(self._messages)

    def record(self, said: str, language: str | None, heard: str, *, interrupted: bool = False) -> None:
        """Add one turn: what the user said, and what of the reply was heard (empty: nothing)."""
        self.language = language or self.language
        self._messages.append(Message("user", said, language))
        if heard:
            self._messages.append(Message("assistant", heard + INTERRUPTED if interrupted else heard))
        self._forget()

    def amend(self, heard: str) -> None:
        """Correct what was heard of the last, interrupted reply: its listener knows better than the clock."""
        if self._messages and self._messages[-1].role == "assistant":
            self._messages.pop()
        if heard:
            self._messages.append(Message("assistant", heard + INTERRUPTED))

    def announced(self, sentence: str) -> None:
        """The assistant said something by itself."""
        self._messages.append(Message("assistant", sentence))

    def prompt(self, said: str, language: str | None) -> list[Message]:
        """What the language model is asked: the system prompt, the turns within the budget, and the new message."""
        question = Message("user", said, language)
        room = self._budget_tokens - estimated_tokens(self._system) - estimated_tokens(question)
        return [self._system, *_newest_within(self._messages, room), question]

    def _forget(self) -> None:
        # Twice the budget: what no prompt can hold any more must not pile up in a connection of many hours.
        self._messages = _newest_within(self._messages, 2 * self._budget_tokens)


def _newest_within(messages: Sequence[Message], room: int) -> list[Message]:
    """The newest messages that fit in `room` tokens, from a user's message on."""
    first = len(messages)
    for index in range(len(messages) - 1, -1, -1):
        room -= estimated_tokens(messages[index])
        if room < 0:
            break
        if messages[index].role == "user":
            first = index
    return list(messages[first:])

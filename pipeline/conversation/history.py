"""The history of one conversation as ordered items: the user's words, the heard part of each reply, and function calls.

The language model's prompt is built from these items, here and nowhere else.
"""

import math
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline.conversation.speaker_lock import Owner
from pipeline.conversation.timeline import Timeline
from pipeline.errors import BadInput
from pipeline.llm import Message
from pipeline.llm.prompt import TOKENS_PER_MESSAGE, estimated_tokens, in_order
from pipeline.support.local_time import local_time

INTERRUPTED = " …"
"""Marks a reply that was interrupted."""
FIRST = "root"
"""Position of a new item before all others."""


@dataclass(slots=True)
class Item:
    """One place in the conversation. Its messages go into the prompt. It has none while its content is pending (a
    transcript, a reply), and none for a reply that was not heard."""

    id: str
    messages: tuple[Message, ...] = ()
    reply: str = ""
    """Full text of a reply, however much of it was heard."""
    sound: Timeline | None = None


@dataclass(frozen=True, slots=True)
class Reminder:
    """An announcement for later."""

    due_s: float
    """Due time on the event loop's clock."""
    text: str


def item_id() -> str:
    """Return a new item id."""
    return f"item_{secrets.token_hex(10)}"


class Conversation:
    """System prompt and items of one connection.

    A turn only reads them; the code that commits a turn records it here. Items beyond the budget are dropped, oldest
    first.
    """

    def __init__(self, system_prompt: str, *, budget_tokens: int) -> None:
        self.id = secrets.token_hex(8)
        """Identifies the conversation to the schedulers of the shared models."""
        self._system = Message("system", system_prompt)
        self.exact = False
        """Whether the language model gets the system prompt as it is, without date and time."""
        self._clock = local_time()
        self._budget_tokens = budget_tokens
        self._items: dict[str, Item] = {}
        self._tokens: dict[str, int] = {}
        """Token count of each item."""
        self._total_tokens = 0
        self.language: str | None = None
        """The user's last spoken language (ISO 639-1)."""
        self.owner = Owner()
        """The voice that began the conversation, with the speaker lock."""
        self.reminders: list[Reminder] = []
        """Pending reminders; the live session announces them."""
        self.changed: Callable[[], None] = lambda: None
        """Called after each change of the items."""

    @property
    def size(self) -> int:
        """Number of items."""
        return len(self._items)

    @property
    def items(self) -> Sequence[Item]:
        """All items in order, including those without content."""
        return tuple(self._items.values())

    @property
    def messages(self) -> Sequence[Message]:
        """All messages in order, without the system prompt."""
        return tuple(message for item in self._items.values() for message in item.messages)

    @property
    def instructions(self) -> str:
        """The system prompt."""
        return self._system.content

    def clock(self) -> datetime:
        """Return the time for the language model: when the conversation began, or the time of the first turn
        of a later day. It stays the same, because servers and `local` keep the state of a prompt's beginning."""
        now = local_time()
        if now.date() != self._clock.date():
            self._clock = now
        return self._clock

    def instruct(self, system_prompt: str, *, exact: bool = False) -> None:
        """Replace the system prompt from the next turn on. exact: see `self.exact`."""
        self._system, self.exact = Message("system", system_prompt), exact

    # --- items ---

    def place(
        self, *messages: Message, id: str | None = None, after: str | None = None, before: str | None = None
    ) -> Item:
        """Add an item: at the end, `after` an item (FIRST: before all), or `before` one (at the end if that item is
        gone).

        Without messages, the item reserves its place and gets its content later. Raises BadInput: item_exists,
        item_not_found.
        """
        following: list[str] = []
        if after == FIRST:
            following = list(self._items)
        elif after is not None:
            following = self._from(self.get(after).id)[1:]
        elif before is not None and before in self._items:
            following = self._from(before)
        if id is not None and id in self._items:
            raise BadInput(f"There is an item {id[:60]!r} already.", code="item_exists")
        item = Item(id or item_id(), messages)
        self._items[item.id] = item
        for later in following:  # a dict is ordered by insertion
            self._items[later] = self._items.pop(later)
        self._count(item)
        return item

    def __contains__(self, id: str) -> bool:
        """Whether an item with this id exists."""
        return id in self._items

    def get(self, id: str) -> Item:
        """Return the item with this id. Raises BadInput (item_not_found)."""
        item = self._items.get(id)
        if item is None:
            raise BadInput(f"There is no item {id[:60]!r} in the conversation.", code="item_not_found")
        return item

    def delete(self, id: str) -> None:
        """Delete an item. Raises BadInput (item_not_found)."""
        self._drop(self.get(id).id)

    def previous(self, id: str) -> str | None:
        """Return the id of the item before this one; None when it is the first or was deleted."""
        ids = list(self._items)
        at = ids.index(id) if id in self._items else 0
        return ids[at - 1] if at else None

    def begin_with(self, messages: Iterable[Message]) -> None:
        """Begin with the messages of an earlier conversation, those beyond the budget left out. Raises BadInput
        (conversation_begun) if this one has items."""
        if self._items:
            raise BadInput("The conversation has already begun.", code="conversation_begun")
        for message in messages:
            self.place(message)

    def question(self) -> tuple[str, Message]:
        """Return the id of the item with the user's last message, and the message. Raises BadInput (nothing_to_retry)
        if there is none."""
        asked = [
            (id, message)
            for id, item in self._items.items()
            for message in item.messages
            if message.role == "user" and message.content
        ]
        if not asked:
            raise BadInput("There is no question to retry.", code="nothing_to_retry")
        return asked[-1]

    def retract(self) -> Message:
        """Remove the user's last message and all items after it; return the message. Raises BadInput
        (nothing_to_retry) if there is none."""
        last, question = self.question()
        for id in self._from(last):
            self._drop(id)
        return question

    def _from(self, id: str) -> list[str]:
        ids = list(self._items)
        return ids[ids.index(id) :]

    def heard(self, id: str, said: str, language: str | None) -> None:
        """Set the user's words of an item, once they are transcribed; no effect if the item was deleted meanwhile."""
        self.language = language or self.language
        if said:
            self._fill(id, Message("user", said, language))

    def replied(
        self, id: str, heard: str, *, reply: str = "", sound: Timeline | None = None, interrupted: bool = False
    ) -> None:
        """Set the heard part of a reply (empty: nothing); no effect if the item was deleted meanwhile."""
        if (item := self._items.get(id)) is not None:
            item.reply, item.sound = reply or heard, sound
        self._fill(id, *_reply(heard, interrupted=interrupted))

    def called(self, id: str, *messages: Message) -> None:
        """Set the messages of a function call and its result; no effect if the item was deleted meanwhile."""
        self._fill(id, *messages)

    def truncate(self, id: str, played_ms: float) -> None:
        """Cut a reply at `played_ms` of its sound: later text leaves the conversation.

        Raises BadInput: item_not_found, not_spoken (not a reply with sound), out_of_range (beyond the end of the
        sound).
        """
        item = self.get(id)
        if item.sound is None:
            raise BadInput("Only a spoken reply of the assistant can be truncated.", code="not_spoken")
        if played_ms > math.ceil(item.sound.sent_ms):
            raise BadInput(
                f"Audio content of {item.sound.sent_ms:.0f}ms is already shorter than {played_ms:g}ms.",
                code="out_of_range",
            )
        self._fill(id, *_reply(item.sound.heard_text(item.reply, played_ms), interrupted=True))

    def _fill(self, id: str, *messages: Message) -> None:
        item = self._items.get(id)
        if item is not None:
            item.messages = messages
            self._count(item)

    def _count(self, item: Item) -> None:
        """Count the tokens of a new or changed item; drop old items that no prompt can hold."""
        tokens = sum(map(estimated_tokens, item.messages)) or TOKENS_PER_MESSAGE
        self._total_tokens += tokens - self._tokens.get(item.id, 0)
        self._tokens[item.id] = tokens
        # Twice the budget is enough: older items must not pile up in a connection of many hours.
        while self._total_tokens > 2 * self._budget_tokens and len(self._items) > 1:
            self._drop(next(iter(self._items)))
        self.changed()

    def _drop(self, id: str) -> None:
        del self._items[id]
        self._total_tokens -= self._tokens.pop(id)
        self.changed()

    # --- whole turns ---

    def record(
        self,
        said: str,
        language: str | None,
        heard: str,
        *,
        interrupted: bool = False,
        steps: Iterable[tuple[Message, ...]] = (),
    ) -> None:
        """Add one turn: the user's words, the function calls with their results, and the heard part of the reply
        (empty: nothing)."""
        self.language = language or self.language
        self.place(Message("user", said, language))
        for messages in steps:
            self.place(*messages)
        if heard:
            self.replied(self.place().id, heard, interrupted=interrupted)

    def prompt(self, said: str, language: str | None) -> list[Message]:
        """Return the prompt for new words of the user: the system prompt, the turns within the budget, and the new
        message."""
        question = Message("user", said, language)
        return [self._system, *self._told(estimated_tokens(question)), question]

    def standing(self) -> list[Message]:
        """Return the prompt without new words of the user: the system prompt and the turns within the budget."""
        return [self._system, *self._told(0)]

    def _told(self, taken: int) -> list[Message]:
        room = self._budget_tokens - estimated_tokens(self._system) - taken
        return in_order(_newest_within(self.messages, room))


def _reply(heard: str, *, interrupted: bool) -> tuple[Message, ...]:
    return (Message("assistant", heard + INTERRUPTED if interrupted else heard),) if heard else ()


def _newest_within(messages: Sequence[Message], room: int) -> list[Message]:
    """Return all messages if they fit in `room` tokens; else the newest that fit, starting with a user's message."""
    first = len(messages)
    for index in range(len(messages) - 1, -1, -1):
        room -= estimated_tokens(messages[index])
        if room < 0:
            return list(messages[first:])
        if messages[index].role == "user":
            first = index
    return list(messages)

"""Speech that the assistant starts by itself: announcements of functions, and reminders."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine

from pipeline.conversation.history import Conversation, Reminder
from pipeline.conversation.tasks import Tasks
from pipeline.conversation.turn import Announcement

ANNOUNCEMENTS_AHEAD = 8
"""Number of announcements that can wait for a pause; further ones are dropped."""
MAX_REMINDERS = 32
"""Limit of pending reminders in one conversation."""


class Announcements:
    """Announcements of one live conversation: the `pipeline.tools.Company` of the functions called in it."""

    def __init__(
        self,
        conversation: Conversation,
        tasks: Tasks,
        *,
        language: Callable[[], str | None],
        speak_up: Callable[[], None],
    ) -> None:
        """language: returns the spoken language, if it is settled. speak_up: called when there is something to say; the
        callback calls `next` as soon as the floor is free."""
        self._conversation, self._tasks = conversation, tasks
        self._language, self._speak_up = language, speak_up
        self._waiting: deque[Announcement] = deque()

    def resume(self) -> None:
        """Schedule the conversation's pending reminders on this connection, at the start of the conversation or after a
        reconnect."""
        for reminder in self._conversation.reminders:
            self._tasks.start(self._remind(reminder))

    def next(self) -> Announcement | None:
        """Take the next announcement; None when there is none."""
        return self._waiting.popleft() if self._waiting else None

    def clear(self) -> None:
        """Drop the waiting announcements: the client is gone."""
        self._waiting.clear()

    # --- what functions may do ---

    @property
    def spoken_language(self) -> str | None:
        """Spoken language (ISO 639-1), if it is known."""
        return self._language() or self._conversation.language

    def later(self, work: Coroutine[object, object, None]) -> None:
        """Run `work` in the background; it is cancelled when the conversation ends."""
        self._tasks.start(work)

    def announce(self, text: str) -> None:
        """Say `text` as soon as the floor is free; drop it when ANNOUNCEMENTS_AHEAD are already waiting."""
        if len(self._waiting) < ANNOUNCEMENTS_AHEAD:
            self._waiting.append(Announcement(text, self.spoken_language or "en"))
            self._speak_up()

    def remind(self, seconds: float, text: str) -> bool:
        """Announce `text` after `seconds`, also if the client has reconnected by then. Returns False when too many
        reminders are pending."""
        if len(self._conversation.reminders) >= MAX_REMINDERS:
            return False
        reminder = Reminder(asyncio.get_running_loop().time() + seconds, text)
        self._conversation.reminders.append(reminder)
        self._tasks.start(self._remind(reminder))
        return True

    async def _remind(self, reminder: Reminder) -> None:
        await asyncio.sleep(reminder.due_s - asyncio.get_running_loop().time())
        self._conversation.reminders.remove(reminder)
        self.announce(reminder.text)

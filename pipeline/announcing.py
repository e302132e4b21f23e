"""What the assistant says without being asked: what functions announce, and what they want to be reminded of."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from pipeline.conversation import Conversation, Reminder
from pipeline.tasks import Tasks
from pipeline.turn import Announcement

ANNOUNCEMENTS_AHEAD = 8
"""Announcements that may wait for a pause; a further one is dropped."""
MAX_REMINDERS = 32
"""Of one conversation, not announced yet."""


class Announcements:
    """Of one live conversation: the `pipeline.tools.Company` of the functions that are called in it."""

    def __init__(
        self,
        conversation: Conversation,
        tasks: Tasks,
        *,
        language: Callable[[], str | None],
        speak_up: Callable[[], None],
    ) -> None:
        """language: what is spoken, if that is settled. speak_up: told that there is something to say; it takes `next`
        as soon as nobody speaks."""
        self._conversation, self._tasks = conversation, tasks
        self._language, self._speak_up = language, speak_up
        self._waiting: deque[Announcement] = deque()

    def resume(self) -> None:
        """The conversation begins here, or goes on here: what it is to be reminded of is announced here."""
        for reminder in self._conversation.reminders:
            self._tasks.start(self._remind(reminder))

    def next(self) -> Announcement | None:
        """What is to be said first; None when nothing is."""
        return self._waiting.popleft() if self._waiting else None

    def clear(self) -> None:
        """Nobody is there any more to hear what waits."""
        self._waiting.clear()

    # --- what functions may do ---

    @property
    def spoken_language(self) -> str | None:
        """What is spoken (ISO 639-1), as far as it is known."""
        return self._language() or self._conversation.language

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run this beside the conversation, ended with it."""
        self._tasks.start(work)

    def announce(self, text: str) -> None:
        """Say this as soon as nobody speaks; not at all when ANNOUNCEMENTS_AHEAD are waiting for that."""
        if len(self._waiting) < ANNOUNCEMENTS_AHEAD:
            self._waiting.append(Announcement(text, self.spoken_language or "en"))
            self._speak_up()

    def remind(self, seconds: float, text: str) -> bool:
        """Announce this after so many seconds, also when the connection is another one by then; False: there are too
        many such announcements already."""
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

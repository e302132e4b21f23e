"""The speaker's clauses that wait for the language model."""

import asyncio
from collections import deque

from pipeline.transcripts.subtitles import joined
from pipeline.translation.clauses import SourceClause

MERGED_CHARS = 400
"""Longest text that waiting clauses are merged into, in characters: about 25 s of speech."""
MAX_CHARS = 4 * MERGED_CHARS
"""Characters that may wait before the listening waits, too."""


class Backlog:
    """A bounded queue from one task to another. All waiting clauses are taken as one text: a language model that falls
    behind gets longer texts, whose fixed costs it pays once, instead of a longer queue."""

    def __init__(self) -> None:
        self._clauses: deque[SourceClause] = deque()
        self._chars = 0
        self._closed = False
        self._changed = asyncio.Condition()

    async def put(self, clause: SourceClause) -> None:
        """Wait for room, then add the clause."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._chars < MAX_CHARS)
            self._clauses.append(clause)
            self._chars += len(clause.text)
            self._changed.notify_all()

    async def close(self) -> None:
        """End the queue after its clauses."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def take(self) -> SourceClause | None:
        """Wait for a clause; return it with those after it, as far as they have its language. None: the end."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._clauses or self._closed)
            if not self._clauses:
                return None
            taken = [self._clauses.popleft()]
            size = len(taken[0].text)
            while self._clauses and (after := self._clauses[0]).language == taken[0].language:
                size += len(after.text)
                if size > MERGED_CHARS:
                    break
                taken.append(self._clauses.popleft())
            self._chars -= sum(len(one.text) for one in taken)
            self._changed.notify_all()
            return SourceClause(joined(one.text for one in taken), taken[0].language, taken[-1].until_ms)

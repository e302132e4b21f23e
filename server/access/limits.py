"""Limits in total and per caller, without a queue: slots (`AtMost`) and bytes (`Budget`)."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.requests import HTTPConnection

from pipeline.errors import Overloaded
from server.access.callers import Caller
from server.access.pace import MIN_PER_S
from server.sharing.places import Elsewhere, Taken

RETRY_S = 5.0
PACE_BYTES_PER_S = 1 << 23
"""Bytes a second of one caller that are read from its WebSockets: 250 times what speech needs as 16-bit PCM at 16 kHz.
Each costs some 5 ns of the event loop, which all share."""
FRAME_BYTES = 1 << 13
"""Bytes as which a frame of a WebSocket counts in addition to its own: handling even an empty one takes some 40 µs of
the event loop. A conversation sends 50 or 100 frames a second."""
BURST_BYTES = 1 << 25
"""Bytes of one caller that are read at once, before PACE_BYTES_PER_S holds: a largest message."""
BODY_PACE_BYTES_PER_S = 1 << 25
"""Bytes a second of one caller that are read from its requests' bodies: 256 Mbit/s. Reading and storing them costs some
4 ns a byte."""
BODY_BURST_BYTES = 1 << 27
"""Bytes of bodies of one caller that are read at once, before BODY_PACE_BYTES_PER_S holds: an hour of 16-bit PCM."""
SOUND_PER_S, SOUND_PER_CONVERSATION = 8.0, 1.25
"""Seconds of sound that the conversations of one caller hear in a second: this many in all, or this many for each
conversation, whichever is more. A second of sound costs 5 to 15 ms of the event loop, which all share."""
SOUND_BURST_S = 30.0
"""Seconds of sound of one caller that are heard at once, before that pace holds."""
HELD = "parley.held"
"""Key in an ASGI scope under which `AccessMiddleware` stores the connection's share of the memory."""


def share(most: int, part: float = 0.0) -> int:
    """Return how many of `most` slots one caller may have: this part (CALLER_SHARE), or half if it is 0, so that one
    caller cannot hold all of them; at least one."""
    return max(1, int(most * (part or 0.5) + 0.5))


class TooManyOfOne(Overloaded):
    """This caller holds as many slots as one caller may have; other callers are still admitted."""

    code = "too_many_requests"
    openai_code = "rate_limit_exceeded"


class AtMost:
    """A limited number of slots, in total and per caller."""

    def __init__(self, most: int, most_of_one: int, what: str) -> None:
        """most_of_one: limit per key, or per address without a key (`share`). what: the error text after the number
        ("recordings are being transcribed")."""
        self._most, self._most_of_one, self._what = most, most_of_one, what
        self._of: Counter[tuple[str, str]] = Counter()
        self.taken = 0
        """Slots that this process has given."""
        self.elsewhere = Elsewhere()
        """Those of the other processes of the service."""

    @property
    def total(self) -> int:
        """The number of slots that the service has given."""
        return self.taken + self.elsewhere.total

    def here(self) -> Taken:
        """Return the slots that this process has given."""
        return Taken(self.taken, dict(self._of))

    @contextmanager
    def one(self, caller: Caller) -> Iterator[None]:
        """Hold one slot for the duration of the block. Raises Overloaded, TooManyOfOne. Callers on this machine without
        a key may hold all slots."""
        counted_as = caller.counted_as
        if self.total >= self._most:
            raise Overloaded(f"{self._most} {self._what}; retry soon.", retry_after_s=RETRY_S)
        if counted_as is not None and self._of[counted_as] + self.elsewhere.of[counted_as] >= self._most_of_one:
            raise TooManyOfOne(
                f"{self._most_of_one} {self._what} for you, the limit for one caller; retry soon.",
                retry_after_s=RETRY_S,
            )
        self.taken += 1
        if counted_as is not None:
            self._of[counted_as] += 1
        self.elsewhere.changed()
        try:
            yield
        finally:
            self.taken -= 1
            if counted_as is not None:
                self._of[counted_as] -= 1
                if not self._of[counted_as]:
                    del self._of[counted_as]
            self.elsewhere.changed()


class DataPace:
    """A token bucket for each caller, of what it has sent lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: dict[tuple[str, str], tuple[float, float]] = {}
        """Caller → what it has sent above its pace, and when that was so."""

    def sent(self, size: float, caller: tuple[str, str] | None, *, burst: float, per_s: float) -> float:
        """Count `size`; return for how many seconds nothing more of this caller should be read. burst: what may come at
        once. per_s: what may come in a second after that."""
        if caller is None:
            return 0.0
        now = self._clock()
        level, since = self._of.pop(caller, (0.0, now))
        level = max(0.0, level - (now - since) * per_s) + size
        self._of[caller] = level, now
        oldest = next(iter(self._of))
        if now - self._of[oldest][1] > 2 * burst / per_s:  # it has an empty bucket again
            del self._of[oldest]
        return max(0.0, level - burst) / per_s


class Budget:
    """A limit on the bytes that are held at a time. One caller may hold at most half, but always one message."""

    def __init__(self, most: int) -> None:
        self._most, self._most_of_one = most, share(most)
        self._of: Counter[tuple[str, str]] = Counter()
        self.held = 0
        self.bytes_pace, self.body_pace, self.sound_pace, self.request_pace = (DataPace() for _ in range(4))
        self.conversations: Counter[tuple[str, str]] = Counter()
        """Number of each caller's connections that have sent sound."""

    @contextmanager
    def share(self, caller: Caller) -> Iterator["Share"]:
        """Yield the share of one connection of this caller; release it after the block."""
        held = Share(self, caller.counted_as)
        try:
            yield held
        finally:
            held.close()

    def room_for(self, size: int, counted_as: tuple[str, str] | None) -> bool:
        """Whether `size` more bytes may be held."""
        own = self._of[counted_as] if counted_as is not None else 0
        return (not self.held or self.held + size <= self._most) and (not own or own + size <= self._most_of_one)

    def change(self, size: int, counted_as: tuple[str, str] | None) -> None:
        """Add `size` bytes, or subtract them if negative, to what is held."""
        self.held += size
        if counted_as is not None:
            self._of[counted_as] += size
            if not self._of[counted_as]:
                del self._of[counted_as]


class Share:
    """The part of a budget that one connection holds."""

    def __init__(self, budget: Budget, counted_as: tuple[str, str] | None) -> None:
        self._budget, self._counted_as = budget, counted_as
        self._closed = False
        self._converses = False
        self.bytes = 0

    def take(self, size: int) -> bool:
        """Hold `size` more bytes if there is room; return whether there was."""
        if self._closed or not self._budget.room_for(size, self._counted_as):
            return False
        self._change(size)
        return True

    def sent(self, size: int) -> float:
        """Count bytes from the network; return for how many seconds nothing more should be read. The pace grows with
        the caller's conversations as that of `heard` does: a house sends the sound of all its satellites from one
        address."""
        caller = self._counted_as
        if caller is None:
            return 0.0
        per_s = PACE_BYTES_PER_S * self._sound_per_s(caller) / SOUND_PER_S
        return self._budget.bytes_pace.sent(size, caller, burst=BURST_BYTES, per_s=per_s)

    async def paced(self, size: int) -> None:
        """Count bytes from the network; wait as long as nothing more should be read."""
        if wait_s := self.sent(size):
            await asyncio.sleep(wait_s)

    async def uploaded(self, size: int) -> None:
        """Count bytes of a request's body; wait as long as nothing more of this caller's should be read."""
        wait_s = self._budget.body_pace.sent(
            size, self._counted_as, burst=BODY_BURST_BYTES, per_s=BODY_PACE_BYTES_PER_S
        )
        if wait_s:
            await asyncio.sleep(wait_s)

    async def requested(self) -> None:
        """Count one request of a protocol without HTTP; wait as long as no other one should be handled."""
        if wait_s := self._budget.request_pace.sent(1, self._counted_as, burst=2 * MIN_PER_S, per_s=MIN_PER_S):
            await asyncio.sleep(wait_s)

    async def heard(self, seconds: float) -> None:
        """Count sound that a conversation has heard; wait if this caller sends it faster than its conversations can
        have spoken it. So a flood of sound takes the event loop no longer than as many real conversations."""
        caller, conversations = self._counted_as, self._budget.conversations
        if caller is None:
            return
        if not self._converses:
            self._converses = True
            conversations[caller] += 1
        per_s = self._sound_per_s(caller)
        if wait_s := self._budget.sound_pace.sent(seconds, caller, burst=SOUND_BURST_S, per_s=per_s):
            await asyncio.sleep(wait_s)

    def _sound_per_s(self, caller: tuple[str, str]) -> float:
        return max(SOUND_PER_S, SOUND_PER_CONVERSATION * self._budget.conversations[caller])

    def give_back(self, size: int) -> None:
        """Release `size` bytes."""
        if not self._closed:
            self._change(-size)

    def close(self) -> None:
        """Release all bytes; later calls of `take` return False."""
        self._change(-self.bytes)
        self._closed = True
        if self._converses and self._counted_as is not None:
            self._converses = False
            self._budget.conversations[self._counted_as] -= 1
            if not self._budget.conversations[self._counted_as]:
                del self._budget.conversations[self._counted_as]

    def hold(self, size: int) -> None:
        """Hold `size` more bytes. Raises Overloaded when there is no room."""
        if not self.take(size):
            raise Overloaded("Too many bytes are being processed; retry soon.", retry_after_s=RETRY_S)

    @contextmanager
    def held(self, size: int) -> Iterator[None]:
        """Hold `size` more bytes for the duration of the block. Raises Overloaded when there is no room."""
        self.hold(size)
        try:
            yield
        finally:
            self.give_back(size)

    def _change(self, size: int) -> None:
        self.bytes += size
        self._budget.change(size, self._counted_as)


def held_of(connection: HTTPConnection) -> Share:
    """Return the share of the memory that an admitted connection holds; it is released when the connection ends."""
    held = connection.scope[HELD]
    assert isinstance(held, Share)  # noqa: S101  # beside the caller
    return held

"""Telephone calls by Twilio and AudioSocket: the time from an interruption to silence, and the drift of a long call.

    python -m bench.telephone [--interruptions 50] [--minutes 10]

The real endpoints, scripted stages and the real voice activity detector on virtual time, so that the load of a machine
does not count: neither do the network and the computing, of which a frame needs under 1 ms. The telephones of
`tests/telephone/` speak and hear 20 ms at a time.

An interruption begins with the first frame of the caller's speech; it ends with `clear` or, over AudioSocket, with the
last loud sample. "Decided" is the part of this time until the reply is held, because the detector knows the speech;
"then" is the rest. Drift is how much later a reply is heard in the last minute of a call than in its first, and how
much the service's sound is ahead of the telephone's clock: in Twilio's buffer, or in frames of AudioSocket, whose sound
never pauses.
"""

import argparse
import asyncio
import statistics
from collections.abc import Iterable
from typing import Any

import numpy as np

from bench.rows import Rows
from bench.speaker import RATE_HZ, cut, question
from pipeline.assistant import Assistant
from pipeline.audio.clip import Clip
from pipeline.conversation.events import Event, SpeechHeld
from pipeline.conversation.outlet import Sink
from pipeline.conversation.session import Session
from tests.telephone import virtual
from tests.telephone.asterisk import AsteriskPhone
from tests.telephone.phone import FRAME_S, Phone
from tests.telephone.twilio import TwilioPhone
from tests.waiting import eventually

TRANSPORTS = ("twilio", "asterisk")
MINUTE_S = 60.0
PATIENCE_S = 3600.0
SPOKEN_S = 1.5
"""Seconds of a reply before it is interrupted."""
QUIET_S = 0.4
"""Silence after which a reply is over."""
STEP_S = 0.02
"""Additional seconds before each interruption, so that it begins anywhere in a frame of the detector."""
WORDS = ("no that is wrong", "what about tomorrow", "tell me something else", "turn off the light", "what time is it")


async def asked(phone: Phone) -> float:
    """Ask a question; return the seconds from its last frame to the first sound of the reply."""
    since = len(phone.heard)
    phone.say(Clip(question(), RATE_HZ))
    await eventually(lambda: not phone.talking, PATIENCE_S)
    ended = len(phone.heard)
    await eventually(lambda: phone.loud_s(since), PATIENCE_S)
    first = next(at for at in range(since, len(phone.heard)) if phone.loud_s(at) != phone.loud_s(at + 1))
    return (first - ended) * FRAME_S


async def quiet(phone: Phone) -> None:
    """Wait until the reply is over."""
    await eventually(lambda: not phone.loud_s(-round(QUIET_S / FRAME_S)), PATIENCE_S)


class Watched(Sink):
    """A call that notes the times at which its reply is held."""

    def __init__(self, call: Sink, held_at: list[float]) -> None:
        self._call, self._held_at = call, held_at

    def offer(self, event: Event, /) -> bool:
        if isinstance(event, SpeechHeld):
            self._held_at.append(asyncio.get_running_loop().time())
        return self._call.offer(event)

    def close(self, error: BaseException | None = None) -> None:
        self._call.close(error)


async def interruption(phone: Phone, number: int) -> tuple[float, float]:
    """Interrupt a reply; return the loop times of the first frame of speech and of silence."""
    await asked(phone)
    await asyncio.sleep(SPOKEN_S + number * STEP_S)
    phone.say(Clip(cut(WORDS[number % len(WORDS)]), RATE_HZ))
    if isinstance(phone, TwilioPhone):
        await eventually(lambda: phone.cleared, PATIENCE_S)
        silent = phone.cleared[0]
    else:
        assert isinstance(phone, AsteriskPhone)
        loop = asyncio.get_running_loop()
        await eventually(lambda: loop.time() > phone.loud_at + 2 * FRAME_S, PATIENCE_S)
        silent = phone.loud_until
    assert phone.spoke_at is not None
    return phone.spoke_at, silent


def interruptions_ms(transport: str, numbers: Iterable[int]) -> list[tuple[float, float]]:
    """Return the milliseconds from each caller's speech to the decision, and to silence."""
    taken: list[tuple[float, float]] = []
    held_at: list[float] = []

    class Deployment(Assistant):
        def session(self, *given: Any, sink: Sink, **options: Any) -> Session:  # type: ignore[override]
            return super().session(*given, sink=Watched(sink, held_at), **options)

    async def script(phone: Phone, number: int) -> None:
        spoke, silent = await interruption(phone, number)
        decided = next(at for at in held_at if at >= spoke)
        taken.append(((decided - spoke) * 1000, (silent - spoke) * 1000))

    for number in numbers:
        # Each in its own call: after a gap between two words, which counts as a false alarm, the next hold is later.
        held_at.clear()
        virtual.call(transport, lambda phone, number=number: script(phone, number), deployment=Deployment)  # type: ignore[misc]
    return taken


def interruptions(transport: str, rounds: int, rows: Rows) -> None:
    taken = interruptions_ms(transport, range(rounds))
    parts = [silent for _, silent in taken], [decided for decided, _ in taken], [end - at for at, end in taken]
    cells = [f"{np.percentile(part, share):.0f} ms" for part in parts for share in (50, 95)]
    rows.add(transport, str(rounds), *cells, f"{max(parts[0]):.0f} ms")


def long_call(transport: str, minutes: float, rows: Rows) -> None:
    replies: list[tuple[float, float, float]] = []

    async def script(phone: Phone) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while (at := loop.time() - begun) < minutes * MINUTE_S:
            delay_s = await asked(phone)
            await asyncio.sleep(SPOKEN_S)
            replies.append((at, delay_s * 1000, ahead_ms(phone)))
            await quiet(phone)

    virtual.call(transport, script)
    cells = [f"{minutes:g} min", str(len(replies))]
    for number in (1, 2):
        first = statistics.median(one[number] for one in replies if one[0] < MINUTE_S)
        last = statistics.median(one[number] for one in replies if one[0] > replies[-1][0] - MINUTE_S)
        cells += [f"{first:.0f} ms", f"{last:.0f} ms"]
    rows.add(transport, *cells)


def ahead_ms(phone: Phone) -> float:
    """Return how far the service's sound is ahead of the telephone's clock, in ms."""
    if isinstance(phone, TwilioPhone):
        return phone.ahead_s * 1000
    assert isinstance(phone, AsteriskPhone)
    return (len(phone.arrived) * FRAME_S - (phone.arrived[-1] - phone.arrived[0])) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interruptions", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10.0)
    chosen = parser.parse_args()
    if chosen.interruptions:
        rows = Rows("silence after", "rounds", "median", "p95", "decided", "p95", "then", "p95", "most")
        for transport in TRANSPORTS:
            interruptions(transport, chosen.interruptions, rows)
    if chosen.minutes:
        rows = Rows("call", "time", "replies", "reply after", "in the last minute", "ahead", "in the last minute")
        for transport in TRANSPORTS:
            long_call(transport, chosen.minutes, rows)


if __name__ == "__main__":
    main()

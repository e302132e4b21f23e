"""Playback of a reply on virtual time: pacing, holds, and the part that was heard."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.audio.clip import Clip
from pipeline.conversation.playback import FADE_MS, FRAME_MS, Playback
from pipeline.conversation.timeline import Span
from tests import virtual_time

RATE_HZ = 16_000
FIRST, SECOND = "One two three four. ", "Five six seven eight nine."
REPLY = FIRST + SECOND
SPANS = ((0, len(FIRST) - 1), (len(FIRST), len(REPLY)))


@dataclass
class Listener:
    """The sent frames with their times, as the listener gets them."""

    playback: Playback
    frames: list[tuple[float, Clip, Span]] = field(default_factory=list)
    """Time of sending (ms of virtual time), audio, and span of characters of each frame."""

    @property
    def sent_ms(self) -> float:
        return sum(len(clip.samples) for _, clip, _ in self.frames) * 1000 / RATE_HZ

    def ahead_ms(self) -> Iterable[float]:
        """Yield after each frame how far sending was ahead of a listener without a buffer."""
        playing_until = 0.0
        for at, clip, _ in self.frames:
            playing_until = max(playing_until, at) + clip.seconds * 1000
            yield playing_until - at

    def add(self, ms: float, span: Span, level: float = 0.5) -> None:
        self.playback.add(Clip(np.full(int(RATE_HZ * ms / 1000), level, np.float32), RATE_HZ), span)

    async def wait(self, ms: float) -> None:
        await asyncio.sleep(ms / 1000)


def play(script: Callable[[Listener], Awaitable[None]], lead_ms: float = 200) -> Listener:
    """Run a playback during the script, and then to its end unless the script stops it."""

    async def run() -> Listener:
        loop = asyncio.get_running_loop()

        def send(clip: Clip, span: Span) -> None:
            listener.frames.append((loop.time() * 1000, clip, span))

        listener = Listener(Playback(send, lead_ms=lead_ms))
        running = asyncio.create_task(listener.playback.run())
        await script(listener)
        async with asyncio.timeout(60):
            await running
        return listener

    return virtual_time.run(run())


@given(
    lead_ms=st.sampled_from([40, 120, 200, 1000]),
    pieces=st.lists(st.tuples(st.integers(0, 600), st.integers(1, 700)), min_size=1, max_size=8),
)
@settings(max_examples=40)
def test_all_audio_is_sent_in_order_and_never_too_early(lead_ms: int, pieces: list[tuple[int, int]]) -> None:
    """The voice delivers chunks of any length, with any wait before each."""
    samples = np.arange(sum(ms for _, ms in pieces) * RATE_HZ // 1000, dtype=np.float32)

    async def script(listener: Listener) -> None:
        start = 0
        for wait_ms, ms in pieces:
            await listener.wait(wait_ms)
            listener.playback.add(Clip(samples[start : start + ms * 16], RATE_HZ), SPANS[0])
            start += ms * 16
        listener.playback.complete()

    listener = play(script, lead_ms)
    assert np.array_equal(np.concatenate([clip.samples for _, clip, _ in listener.frames]), samples)
    assert max(listener.ahead_ms()) <= max(lead_ms, FRAME_MS) + 1
    assert all(clip.seconds * 1000 == FRAME_MS for _, clip, _ in listener.frames[:-1])


def test_playback_ends_when_the_listener_has_heard_it() -> None:
    async def script(listener: Listener) -> None:
        listener.add(1000, SPANS[0])
        listener.playback.complete()
        await listener.wait(990)
        assert listener.playback.audible
        assert listener.playback.played_ms() == pytest.approx(990, abs=2)
        await listener.wait(20)
        assert not listener.playback.audible
        assert listener.playback.played_ms() == 1000

    play(script)


def test_hold_fades_out_and_resume_continues_at_the_same_sample() -> None:
    async def script(listener: Listener) -> None:
        listener.playback.add(Clip(np.linspace(0.5, 0.6, 32_000, dtype=np.float32), RATE_HZ), SPANS[0])
        listener.playback.complete()
        await listener.wait(500)
        before = listener.sent_ms
        listener.playback.hold()
        await listener.wait(1000)
        assert listener.sent_ms == before + FADE_MS
        assert listener.playback.played_ms() == listener.sent_ms  # playback ran out of audio, so its clock stands still
        listener.playback.resume()

    listener = play(script)
    (faded,) = [index for index, (_, clip, _) in enumerate(listener.frames) if clip.seconds * 1000 == FADE_MS]
    fade = listener.frames[faded][1].samples
    assert fade[-1] == 0
    assert np.all(np.diff(fade) < 0)
    assert fade[0] == pytest.approx(listener.frames[faded + 1][1].samples[0])  # these 20 ms are repeated at full volume
    kept = np.concatenate([clip.samples for index, (_, clip, _) in enumerate(listener.frames) if index != faded])
    assert np.array_equal(kept, np.linspace(0.5, 0.6, 32_000, dtype=np.float32))


def test_hold_before_the_first_audio_delays_it() -> None:
    async def script(listener: Listener) -> None:
        listener.playback.hold()
        listener.add(400, SPANS[0])
        listener.playback.complete()
        await listener.wait(1000)
        assert listener.frames == []
        listener.playback.resume()

    assert play(script).sent_ms == 400


@pytest.mark.parametrize("held", [False, True])
def test_nothing_is_sent_after_a_stop(held: bool) -> None:
    async def script(listener: Listener) -> None:
        listener.add(2000, SPANS[0])
        await listener.wait(500)
        if held:
            listener.playback.hold()
        before = listener.sent_ms
        listener.playback.stop()
        assert listener.sent_ms == before + (0 if held else FADE_MS)
        assert listener.frames[-1][1].samples[-1] == 0
        after = listener.sent_ms
        listener.playback.add(Clip(np.ones(16_000, np.float32), RATE_HZ), SPANS[1])
        for late in (listener.playback.resume, listener.playback.hold, listener.playback.complete):
            late()
        listener.playback.stop()
        await listener.wait(1000)
        assert listener.sent_ms == after

    play(script)


def test_playback_clock_waits_for_a_late_voice() -> None:
    """The listener hears nothing in the gap, so that the gap does not count as heard."""

    async def script(listener: Listener) -> None:
        listener.add(400, SPANS[0])
        await listener.wait(2000)
        assert listener.playback.played_ms() == 400
        listener.add(1000, SPANS[1])
        await listener.wait(300)
        assert listener.playback.played_ms() == pytest.approx(700, abs=1)
        listener.playback.complete()

    listener = play(script)
    assert max(listener.ahead_ms()) <= 200 + 1


@pytest.mark.parametrize(
    ("played_ms", "heard"),
    [
        (0, ""),
        (100, ""),
        (300, "One"),
        (900, "One two three"),
        (999, "One two three"),
        (1000, "One two three four."),
        (1100, "One two three four."),
        (1350, "One two three four. Five"),
        (2999, "One two three four. Five six seven eight"),
        (3000, REPLY),
        (9999, REPLY),
    ],
)
def test_heard_text_is_whole_clauses_and_then_whole_words(played_ms: float, heard: str) -> None:
    async def script(listener: Listener) -> None:
        listener.add(1000, SPANS[0])
        listener.add(2000, SPANS[1])
        listener.playback.complete()
        await listener.wait(3500)
        assert listener.playback.timeline.heard_text(REPLY, played_ms) == heard

    play(script)


def test_heard_text_of_an_unfinished_clause_is_proportional() -> None:
    """The voice runs at real-time speed: the listener has heard all audio of the clause, but not all its words."""

    async def script(listener: Listener) -> None:
        listener.add(700, SPANS[0])  # of some 1.3 s
        await listener.wait(1000)
        assert listener.playback.heard_text(REPLY) == "One two"
        listener.add(600, SPANS[0])
        listener.add(500, SPANS[1])  # the pace of the voice is now known: 14.6 characters a second
        await listener.wait(2000)
        assert listener.playback.heard_text(REPLY) == "One two three four. Five"
        listener.playback.stop()

    play(script)


def test_audio_repeated_around_a_hold_counts_once() -> None:
    async def script(listener: Listener) -> None:
        listener.add(1000, SPANS[0])
        listener.add(2000, SPANS[1])
        listener.playback.complete()
        await listener.wait(600)
        listener.playback.hold()
        await listener.wait(1000)
        listener.playback.resume()
        sent = listener.playback.sent_ms
        await listener.wait(1200)
        source = (sent - FADE_MS) + 1200  # position in the reply, without the repeated part
        expected = len(SECOND) * (source - 1000) / 2000
        assert len(listener.playback.heard_text(REPLY)) - len(FIRST) == pytest.approx(expected, abs=5)
        listener.playback.stop()

    play(script)


def test_reported_position_of_the_client_is_used() -> None:
    async def script(listener: Listener) -> None:
        listener.add(1000, SPANS[0])
        listener.add(2000, SPANS[1])
        listener.playback.complete()
        await listener.wait(1500)
        assert listener.playback.heard_text(REPLY) == "One two three four. Five"
        listener.playback.report(950)  # the client buffers
        assert listener.playback.heard_text(REPLY) == "One two three"
        sent = listener.sent_ms
        await listener.wait(250)
        assert listener.playback.played_ms() == pytest.approx(1200)  # and continues from there
        assert listener.sent_ms == sent  # the lead counts from there as well
        listener.playback.report(1e9)
        assert listener.playback.played_ms() == listener.sent_ms
        listener.playback.report(-5)
        assert listener.playback.played_ms() == 0

    play(script)


def test_audio_of_another_rate_is_resampled_to_the_first() -> None:
    async def script(listener: Listener) -> None:
        listener.add(400, SPANS[0])
        listener.playback.add(Clip(np.zeros(24_000 // 2, np.float32), 24_000), SPANS[1])
        listener.playback.complete()

    listener = play(script)
    assert {clip.rate_hz for _, clip, _ in listener.frames} == {RATE_HZ}
    assert listener.sent_ms == pytest.approx(900, abs=1)
    assert [span for _, _, span in listener.frames] == [SPANS[0]] * 10 + [SPANS[1]] * 13

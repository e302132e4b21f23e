"""Speech that its reader does not take: little of it is made, the voice stays free for others, and its bytes count."""

import asyncio
from contextlib import aclosing

import numpy as np
import pytest

from pipeline.conversation import events
from pipeline.conversation.history import Conversation
from pipeline.conversation.turn import Announcement, Stages, Turn
from pipeline.errors import Overloaded
from pipeline.settings import Settings
from pipeline.speech.clauses import split
from pipeline.speech.synthesize import clips_of, said
from pipeline.speech.unread import AHEAD_S, Unread
from server.access.limits import Budget, Share
from tests import virtual_time
from tests.scripted import VOICE, ScriptedLLM, ScriptedSTT, ScriptedTTS

TEXT = "The heron stands quite still, and it waits for a small fish. " * 60
CLAUSE_S = max(len(clause.text) for clause in split(TEXT)) * 0.06
"""The longest clause, as the scripted voice speaks it."""
LONG_S = 3000.0


def made_s(tts: ScriptedTTS) -> float:
    return sum(map(len, tts.spoken)) * 0.06


def test_a_text_is_spoken_a_little_ahead_of_its_reader_and_then_to_its_end() -> None:
    tts = ScriptedTTS()

    async def read() -> float:
        async with aclosing(clips_of(said(tts, TEXT, voice=VOICE, language="en"))) as clips:
            seconds = (await anext(clips)).seconds
            await asyncio.sleep(LONG_S)
            assert AHEAD_S <= made_s(tts) <= AHEAD_S + 2 * CLAUSE_S
            assert not tts.running.now, "the voice waits in the middle of a clause"
            return seconds + sum([clip.seconds async for clip in clips])

    assert virtual_time.run(read()) == pytest.approx(made_s(tts), rel=0.02)
    assert len(tts.spoken) == len(split(TEXT))


def test_a_spoken_reply_waits_for_its_reader_likewise() -> None:
    tts, unread = ScriptedTTS(), Unread()
    turn = Turn(
        Stages(ScriptedSTT(), ScriptedLLM(), tts), Settings(), voice=VOICE, language="en", unread=unread
    )  # fmt: skip

    async def read() -> events.Event:
        clips = []
        async with aclosing(turn.run(Announcement(TEXT, "en"), Conversation("sys", budget_tokens=4000))) as happenings:
            async for event in happenings:
                if isinstance(event, events.SpeechChunk):
                    clips.append(event.clip)
                if sum(clip.seconds for clip in clips) > AHEAD_S:
                    break
            await asyncio.sleep(AHEAD_S)
            assert made_s(tts) <= AHEAD_S + 2 * CLAUSE_S
            assert not tts.running.now
            for clip in clips:
                unread.taken(clip)
            async for event in happenings:
                if isinstance(event, events.SpeechChunk):
                    unread.taken(event.clip)
            return event

    assert isinstance(virtual_time.run(read()), events.TurnCompleted)
    assert len(tts.spoken) == len(split(TEXT))


def test_sound_that_waits_takes_its_callers_room_until_read_or_left() -> None:
    second = 4 * len(np.zeros(24_000, np.float32))
    budget = Budget(3 * second)
    share = Share(budget, ("key", "anna"))

    async def leave() -> None:
        async with aclosing(
            clips_of(said(ScriptedTTS(), "One two three.", voice=VOICE, language="en", room=share))
        ) as clips:
            await anext(clips)
            await asyncio.sleep(LONG_S)
            assert 0 < budget.held < second
        assert budget.held == 0

    async def read() -> None:
        with pytest.raises(Overloaded):
            async with aclosing(clips_of(said(ScriptedTTS(), TEXT, voice=VOICE, language="en", room=share))) as clips:
                await anext(clips)
                await asyncio.sleep(LONG_S)
                async for _ in clips:
                    pass
        assert budget.held == 0

    virtual_time.run(leave())
    virtual_time.run(read())

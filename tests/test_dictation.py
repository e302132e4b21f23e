"""Dictation: audio that waits for a transcript counts towards the budget while it waits."""

import asyncio

import numpy as np

from pipeline.audio.clip import Clip
from pipeline.conversation.dictation import Dictation
from pipeline.conversation.events import Event, UtteranceFailed, UtteranceTranscribed
from pipeline.conversation.history import Conversation
from pipeline.stt import Transcript
from tests import virtual_time

CLIP = Clip(np.zeros(16_000, np.float32), 16_000)
SIZE = CLIP.samples.nbytes


class Counted:
    """A budget of `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most, self.held = most, 0

    def take(self, size: int, /) -> bool:
        if self.held + size > self._most:
            return False
        self.held += size
        return True

    def give_back(self, size: int, /) -> None:
        self.held -= size


async def heard(clip: Clip) -> Transcript:
    await asyncio.sleep(5)
    return Transcript("hello", "en", clip.seconds)


def test_audio_of_a_speculative_transcript_counts_towards_the_budget() -> None:
    room, told = Counted(2 * SIZE), list[Event]()

    async def write() -> None:
        conversation = Conversation("sys", budget_tokens=4000)
        dictation = Dictation(conversation, transcribe=heard, start=asyncio.create_task, emit=told.append, room=room)
        dictation.read(CLIP)
        dictation.write(CLIP, conversation.place().id, read=True)
        assert room.held == 2 * SIZE
        dictation.write(CLIP, conversation.place().id)
        assert isinstance(told[-1], UtteranceFailed)
        await dictation.written()
        assert room.held == 0
        reading = dictation.read(CLIP)
        await asyncio.wait([reading])
        dictation.write(CLIP, conversation.place().id, read=True)
        assert room.held == SIZE
        await dictation.written()
        assert room.held == 0

    virtual_time.run(write())
    assert [type(one) for one in told] == [UtteranceFailed, UtteranceTranscribed, UtteranceTranscribed]

"""The sound of a pause: whether it is that of an ending, for one live conversation."""

import asyncio

from pipeline.audio.clip import Clip
from pipeline.conversation.dictation import Start
from pipeline.listening.endpointing import Sound
from pipeline.listening.smart_turn import TurnEnd

ASK_MS = 200
"""Silence after which the sound is judged, once a pause. The model was trained on 200 ms. Judging again later is worse
(`bench.endpointing`): longer silence alone makes an ending more likely for the model."""
FINISHED = 0.7
"""Probability from which the user has finished. At the model's usual 0.5, a third instead of a fifth of the pauses of
600 ms in real speech were cut off, at the same delays."""
ESTIMATE_S = 0.3
"""Timeout for an estimate in seconds; then the words decide alone."""


class PauseSound:
    """The judgement on the current pause. A pause is known by its first sample, so a new one is not judged yet."""

    def __init__(self, turn_end: TurnEnd | None, start: Start) -> None:
        """turn_end: makes the estimates; None: there are none. start: starts a task of the conversation."""
        self._turn_end, self._start = turn_end, start
        self._pause = -1
        self._sound = Sound.UNKNOWN

    def due(self, pause: int, silence_ms: float) -> bool:
        """Whether to judge this pause now."""
        return self._turn_end is not None and pause != self._pause and silence_ms >= ASK_MS

    def judge(self, pause: int, clip: Clip) -> None:
        """Judge a pause. clip: the utterance so far with its silence, at 16 kHz."""
        self._pause, self._sound = pause, Sound.COMING
        self._start(self._judge(pause, clip))

    def of(self, pause: int) -> Sound:
        """Return what the sound of this pause tells so far."""
        if self._turn_end is None:
            return Sound.UNKNOWN
        return self._sound if pause == self._pause else Sound.COMING

    async def _judge(self, pause: int, clip: Clip) -> None:
        assert self._turn_end is not None  # noqa: S101  # `due` was asked before
        finished: float | None = None
        try:
            async with asyncio.timeout(ESTIMATE_S):
                finished = await self._turn_end.probability(clip.samples)
        except TimeoutError:
            pass
        finally:
            if pause == self._pause:
                self._sound = _sound(finished)


def _sound(finished: float | None) -> Sound:
    if finished is None:
        return Sound.UNKNOWN
    return Sound.FINISHED if finished >= FINISHED else Sound.GOES_ON

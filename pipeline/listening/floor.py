"""Who has the floor while the assistant answers: the reply is held at a sound, and given up only for words."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from pipeline import observing
from pipeline.audio import Clip
from pipeline.errors import ParleyError
from pipeline.listening.ear import Ear
from pipeline.listening.interruption import BargeIn, Decision, words_beyond_backchannels
from pipeline.listening.options import LiveOptions
from pipeline.playback import Playback
from pipeline.stt import Transcript

JUDGEMENT_S = 1.0
"""A judgement that takes longer than this is for the user: the reply is interrupted."""


class Floor:
    """Follows the sound during one answer after the other. At most one claim at a time."""

    def __init__(
        self,
        ear: Ear,
        *,
        transcribe: Callable[[Clip], Coroutine[Any, Any, Transcript]],
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        held: Callable[[], None],
        resumed: Callable[[], None],
        taken: Callable[[], None],
    ) -> None:
        """start: makes a task of the conversation. held, resumed: told when sound that was being heard stops and goes
        on. taken: told when the user has interrupted; it ends the answer, and with it the claim."""
        self._ear = ear
        self._transcribe, self._start = transcribe, start
        self._held, self._resumed, self._taken = held, resumed, taken
        self._claim: BargeIn | None = None
        self._judgement: asyncio.Task[None] | None = None
        self._holds: Playback | None = None
        """The sound that is held for the claim."""

    @property
    def claimed(self) -> int | None:
        """The first sample of what the user says during the answer, as long as it may be words for the assistant."""
        return self._claim.began if self._claim is not None else None

    @property
    def holding(self) -> bool:
        """Whether the reply waits for a decision."""
        return self._holds is not None

    def follow(self, playback: Playback, options: LiveOptions, language: str | None) -> None:
        """The next frame of the user's sound has been taken. playback: the answer's.

        Where the user cannot interrupt the reply is not held; their words are kept for after it.
        """
        if self._claim is None:
            if self._ear.detector.run_ms < options.hold_ms:
                self._ear.keep_preroll()
                return
            self._claim = BargeIn(self._ear.detector.began)
            if options.interruptible:
                self._holds = playback
                playback.hold()
                if playback.sent_ms:
                    self._held()
            return
        if self._holds is None:
            self._ear.keep_newest(options.max_utterance_s)  # nobody waits for it; a reply may be long
        match self._claim.decide(self._ear.detector, options):
            case Decision.CUT_IN:
                self._give(self._claim)
            case Decision.GO_ON:
                self.refuse()
            case Decision.JUDGE:
                self._judge(self._claim, options, language)
            case Decision.WAIT:
                pass

    def refuse(self) -> None:
        """It was no interruption: the reply goes on from where it was held."""
        playback = self._holds
        self.clear()
        self._ear.keep_preroll()
        if playback is not None:
            playback.resume()
            if playback.sent_ms:
                observing.RESUMED.inc()
                self._resumed()

    def clear(self) -> None:
        """There is no claim any more."""
        self._claim = self._holds = None
        if self._judgement is not None:
            self._judgement.cancel()
            self._judgement = None

    def _give(self, claim: BargeIn) -> None:
        claim.stands = True
        if self._holds is not None:
            self._taken()

    def _judge(self, claim: BargeIn, options: LiveOptions, language: str | None) -> None:
        claim.judging = True
        self._ear.keep_preroll(claim.began)
        judging = self._judge_by_words(claim, self._ear.detector.now, self._ear.clip(), options, language)
        self._judgement = self._start(judging)

    async def _judge_by_words(
        self, claim: BargeIn, until: int, clip: Clip, options: LiveOptions, language: str | None
    ) -> None:
        """Whether what was said during the reply is more than a back-channel."""
        try:
            async with asyncio.timeout(JUDGEMENT_S):
                heard = await self._transcribe(clip)
            words = words_beyond_backchannels(
                heard.text,
                heard.language or language,
                more_comes=self._ear.detector.speaking or self._ear.detector.last_speech > until,
            )
        except (ParleyError, TimeoutError):
            words = options.interrupt_words
        if claim is not self._claim:
            return
        self._judgement = None
        claim.judging, claim.judged_until = False, until
        if words >= options.interrupt_words:
            self._give(claim)

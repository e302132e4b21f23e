"""The floor during a reply: the reply is held at a sound, and stopped only for words."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from pipeline.audio.clip import Clip
from pipeline.conversation.playback import Playback
from pipeline.errors import ParleyError
from pipeline.listening.detector import RATE_HZ
from pipeline.listening.ear import Ear, samples
from pipeline.listening.false_alarms import Wariness
from pipeline.listening.interruption import BargeIn, Decision, is_echo, words_beyond_backchannels
from pipeline.listening.options import LiveOptions
from pipeline.stt import Transcript
from pipeline.telemetry import metrics

JUDGEMENT_S = 1.0
"""Timeout for a judgement in seconds; when it is exceeded, the user gets the floor and the reply is interrupted."""


OVERLAP = RATE_HZ
"""Samples before the newest judgement that stay part of a claim for which the reply is not held."""
LONGEST_CHAIN = 5 * RATE_HZ
"""Limit in samples for how far a claim extends back over earlier refused claims that follow each other closely."""


@dataclass(frozen=True, slots=True)
class _Refused:
    """A claim that was not a barge-in, or not yet."""

    since: int
    """Start of the claim, including refused claims that it continued."""
    began: int
    """Start of the claim itself."""
    ended: int
    """End of its last speech."""
    unjudged_ms: float
    """Duration of speech in it that was too short to be judged."""


class Floor:
    """Follows the user's audio during each answer. At most one claim at a time."""

    def __init__(
        self,
        ear: Ear,
        *,
        transcribe: Callable[[Clip], Coroutine[Any, Any, Transcript]],
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        saying: Callable[[], str],
        held: Callable[[], None],
        resumed: Callable[[], None],
        taken: Callable[[], None],
    ) -> None:
        """start: starts a task of the conversation. saying: returns the text around the playback position. held,
        resumed: called when audible playback is held and resumed. taken: called when the user has interrupted; it ends
        the answer, and with it the claim."""
        self._ear = ear
        self._transcribe, self._start, self._saying = transcribe, start, saying
        self._held, self._resumed, self._taken = held, resumed, taken
        self._wariness = Wariness()
        self._claim: BargeIn | None = None
        self._since = 0
        """First sample of the user's words, including refused claims that the claim continues."""
        self._refused: _Refused | None = None
        self._judgement: asyncio.Task[None] | None = None
        self._holds: Playback | None = None
        """The playback that is held for the claim."""
        self._options: LiveOptions | None = None

    @property
    def claimed(self) -> int | None:
        """First sample of the user's speech during the answer, as long as it can be words for the assistant."""
        return None if self._claim is None or self._is_nothing(self._claim) else self._since

    @property
    def holding(self) -> bool:
        """Whether the reply is held for a decision."""
        return self._holds is not None

    def begins(self, at: int, options: LiveOptions) -> int:
        """Return the start of speech that begins at this sample: within SILENCE_MS of a refused claim, that claim's
        start."""
        refused = self._refused
        if refused is None or at - refused.ended > options.silence_ms * RATE_HZ // 1000:
            return at
        return min(at, refused.since if at - refused.since <= LONGEST_CHAIN else refused.began)

    def keep(self, options: LiveOptions) -> None:
        """Keep the pre-roll of an utterance or claim that starts now or has just started."""
        detector = self._ear.detector
        self._ear.keep_preroll(self.begins(detector.began if detector.speaking else detector.now, options))

    def follow(self, playback: Playback, options: LiveOptions, language: str | None) -> None:
        """Process the next frame of the user's audio. playback: the answer's.

        If the user cannot interrupt, the reply is not held, and their words are kept for after it. It is also not held
        at once if earlier holds were false alarms (`Wariness`): then words interrupt it while it plays.
        """
        self._options = options
        if self._claim is None:
            if self._ear.detector.run_ms < options.hold_ms:
                self.keep(options)
                return
            self._open(options)
        claim = self._claim
        assert claim is not None  # noqa: S101  # it was opened above
        if not claim.held and not claim.stands and options.interruptible:
            self._hold_when_sure(claim, playback, options)
        if self._holds is None:
            self._ear.keep_newest(options.max_utterance_s)  # bounds the buffer, because a reply may be long
        match claim.decide(self._ear.detector, options):
            case Decision.CUT_IN:
                self._give(claim)
            case Decision.GO_ON:
                self.refuse()
            case Decision.JUDGE:
                self._judge(claim, options, language)
            case Decision.WAIT:
                pass

    def refuse(self) -> None:
        """Refuse the claim: the reply resumes where it was held."""
        claim, playback, detector = self._claim, self._holds, self._ear.detector
        if claim is not None:
            self._wariness.in_vain(detector.now, held=playback is not None)
        self._leave_claim()
        if self._options is not None:
            self.keep(self._options)
        if playback is not None:
            playback.resume()
            if playback.sent_ms:
                metrics.RESUMED.inc()
                self._resumed()

    def clear(self) -> None:
        """Drop the claim, because the answer ends."""
        if self._claim is not None and self.claimed is None:
            self._ear.detector.cut()  # speech that was judged to be nothing is not the start of later speech
        self._leave_claim()

    def forget_refused(self) -> None:
        """Forget the refused claim: later speech starts at its own first sample."""
        self._refused = None

    def _is_nothing(self, claim: BargeIn) -> bool:
        """Whether the claim has nothing to reply to so far; the reply continues meanwhile."""
        return not claim.held and bool(claim.judged_until) and not claim.stands

    def _open(self, options: LiveOptions) -> None:
        """Open a claim."""
        began = self._ear.detector.began
        self._since = self.begins(began, options)
        before_ms = self._refused.unjudged_ms if self._refused is not None and self._since < began else 0.0
        self._refused = None
        self._claim = BargeIn(began, held=False, before_ms=before_ms)

    def _hold_when_sure(self, claim: BargeIn, playback: Playback, options: LiveOptions) -> None:
        detector = self._ear.detector
        enough_ms = self._wariness.hold_ms(detector.now, options)
        if max(claim.spoken_ms(detector), detector.run_ms) >= enough_ms:
            self._hold(claim, playback, late=enough_ms > options.hold_ms)

    def _hold(self, claim: BargeIn, playback: Playback, *, late: bool) -> None:
        """Hold the reply. late: the claim may be an echo of the reply, which ends when the audio sent so far has been
        played."""
        claim.held = True
        if late:
            claim.held_from = self._ear.detector.now + samples(playback.sent_ms - playback.played_ms())
        self._holds = playback
        playback.hold()
        if playback.sent_ms:
            self._held()

    def _leave_claim(self) -> None:
        claim, detector = self._claim, self._ear.detector
        if claim is not None:
            since = max(self._since, claim.judged_until) if self._is_nothing(claim) else self._since
            unjudged_ms = 0.0 if claim.judged_until else max(0.0, claim.spoken_ms(detector)) + claim.before_ms
            self._refused = _Refused(since, max(since, claim.began), detector.last_speech, unjudged_ms)
        self._claim = self._holds = None
        if self._judgement is not None:
            self._judgement.cancel()
            self._judgement = None

    def _give(self, claim: BargeIn) -> None:
        claim.stands = True
        if self._options is not None and self._options.interruptible:
            self._taken()

    def _judge(self, claim: BargeIn, options: LiveOptions, language: str | None) -> None:
        claim.judging = True
        self._ear.keep_preroll(self._since)
        judging = self._judge_by_words(claim, self._ear.detector.now, self._ear.clip(), options, language)
        self._judgement = self._start(judging)

    async def _judge_by_words(
        self, claim: BargeIn, until: int, clip: Clip, options: LiveOptions, language: str | None
    ) -> None:
        """Judge whether the user's words during the reply are more than a backchannel, and not the reply's echo."""
        heard: Transcript | None = None
        words = options.interrupt_words
        try:
            async with asyncio.timeout(JUDGEMENT_S):
                heard = await self._transcribe(clip)
        except (ParleyError, TimeoutError):
            pass
        else:
            words = words_beyond_backchannels(
                heard.text,
                heard.language or language,
                more_comes=self._ear.detector.speaking or self._ear.detector.last_speech > until,
            )
        if claim is not self._claim:
            return
        self._judgement = None
        claim.judging, claim.judged_until = False, until
        if heard is not None and is_echo(heard.text, self._saying()):
            words = 0
        if heard is None and (claim.held_from or (not claim.held and options.interruptible)):
            return  # the length decides, once the reply is held for the claim, because it may be an echo
        if words >= options.interrupt_words:
            self._give(claim)
        elif not claim.held:
            self._since = max(self._since, until - OVERLAP)

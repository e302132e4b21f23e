"""Transitions while the assistant replies: the user's speech during it, which may turn out to be a barge-in.

Hold first, then decide: a claim holds the reply, and its length or its words decide whether it interrupts. See
`turn_taking` for what a transition is, and for all others.
"""

import asyncio
from dataclasses import replace
from functools import partial

from pipeline.conversation import events
from pipeline.conversation.history import item_id
from pipeline.conversation.states import Answering, Claim, Context, Effect, Refused, State, Step, UserTurn
from pipeline.listening.detector import RATE_HZ, SpeechDetector
from pipeline.listening.ear import samples
from pipeline.listening.endpointing import delay
from pipeline.listening.interruption import BargeIn, Decision, is_echo, words_beyond_backchannels
from pipeline.listening.options import LiveOptions
from pipeline.stt import Transcript

OVERLAP = RATE_HZ
"""Samples before the newest judgement that stay part of a claim for which the reply is not held."""
LONGEST_CHAIN = 5 * RATE_HZ
"""Limit in samples for how far a claim extends back over earlier refused claims that follow each other closely."""


def claimed_since(state: State) -> int | None:
    """Return the first sample of the user's speech during the reply, as long as it can be words for the assistant."""
    claim = state.claim if isinstance(state, Answering) else None
    return None if claim is None or claim.is_nothing else claim.since


def starts(refused: Refused | None, at: int, options: LiveOptions) -> int:
    """Return the start of speech that begins at this sample: within SILENCE_MS of a refused claim, that claim's
    start."""
    if refused is None or at - refused.ended > options.silence_ms * RATE_HZ // 1000:
        return at
    return min(at, refused.since if at - refused.since <= LONGEST_CHAIN else refused.began)


def frame(state: Answering, c: Context) -> Step:
    """Process a frame during a reply.

    If the user cannot interrupt, the reply is not held, and their words are kept for after it. It is also not held at
    once if earlier holds were false alarms (`Wariness`), and never with the speaker lock: then words interrupt it while
    it plays.
    """
    detector, options, effects = c.ear.detector, c.options, list[Effect]()
    if state.claim is None:
        if detector.run_ms < options.hold_ms:
            return state, [partial(c.keep_preroll, state.refused)]
        state = _open(state, detector.began, options)
    claim = state.claim
    assert claim is not None  # noqa: S101  # it was opened above
    playback, speech = state.reply.answer.playback, claim.speech
    if not speech.held and not speech.stands and options.interruptible and not options.speaker_lock:
        enough_ms = c.wariness.hold_ms(detector.now, options)
        if max(speech.spoken_ms(detector), detector.run_ms) >= enough_ms:
            # A late claim may be an echo of the reply, which ends when the audio sent so far has been played.
            left = samples(playback.sent_ms - playback.played_ms())
            held_from = detector.now + left if enough_ms > options.hold_ms else 0
            speech = replace(speech, held=True, held_from=held_from)
            effects.append(partial(c.hold, playback))
    if not speech.held:
        effects.append(partial(c.ear.keep_newest, options.max_utterance_s))  # because a reply may be long
    claim = replace(claim, speech=speech)
    following, decided = _decide(replace(state, claim=claim), claim, c)
    return following, [*effects, *decided]


def _decide(state: Answering, claim: Claim, c: Context) -> Step:
    """Decide on a claim by its length, or let its words decide."""
    if claim.turn is not None:
        return _follow(state, claim.turn, c)
    match claim.speech.decide(c.ear.detector, c.options):
        case Decision.CUT_IN:
            return _give(state, claim, c)
        case Decision.GO_ON:
            return refuse(state, claim, c)
        case Decision.JUDGE:
            judging = replace(claim, speech=replace(claim.speech, judging=True))
            return replace(state, claim=judging), [partial(c.judge, judging)]
        case Decision.WAIT:
            return state, []


def _open(state: Answering, began: int, options: LiveOptions) -> Answering:
    """Open a claim."""
    since, refused = starts(state.refused, began, options), state.refused
    before_ms = refused.unjudged_ms if refused is not None and since < began else 0.0
    return replace(state, claim=Claim(BargeIn(began, held=False, before_ms=before_ms), since), refused=None)


def judged(state: State, claim: Claim, until: int, heard: Transcript | None, c: Context) -> Step:
    """Judge whether the user's words up to a sample are more than a backchannel, and not the reply's echo. heard: None
    if they could not be transcribed."""
    if not isinstance(state, Answering) or state.claim is None or state.claim.speech.began != claim.speech.began:
        return state, []
    claim = replace(state.claim, speech=replace(state.claim.speech, judging=False, judged_until=until))
    speech, options, detector = claim.speech, c.options, c.ear.detector
    state = replace(state, claim=claim)
    if heard is None:
        if speech.held_from or (not speech.held and options.interruptible):
            return state, []  # the length decides, once the reply is held for the claim, because it may be an echo
        return _give(state, claim, c)
    more_comes = detector.speaking or detector.last_speech > until
    words = words_beyond_backchannels(heard.text, heard.language or c.language, more_comes=more_comes)
    if words >= options.interrupt_words and not is_echo(heard.text, state.reply.answer.saying):
        return _give(state, claim, c)
    if not speech.held:
        state = replace(state, claim=replace(claim, since=max(claim.since, until - OVERLAP)))
    return state, []


def _give(state: Answering, claim: Claim, c: Context) -> Step:
    """Give the floor to the user. If the turn's words are not known yet, the user simply continues the same turn."""
    claim = replace(claim, speech=replace(claim.speech, stands=True))
    if not c.options.interruptible and not c.reply_options.answers:
        turn = UserTurn(item_id(), claim.since)
        return replace(state, claim=replace(claim, turn=turn)), [partial(c.begin_utterance, turn)]
    state = replace(state, claim=claim)
    if not c.options.interruptible:
        return state, []
    if state.reply.answer.said is None and state.reply.sound is not None and state.turn is not None:
        return state, [partial(c.carry_over, state.turn, state.reply.sound)]
    return state, [state.reply.answer.interrupt]


def carried_over(state: State, part: asyncio.Task[Transcript], c: Context) -> Step:
    """Continue the turn that ended too early, with its words so far as a part."""
    if not isinstance(state, Answering) or state.turn is None:
        return state, [part.cancel]
    turn = replace(state.turn, parts=(*state.turn.parts, part))
    return replace(state, turn=turn, continues=True), [partial(c.withdraw, turn, state.reply.answer)]


def _follow(state: Answering, turn: UserTurn, c: Context) -> Step:
    """Follow an utterance during the reply up to its endpoint. Its words are not known there. If it is to get a reply
    after all, because the options have changed since it began, its endpoint is after the present reply."""
    detector = c.ear.detector
    over = not c.reply_options.answers and not detector.speaking and detector.silence_ms >= delay(None, None, c.options)
    if over or c.ear.kept_s >= c.options.max_utterance_s:
        return write_down(state, turn, c)
    return state, [c.make_partial]


def write_down(state: Answering, turn: UserTurn, c: Context) -> Step:
    """End an utterance during the reply: it is transcribed, and the client decides whether the reply goes on."""
    write = partial(c.write_down, turn, read=False)
    ending: list[Effect] = [partial(c.stop_utterance, turn), c.partials.end, write, c.ear.leave_utterance_behind]
    return replace(state, claim=None), [c.stop_judging, *ending, partial(c.keep_preroll, None)]


def note(state: Answering, turn: UserTurn, c: Context) -> Step:
    """Turn an utterance during the reply into a user message, because the client has ended it."""
    noting: list[Effect] = [c.stop_judging, c.partials.end, partial(c.note_down, turn), partial(c.keep_preroll, None)]
    return replace(state, claim=None), noting


def forget(state: Answering, c: Context) -> Step:
    """Drop an utterance during the reply."""
    ignored = partial(c.emit, events.UtteranceIgnored("cleared"))
    return replace(state, claim=None), [c.stop_judging, c.partials.end, c.ear.leave_behind, ignored]


def refuse(state: Answering, claim: Claim, c: Context) -> Step:
    """Refuse the claim: the reply resumes where it was held."""
    if claim.turn is not None:
        return write_down(state, claim.turn, c)
    refused, held, playback = _refused(claim, c.ear.detector), claim.speech.held, state.reply.answer.playback
    effects: list[Effect] = [
        partial(c.wariness.in_vain, c.ear.detector.now, held=held),
        c.stop_judging,
        partial(c.keep_preroll, refused),
    ]
    return replace(state, claim=None, refused=refused), [*effects, *([partial(c.resume, playback)] if held else [])]


def _refused(claim: Claim, detector: SpeechDetector) -> Refused:
    speech = claim.speech
    since = max(claim.since, speech.judged_until) if claim.is_nothing else claim.since
    unjudged_ms = 0.0 if speech.judged_until else max(0.0, speech.spoken_ms(detector)) + speech.before_ms
    return Refused(since, max(since, speech.began), detector.last_speech, unjudged_ms)


def clear(state: State, c: Context) -> Step:
    """Drop the claim, because the reply ends."""
    if not isinstance(state, Answering) or state.claim is None:
        return state, []
    # Speech that was judged to be nothing is not the start of later speech.
    cutting: list[Effect] = [c.ear.detector.cut] if state.claim.is_nothing else []
    refused = _refused(state.claim, c.ear.detector)
    return replace(state, claim=None, refused=refused), [*cutting, c.stop_judging]

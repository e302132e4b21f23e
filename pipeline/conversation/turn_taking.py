"""All transitions of a live conversation: event in, next state and effects out.

    Listening → Hearing → Paused → Answering → Listening

`docs/turn-taking.md` has the rules, `states` the states. A transition is a function: it takes the state and the
context, reads both, changes neither, and returns the next state with its effects. An effect is a call that the session
makes, in order, once the next state is set. An effect that creates something (a reply, a part's transcript) reports it
by another event; an effect that can end a reply comes last, because the end is an event, too.

Read from top to bottom: frames of audio, the pause, the endpoint, the reply's end, speech during a reply, and the
client's commands.
"""

import asyncio
from dataclasses import replace
from functools import partial

from pipeline.conversation import events
from pipeline.conversation.answer import Answer
from pipeline.conversation.events import TranscriptFinal
from pipeline.conversation.history import item_id
from pipeline.conversation.reply_options import ReplyOptions
from pipeline.conversation.states import (
    Answering,
    Claim,
    Context,
    Effect,
    Hearing,
    Listening,
    Paused,
    Refused,
    Reply,
    State,
    Step,
    UserTurn,
)
from pipeline.listening.detector import RATE_HZ, SpeechDetector
from pipeline.listening.ear import samples
from pipeline.listening.endpointing import delay, shortest
from pipeline.listening.interruption import BargeIn, Decision, is_echo, words_beyond_backchannels
from pipeline.listening.options import LiveOptions
from pipeline.stt import Transcript

ONSET_MS = 60
"""Speech that starts an utterance: two frames, longer than a click."""
MAX_PARTS = 30
"""Limit of parts of one utterance; it ends at the next cut, even if the user continues."""
OVERLAP = RATE_HZ
"""Samples before the newest judgement that stay part of a claim for which the reply is not held."""
LONGEST_CHAIN = 5 * RATE_HZ
"""Limit in samples for how far a claim extends back over earlier refused claims that follow each other closely."""

# --- a frame of audio, which the ear has taken ---


def frame(state: State, c: Context) -> Step:
    """Process the next frame with turn detection."""
    match state:
        case Listening(refused):
            if c.ear.detector.run_ms < ONSET_MS:
                return state, [partial(c.keep_preroll, refused)]
            return _begin(c, starts(refused, c.ear.detector.began, c.options))
        case Hearing():
            return _follow(state, c)
        case Paused():
            return silence(state, c, c.ear.detector.silence_ms)
        case Answering():
            return _follow_claim(state, c)


def frame_by_key(state: State, c: Context, *, keep_s: float) -> Step:
    """Process the next frame without turn detection. keep_s: seconds to keep without push-to-talk."""
    if c.reply_options.keeps_all:
        return state, [partial(c.ear.keep_newest, keep_s)]
    if isinstance(state, Hearing | Paused):
        return _grow(state, c)
    return state, [partial(c.ear.keep_preroll, c.ear.detector.now)]


def _begin(
    c: Context,
    at: int,
    *,
    parts: tuple[asyncio.Task[Transcript], ...] = (),
    reply_options: ReplyOptions | None = None,
) -> Step:
    """Start an utterance at this sample."""
    turn = UserTurn(item_id(), at, reply_options, parts)
    return Hearing(turn), [partial(c.begin_utterance, turn)]


def _follow(state: Hearing, c: Context) -> Step:
    """Follow the user's speech; start speculating at a pause."""
    detector, turn = c.ear.detector, state.turn
    silent = not detector.speaking and detector.silence_ms >= c.options.speculate_ms
    if not silent or not turn.spoken(detector):
        return _grow(state, c)
    effects: list[Effect] = [c.partials.end]
    if (
        c.reply_options.answers
        and turn.speculations < c.options.speculations
        and (c.ear.kept_s <= c.options.speculation_max_speech_s or c.idle())
    ):
        turn = replace(turn, speculations=turn.speculations + 1)
        effects.append(_prepare(turn, c))
    return Paused(turn), effects


def _grow(state: Hearing | Paused, c: Context) -> Step:
    """Extend the utterance, or end it at its limit."""
    if c.ear.kept_s < c.options.max_utterance_s:
        return state, [c.make_partial]
    if c.options.turn_detection and not state.turn.spoken(c.ear.detector):
        return clear(state, c)  # the key was pressed, but the user did not speak
    if len(state.turn.parts) < MAX_PARTS:
        return state, [partial(c.cut_part, state.turn)]
    return endpoint(state, c)


def part_cut(state: State, part: asyncio.Task[Transcript]) -> Step:
    """Add the transcript of a part to the current utterance."""
    if isinstance(state, Hearing | Paused):
        return replace(state, turn=replace(state.turn, parts=(*state.turn.parts, part))), []
    return state, [part.cancel]


# --- a pause ---


def _prepare(
    turn: UserTurn,
    c: Context,
    *,
    options: ReplyOptions | None = None,
    ahead: bool = True,
    answers_silence: bool = False,
    commit: bool = False,
) -> Effect:
    options = options or turn.reply_options or c.reply_options
    return partial(c.prepare, turn, options, ahead=ahead, answers_silence=answers_silence, commit=commit)


def prepared(state: State, reply: Reply) -> Step:
    """Keep a speculative reply for the endpoint."""
    if isinstance(state, Paused):
        return replace(state, prepared=reply), []
    return state, [reply.answer.abandon]


def silence(state: Paused, c: Context, silence_ms: float) -> Step:
    """Decide in a pause whether the user has finished."""
    if c.ear.detector.run_ms >= ONSET_MS:
        return Hearing(state.turn), _abandon(state, c)
    said, coming = _words(state, c)
    effects: list[Effect] = []
    if said is None and not coming and _must_read(state, c, silence_ms):
        state, coming = replace(state, was_read=True), True
        reads = partial(c.dictation.read, c.ear.clip())
        effects = [_prepare(state.turn, c, ahead=False) if c.reply_options.answers else reads]
    pause = c.ear.detector.last_speech
    if c.options.adaptive_endpointing and c.pause_sound.due(pause, silence_ms):
        effects.append(partial(c.pause_sound.judge, pause, c.ear.clip()))
    text, language = (said.text, said.language) if said else (None, None)
    wait_ms = delay(text, language, c.options, coming=coming, sound=c.pause_sound.of(pause))
    if silence_ms >= wait_ms and not c.ear.detector.speaking:
        effects.append(c.end_turn)  # after the reply that may just have been prepared for its words
    return state, effects


def _words(state: Paused, c: Context) -> tuple[TranscriptFinal | Transcript | None, bool]:
    """Return the transcript up to this pause, if there is one, and whether it is in progress."""
    if not c.reply_options.answers:
        return c.dictation.heard, c.dictation.reading
    if state.prepared is None or state.prepared.answer.failed:
        return None, False
    return state.prepared.answer.said, state.prepared.answer.said is None


def _must_read(state: Paused, c: Context, silence_ms: float) -> bool:
    """Whether to transcribe without preparing a reply, once the pause is as long as the shortest that ends a turn:
    endpointing needs the words."""
    if state.was_read or not c.options.adaptive_endpointing or silence_ms < shortest(c.options):
        return False
    return not c.reply_options.answers or state.prepared is None  # a failed one is retried at the endpoint


def _abandon(state: Hearing | Paused, c: Context) -> list[Effect]:
    """Abandon the speculative reply; its transcript is kept as a partial."""
    answer = state.prepared.answer if isinstance(state, Paused) and state.prepared is not None else None
    said = (answer.said if answer is not None else None) or c.dictation.heard
    effects: list[Effect] = [c.dictation.go_on]
    if answer is not None:
        effects.append(answer.abandon)
    if said is not None and not state.turn.parts:
        effects.append(partial(c.partials.add, said.text))
    return effects


# --- the endpoint ---


def endpoint(state: Hearing | Paused, c: Context, *, answers_silence: bool = False) -> Step:
    """End the user turn. answers_silence: reply even if nothing was understood."""
    turn, reply = state.turn, state.prepared if isinstance(state, Paused) else None
    stop = partial(c.stop_utterance, turn)
    if not c.reply_options.answers:
        free, freeing = _listen(c)
        discarding: list[Effect] = [reply.answer.abandon] if reply is not None else []
        write = partial(c.write_down, turn, read=isinstance(state, Paused))
        return free, [stop, *discarding, c.partials.end, write, c.ear.leave_utterance_behind, *freeing]
    options = turn.reply_options or c.reply_options
    if (
        reply is None
        or reply.answer.failed  # a failed speculative reply may succeed now
        or reply.options != options  # they were changed since then
        or (answers_silence and not reply.answer.understood)  # an explicit commit gets a reply even to silence
    ):
        prepare = _prepare(turn, c, options=options, answers_silence=answers_silence, commit=True)
        return Hearing(turn), [stop, *_abandon(state, c), prepare]
    answering, committing = committed(turn, reply, c)
    return answering, [stop, *committing]


def committed(turn: UserTurn, reply: Reply, c: Context) -> Step:
    """Play the reply to a user turn."""
    keep = partial(c.keep_preroll, None)
    return Answering(reply, turn), [c.partials.end, c.ear.leave_utterance_behind, keep, reply.answer.commit]


def answer(state: State, reply: Reply, c: Context, *, typed: bool = False) -> Step:
    """Play a reply that is not one to a user turn. typed: the client has sent a whole utterance."""
    refused = state.refused if isinstance(state, Listening | Answering) else None
    keeping: list[Effect] = [partial(c.keep_preroll, None)] if typed else []
    return Answering(reply, refused=refused), [*keeping, reply.answer.commit]


# --- the end of a reply ---


def current(state: State) -> Answer | None:
    """Return the answer that is prepared or played."""
    match state:
        case Paused(prepared=Reply() as reply) | Answering(reply=reply):
            return reply.answer
        case _:
            return None


def ended(state: State, answer: Answer, c: Context) -> Step:
    """Handle the end of the current reply: the user's speech during it is the next utterance."""
    if answer is not current(state):
        return state, []
    turn = state.turn if isinstance(state, Answering | Paused) else None
    claimed = claimed_since(state)
    state, clearing = _clear_claim(state, c)
    carried = isinstance(state, Answering) and state.continues and claimed is not None
    parts = turn.parts if turn is not None else ()
    if not carried:
        clearing += [part.cancel for part in parts]
    if claimed is None:
        free, freeing = _listen(c, state.refused if isinstance(state, Answering) else None)
        return free, [*clearing, *freeing]
    options = turn.reply_options if carried and turn is not None else None
    hearing, beginning = _begin(c, claimed, parts=parts if carried else (), reply_options=options)
    return hearing, [*clearing, *beginning]


def _listen(c: Context, refused: Refused | None = None) -> Step:
    """Free the floor."""
    keeping: list[Effect] = [] if c.reply_options.keeps_all else [partial(c.keep_preroll, refused)]
    return Listening(refused), [*keeping, c.free_floor]


# --- speech during a reply: hold first, then decide ---


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


def _follow_claim(state: Answering, c: Context) -> Step:
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
    state = replace(state, claim=replace(claim, speech=replace(claim.speech, stands=True)))
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


def refuse(state: Answering, claim: Claim, c: Context) -> Step:
    """Refuse the claim: the reply resumes where it was held."""
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


def _clear_claim(state: State, c: Context) -> Step:
    """Drop the claim, because the reply ends."""
    if not isinstance(state, Answering) or state.claim is None:
        return state, []
    # Speech that was judged to be nothing is not the start of later speech.
    cutting: list[Effect] = [c.ear.detector.cut] if state.claim.is_nothing else []
    refused = _refused(state.claim, c.ear.detector)
    return replace(state, claim=None, refused=refused), [*cutting, c.stop_judging]


# --- commands of the client, and clocks ---


def interrupt(state: State, c: Context) -> Step:
    """Stop the reply, if there is one."""
    state, effects = _clear_claim(state, c)
    return state, [*effects, state.reply.answer.interrupt] if isinstance(state, Answering) else effects


def press(state: State, c: Context) -> Step:
    """Handle the press of the push-to-talk key; a current utterance continues."""
    if isinstance(state, Hearing | Paused):
        return Hearing(state.turn), _abandon(state, c)
    return _begin(c, c.ear.detector.now)


def forget(state: Hearing | Paused, c: Context) -> Step:
    """Drop the current utterance: it gets no reply, and its audio is not part of the next one."""
    cancelling = [part.cancel for part in state.turn.parts]
    ignored = partial(c.emit, events.UtteranceIgnored("cleared"))
    return Listening(), [c.partials.end, *_abandon(state, c), *cancelling, c.ear.leave_behind, ignored]


def clear(state: Hearing | Paused, c: Context) -> Step:
    """Drop the current utterance and free the floor."""
    _, forgetting = forget(state, c)
    free, freeing = _listen(c)
    return free, [*forgetting, *freeing]


def note(state: State, c: Context) -> Step:
    """Turn the recorded audio into a user message without an automatic reply."""
    if not isinstance(state, Hearing | Paused):
        return state, [partial(c.note_down, None)]
    free, freeing = _listen(c)
    return free, [*_abandon(state, c), c.partials.end, partial(c.note_down, state.turn), *freeing]


def answer_in(state: State, reply_options: ReplyOptions) -> Step:
    """Use these options for the reply to the current utterance."""
    if isinstance(state, Hearing | Paused):
        return replace(state, turn=replace(state.turn, reply_options=reply_options)), []
    return state, []


def configured(state: State, c: Context) -> Step:
    """Refuse a claim that would never be decided with the changed options."""
    decidable = c.options.turn_detection and (
        c.options.interruptible or not (isinstance(state, Answering) and state.holding)
    )
    if isinstance(state, Answering) and state.claim is not None and not state.claim.is_nothing and not decidable:
        return refuse(state, state.claim, c)
    return state, []


def stalled(state: State, c: Context) -> Step:
    """Decide without more audio: end the utterance, or refuse the claim for which the reply is held."""
    match state:
        case Hearing() | Paused():
            return endpoint(state, c)
        case Answering(claim=Claim() as claim):
            return refuse(state, claim, c)
        case _:
            return state, []

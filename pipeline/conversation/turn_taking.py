"""The transitions of a live conversation: event in, next state and effects out.

    Listening → Hearing → Paused → Answering → Listening

`docs/turn-taking.md` has the rules, `states` the states. A transition is a function: it takes the state and the
context, reads both, changes neither, and returns the next state with its effects. An effect is a call that the session
makes, in order, once the next state is set. An effect that creates something (a reply, a part's transcript) reports it
by another event; an effect that can end a reply comes last, because the end is an event, too.

Read from top to bottom: frames of audio, the pause, the endpoint, the reply's end, and the client's commands. Speech
during a reply is in `claims`.
"""

import asyncio
from dataclasses import replace
from functools import partial

from pipeline.conversation import claims, events
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
from pipeline.listening.endpointing import delay, shortest
from pipeline.stt import Transcript

ONSET_MS = 60
"""Speech that starts an utterance: two frames, longer than a click."""
MAX_PARTS = 30
"""Limit of parts of one utterance; it ends at the next cut, even if the user continues."""

# --- a frame of audio, which the ear has taken ---


def frame(state: Listening | Hearing | Paused, c: Context) -> Step:
    """Process the next frame with turn detection, while there is no reply."""
    match state:
        case Listening(refused):
            if c.ear.detector.run_ms < ONSET_MS:
                return state, [partial(c.keep_preroll, refused)]
            return _begin(c, claims.starts(refused, c.ear.detector.began, c.options))
        case Hearing():
            return _follow(state, c)
        case Paused():
            return silence(state, c, c.ear.detector.silence_ms)


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
    claimed = claims.claimed_since(state)
    hears = state.hears if isinstance(state, Answering) else None
    state, clearing = claims.clear(state, c)
    carried = isinstance(state, Answering) and state.continues and claimed is not None
    parts = turn.parts if turn is not None else ()
    if not carried:
        clearing += [part.cancel for part in parts]
    if hears is not None:
        return Hearing(hears), clearing
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


# --- commands of the client, and clocks ---


def interrupt(state: State, c: Context) -> Step:
    """Stop the reply, if there is one. An utterance that the client knows goes on."""
    effects: list[Effect] = []
    if not (isinstance(state, Answering) and state.hears):
        state, effects = claims.clear(state, c)
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
        return claims.refuse(state, state.claim, c)
    return state, []


def stalled(state: State, c: Context) -> Step:
    """Decide without more audio: end the utterance, or refuse the claim for which the reply is held."""
    match state:
        case Hearing() | Paused():
            return endpoint(state, c)
        case Answering(claim=Claim(turn=UserTurn())) if c.reply_options.answers:
            return state, []  # it is answered after the present reply
        case Answering(claim=Claim() as claim):
            return claims.refuse(state, claim, c)
        case _:
            return state, []

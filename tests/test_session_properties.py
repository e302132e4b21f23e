"""Invariants of a live conversation for all actions of a client in any order, on virtual time.

Each sample's value encodes its number since the start, so that a transcript can name the audio it was made from, and
the history shows whether audio was heard twice.
"""

import asyncio
import itertools
import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pipeline.audio.clip import Clip, Samples
from pipeline.conversation import events
from pipeline.errors import BadInput, EngineError, Overloaded
from pipeline.stt import Hinted, Spoken, Transcript
from tests.dialogue import RATE_HZ, Dialogue, hold
from tests.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS, ScriptedTurnEnd

FRAME = 512
LOUD, QUIET = np.float32(0.5), np.float32(0)
REPLY = "The heron stands quite still. It waits for a small fish. Then it moves, fast as a thought."
MS_PER_CHARACTER = 60
"""The pace of the scripted voice."""


def numbered(start: int, count: int, loud: bool) -> Samples:
    """Return samples that encode their number (below 2**20: a minute), loud or quiet.

    Every second sample is negative, so that there is no offset to remove.
    """
    numbers = np.arange(start, start + count, dtype=np.float64)
    values: Samples = (LOUD + numbers / 2**22 if loud else numbers / 2**28).astype(np.float32)
    return np.where(numbers % 2, -values, values)


def numbers(samples: Samples) -> np.ndarray[Any, np.dtype[np.int64]]:
    wide = np.abs(samples.astype(np.float64))
    return np.where(wide >= LOUD, (wide - 0.5) * 2**22, wide * 2**28).astype(np.int64)


@dataclass
class TellingSTT(ScriptedSTT):
    """Scripted STT whose transcript includes the first and the last loud sample of the clip."""

    broken: list[str] = field(default_factory=list)
    may_skip: bool = False

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool) -> Transcript:
        heard = await super().transcribe(clip, language=language, prompt=prompt, words=words)
        if len(clip.samples) and clip.samples[0] == np.float32(0.3):  # a file, not the stream
            return heard
        order = numbers(clip.samples)
        if len(order) > 1 and not self.may_skip and np.any(np.diff(order) != 1):
            self.broken.append(f"{order[0]} to {order[-1]} in {len(order)} samples")
        loud = order[np.abs(clip.samples) >= LOUD]
        if not len(loud) or heard.text in ("", "mhm"):
            return heard
        return replace(heard, text=f"{heard.text} {loud[0]}-{loud[-1]}")


milliseconds = st.sampled_from([20, 60, 100, 160, 240, 300, 400, 700, 1000, 1600, 2600])
actions = st.one_of(
    st.tuples(st.just("speak"), milliseconds),
    st.tuples(st.just("speak"), milliseconds),
    st.tuples(st.just("silence"), milliseconds),
    st.tuples(st.just("silence"), milliseconds),
    st.tuples(st.just("silence"), milliseconds),
    st.tuples(st.just("nothing"), st.sampled_from([50, 400, 2500])),
    st.tuples(st.sampled_from(["begin", "commit", "clear", "interrupt", "say", "ask", "retry"]), st.none()),
    st.tuples(st.just("played"), st.sampled_from([0.0, 300.0, 1000.0, 1e6])),
    st.tuples(
        st.just("configure"),
        st.sampled_from(
            [
                {"turn_detection": True},
                {"turn_detection": False},
                {"interruptible": False},
                {"interruptible": True},
                {"adaptive_endpointing": False},
                {"speculations": 0},
                {"lead_ms": 1000},
                {"interrupt_ms": 1000},
                {"partial_ms": 100},
            ]
        ),
    ),
    st.tuples(
        st.just("stages"),
        st.sampled_from(
            [
                ("stt", {"text": ""}),
                ("stt", {"text": "mhm"}),
                ("stt", {"text": "turn on the light and"}),
                ("stt", {"text": "what time is it?"}),
                ("stt", {"seconds": 0.0}),
                ("stt", {"seconds": 0.5}),
                ("stt", {"seconds": 3.0}),
                ("stt", {"error": EngineError("deaf")}),
                ("stt", {"error": Overloaded("busy")}),
                ("stt", {"error": None, "text": "what does the heron do"}),
                ("llm", {"first_token_s": 2.0}),
                ("llm", {"tokens_per_s": 4.0}),
                ("llm", {"error": EngineError("away"), "fail_after": 0}),
                ("llm", {"error": EngineError("away"), "fail_after": 9}),
                ("llm", {"error": RuntimeError("a bug"), "fail_after": 3}),
                ("llm", {"error": None, "first_token_s": 0.12, "tokens_per_s": 60.0}),
                ("tts", {"error": EngineError("dumb")}),
                ("tts", {"error": EngineError("dumb"), "fail_on": "small fish"}),
                ("tts", {"error": None, "rtf": 0.1, "first_s": 0.04}),
                ("tts", {"rtf": 1.5}),
                ("tts", {"first_s": 1.5}),
            ]
        ),
    ),
)
options = st.fixed_dictionaries(
    {},
    optional={
        "turn_detection": st.booleans(),
        "half_duplex": st.booleans(),
        "interruptible": st.booleans(),
        "speculations": st.integers(0, 3),
        "speculate_ms": st.sampled_from([60, 100, 400]),
        "max_utterance_s": st.sampled_from([1.0, 2.0, 60.0]),
        "partial_ms": st.sampled_from([0, 200, 500]),
        "lead_ms": st.sampled_from([40, 200, 1000]),
        "idle_prompt_s": st.sampled_from([0.0, 1.0]),
    },
)


@dataclass
class Played:
    """A dialogue and the actions that were done to it."""

    dialogue: Dialogue
    stt: TellingSTT
    fed: int = 0
    reported: list[float] = field(default_factory=list)
    """Times at which the client reported its position."""
    retried: list[float] = field(default_factory=list)
    """Times of the retries."""

    async def feed(self, ms: int, *, loud: bool, chunk: int) -> None:
        left = ms * RATE_HZ // 1000
        while left:
            count = min(chunk, left)
            await asyncio.sleep(count / RATE_HZ)
            self.dialogue.session.hear(numbered(self.fed, count, loud))
            self.fed += count
            left -= count
            assert self.dialogue.session.received == self.fed

    async def do(self, name: str, value: Any, chunk: int) -> None:
        session, stages = self.dialogue.session, self.dialogue.stages
        match name:
            case "speak" | "silence":
                await self.feed(value, loud=name == "speak", chunk=chunk)
            case "nothing":
                await asyncio.sleep(value / 1000)
            case "begin" | "clear" | "interrupt":
                getattr(session, name)()
            case "commit":
                try:
                    session.commit()
                except BadInput as error:
                    assert error.code == "no_audio"  # noqa: PT017
            case "note" | "respond":
                try:
                    getattr(session, name)()
                except BadInput as error:
                    assert error.code in ("no_audio", "already_answering")  # noqa: PT017
            case "answers":
                session.reply_options = replace(session.reply_options, answers=value)
            case "say":
                session.say("and the fish")
            case "retry":
                try:
                    session.retry()
                    self.retried.append(self.dialogue.now)
                except BadInput as error:
                    assert error.code == "nothing_to_retry"  # noqa: PT017
            case "ask":
                session.ask(Clip(np.full(8_000, 0.3, np.float32), RATE_HZ))
            case "played":
                self.reported.append(self.dialogue.now)
                session.played(value)
            case "configure":
                session.configure(session.options.changed(value), voice=session.voice, language=session.language)
            case "stages":
                stage, changes = value
                for key, change in changes.items():
                    setattr(getattr(stages, stage), key, change)


@dataclass
class Turn:
    """One turn as the client saw it."""

    final: str | None = None
    reply: str = ""
    chunks: list[tuple[float, events.SpeechChunk]] = field(default_factory=list)
    began_s: float = 0.0
    ended_s: float = 0.0
    end: Any = None


def read(log: list[tuple[float, Any]], *, closed: bool) -> list[Turn]:
    """Return the turns of an event log; fail if the order is not the documented one."""
    turns: list[Turn] = []
    turn: Turn | None = None
    speaking = held = False
    for at, happening in log:
        match happening:
            case events.UserSpeechStarted():
                assert not speaking
                assert turn is None
                speaking = True
            case events.TranscriptPartial() | events.UserIdle():
                assert turn is None
            case events.HeardCorrected(_, text):
                assert turn is None
                assert turns[-1].reply.startswith(text)
            case events.UserSpeechStopped():
                assert speaking
                speaking = False
            case events.UtteranceIgnored(reason):
                assert turn is None
                assert speaking is (reason == "cleared")
                speaking = False
            case events.TurnStarted():
                assert turn is None, "two turns at once"
                assert not speaking, "a reply before the endpoint"
                turn, held = Turn(began_s=at), False
                turns.append(turn)
            case _:
                assert turn is not None, f"{happening} outside of a turn"
                match happening:
                    case events.TranscriptFinal(text):
                        assert turn.final is None
                        turn.final = text
                    case events.ReplyDelta(text):
                        turn.reply += text
                    case events.SpeechHeld():
                        assert not held
                        held = True
                    case events.SpeechResumed():
                        assert held
                        held = False
                    case events.SpeechChunk():
                        assert not held
                        turn.chunks.append((at, happening))
                    case events.TurnCompleted() | events.TurnInterrupted() | events.TurnFailed():
                        turn.end, turn.ended_s, turn = happening, at, None
    if not closed:
        assert turn is None, "a turn without an end"
    return turns


def heard(turn: Turn) -> tuple[float, int, int]:
    """Return, for a listener who plays each chunk at its arrival: ms heard, minimum and maximum characters heard."""
    playing_until = sent = 0.0
    for at, chunk in turn.chunks:
        playing_until = max(playing_until, at) + chunk.clip.seconds
        sent += chunk.clip.seconds
    left = sent - max(0.0, playing_until - turn.ended_s)
    heard_ms = left * 1000
    least = most = 0
    span_s = 0.0
    for span, chunks in itertools.groupby((chunk for _, chunk in turn.chunks), key=lambda chunk: chunk.text_span):
        if left <= 1e-6:
            break
        least = most  # everything before this clause was heard
        span_s = min(left, sum(chunk.clip.seconds for chunk in chunks))
        left -= span_s
        about = span_s * 1000 / MS_PER_CHARACTER
        # A clause that is still spoken is estimated at 15 characters a second. Only whole words count as heard.
        least = max(least, span[0] + int(0.75 * about) - 12)
        most = min(span[1], span[0] + int(1.1 * about) + 3)
    return heard_ms, least, most


def not_retried(turns: list[Turn], retried: list[float]) -> list[Turn]:
    """Return the turns that are left: a retry removes the last one with words of the user, and all after it."""
    left: list[Turn] = []
    for turn in turns:
        if turn.began_s in retried:
            retried = [at for at in retried if at != turn.began_s]
            while left and not left.pop().final:
                pass
        left.append(turn)
    return left


def expected_history(turns: list[Turn], history: list[tuple[str, str]], reported: list[float]) -> list[tuple[str, str]]:
    """Return the history that follows from the client's events; check the length of interrupted replies."""
    expected: list[tuple[str, str]] = []

    def clipped(reply: str, least: int, most: int, mark: str) -> None:
        role, content = history[len(expected)] if len(expected) < len(history) else ("", "")
        if role == "assistant" and content.endswith(mark) and reply.startswith(content.removesuffix(mark)):
            length = len(content.removesuffix(mark))
            assert least <= length <= most or length == len(reply.strip()) <= most, (reply, content, least, most)
            expected.append((role, content))
        else:
            assert least <= 0, f"{reply!r}: {least} to {most} characters were heard, {content!r} is in the history"

    for index, turn in enumerate(turns):
        if turn.final:
            expected.append(("user", turn.final))
        until = turns[index + 1].ended_s if index + 1 < len(turns) else float("inf")
        heard_ms, least, most = heard(turn)
        if any(turn.began_s <= at <= until for at in reported):
            least, most = 0, len(turn.reply)
        match turn.end:
            case events.TurnCompleted(reply):
                assert reply == turn.reply
                expected.append(("assistant", reply))
            case events.TurnInterrupted(ms, text):
                assert turn.reply.startswith(text)
                if most < len(turn.reply) or not reported:
                    assert ms == pytest.approx(heard_ms, abs=1.5) or reported
                clipped(turn.reply, least, most, " …")
            case events.TurnFailed():
                clipped(turn.reply, least, most, "")
            case None:
                pass
    return expected


def check(played: Played, *, closed: bool) -> None:
    dialogue = played.dialogue
    turns = read(dialogue.log, closed=closed)
    for turn in turns:
        event(type(turn.end).__name__)
    left = not_retried(turns, played.retried)
    assert dialogue.history == expected_history(left, dialogue.history, played.reported)
    assert played.stt.broken == [], "audio was lost, repeated or reordered"
    heard_sound = [
        (int(first), int(last))
        for role, content in dialogue.history
        if role == "user"
        for first, last in re.findall(r"(\d+)-(\d+)", content)
    ]
    for (_, last), (first, _) in itertools.pairwise(heard_sound):
        assert first > last - FRAME, "audio was heard twice"
    for at, happening in dialogue.log:
        cancelled = isinstance(happening, events.TurnInterrupted) or happening == events.UtteranceIgnored("cleared")
        if cancelled:
            late = [call for call in dialogue.running.spans if call.began_s < at - 1e-9 and call.ended_s > at + 0.1]
            assert not late, f"{late} continued after {happening} at {at}"


@given(
    script=st.lists(actions, min_size=3, max_size=16),
    chosen=options,
    chunk=st.sampled_from([320, 512, 640, 1600]),
    hang_up=st.sampled_from([None, None, 0.0, 0.3, 1.0]),
    turn_end=st.none() | st.builds(ScriptedTurnEnd, st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=3)),
)
@settings(max_examples=80)
def test_invariants_hold_for_any_order_of_events(
    script: list[tuple[str, Any]],
    chosen: dict[str, Any],
    chunk: int,
    hang_up: float | None,
    turn_end: ScriptedTurnEnd | None,
) -> None:
    stt = TellingSTT(may_skip=chosen.get("half_duplex", False))
    made: list[Played] = []

    async def run(dialogue: Dialogue) -> None:
        played = Played(dialogue, stt)
        made.append(played)
        for name, value in script:
            await played.do(name, value, chunk)
        if hang_up is not None:
            await played.feed(int(hang_up * 1000), loud=False, chunk=chunk)
            before = dialogue.now
            await dialogue.session.close()
            assert dialogue.running.now == []
            assert dialogue.now - before < 0.1
            return
        # Feed silence until every running turn has ended.
        if not dialogue.session.options.turn_detection:
            await played.do("commit", None, chunk)
        for _ in range(100):
            await played.feed(1000, loud=False, chunk=1600)
            if not dialogue.running.now and not busy(dialogue):
                break
        assert not busy(dialogue), "a turn does not end"

    hold(run, stt=stt, llm=ScriptedLLM(REPLY), tts=ScriptedTTS(), turn_end=turn_end, **chosen)
    check(made[0], closed=hang_up is not None)


def busy(dialogue: Dialogue) -> bool:
    """Whether a turn is open or the user is speaking."""
    open_turn = speaking = False
    for _, happening in dialogue.log:
        match happening:
            case events.UserSpeechStarted():
                speaking = True
            case events.UserSpeechStopped() | events.UtteranceIgnored() | events.UtteranceCommitted():
                speaking = False
            case events.TurnStarted():
                open_turn = True
            case events.TurnCompleted() | events.TurnInterrupted() | events.TurnFailed():
                open_turn = False
            case _:
                pass
    return open_turn or speaking


client_actions = st.one_of(
    actions,
    st.tuples(st.sampled_from(["note", "respond", "respond"]), st.none()),
    st.tuples(st.just("answers"), st.booleans()),
)


@given(script=st.lists(client_actions, min_size=3, max_size=16), chosen=options, interruptible=st.booleans())
@settings(max_examples=40)
def test_utterances_end_once_where_the_client_requests_the_replies(
    script: list[tuple[str, Any]], chosen: dict[str, Any], interruptible: bool
) -> None:
    stt = TellingSTT(may_skip=chosen.get("half_duplex", False))

    async def run(dialogue: Dialogue) -> None:
        played = Played(dialogue, stt)
        await played.do("answers", False, 512)
        for name, value in script:
            await played.do(name, value, 512)
        await played.do("answers", False, 512)
        if not dialogue.session.options.turn_detection:
            await played.feed(100, loud=False, chunk=512)
            await played.do("note", None, 512)
        for _ in range(100):
            await played.feed(1000, loud=False, chunk=1600)
            if not dialogue.running.now and not busy(dialogue):
                break
        assert not busy(dialogue), "a turn or an utterance does not end"

    dialogue = hold(
        run, stt=stt, llm=ScriptedLLM(REPLY), tts=ScriptedTTS(), **chosen | {"interruptible": interruptible}
    )
    assert stt.broken == [], "audio was lost, repeated or reordered"
    open_utterance = open_turn = False
    ended, written = list[str](), list[str]()
    for happening in (happening for _, happening in dialogue.log):
        match happening:
            case events.UserSpeechStarted():
                assert not open_utterance
                open_utterance = True
            case events.UserSpeechStopped(_, item) | events.UtteranceCommitted(item):
                assert open_utterance or isinstance(happening, events.UtteranceCommitted)
                open_utterance = False
                ended.append(item)
            case events.UtteranceIgnored("cleared"):
                open_utterance = False
            case events.UtteranceTranscribed() | events.UtteranceFailed():
                written.append(happening.item_id)
            case events.TurnStarted():
                assert not open_turn, "two turns at once"
                open_turn = True
            case events.TurnCompleted() | events.TurnInterrupted() | events.TurnFailed():
                assert open_turn
                open_turn = False
            case _:
                pass
    assert len(set(ended)) == len(ended)
    assert len(set(written)) == len(written)
    assert set(written) <= set(ended)
    if ("answers", True) not in script:
        assert set(written) == set(ended), "an utterance without a transcript"

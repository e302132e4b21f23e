"""One turn on scripted stages and virtual time: order, overlap, failures, cancellation."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from pipeline import stt as stt_module
from pipeline import tts as tts_module
from pipeline.audio.clip import Clip
from pipeline.conversation import events, history
from pipeline.conversation import turn as turn_module
from pipeline.conversation.events import Event
from pipeline.conversation.history import Conversation
from pipeline.conversation.turn import TURN_TIMEOUT_S, Stages, Turn
from pipeline.errors import EngineError
from pipeline.llm import ReplyDelta
from pipeline.llm.prompt import with_date
from pipeline.settings import Settings
from tests import virtual_time
from tests.scripted import VOICE, Running, ScriptedLLM, ScriptedSTT, ScriptedTTS

UTTERANCE = Clip(np.zeros(16_000, np.float32), 16_000)
EIGHT = " ".join(
    f"This is sentence number {n} of the long reply."
    for n in ["one", "two", "three", "four", "five", "six", "seven", "eight"]
)


class Heard:
    """The events of a turn with their times (seconds of virtual time since its start)."""

    def __init__(self) -> None:
        self.at: list[tuple[float, Event]] = []

    @property
    def events(self) -> list[Event]:
        return [event for _, event in self.at]

    def first(self, kind: type[Event]) -> float:
        return next(at for at, event in self.at if isinstance(event, kind))

    @property
    def end(self) -> Event:
        return self.events[-1]


def play(
    stt: ScriptedSTT | None = None,
    llm: ScriptedLLM | None = None,
    tts: ScriptedTTS | None = None,
    *,
    conversation: Conversation | None = None,
    language: str | None = None,
    turn_s: float = TURN_TIMEOUT_S,
    **settings: Any,
) -> Heard:
    """Run one turn until it ends."""

    async def run() -> Heard:
        stages = Stages(stt or ScriptedSTT(), llm or ScriptedLLM(), tts or ScriptedTTS())
        turn = Turn(stages, Settings(**settings), voice=VOICE, language=language)
        heard, start = Heard(), asyncio.get_running_loop().time()
        async for event in turn.run(UTTERANCE, conversation or Conversation("sys", budget_tokens=1000)):
            heard.at.append((asyncio.get_running_loop().time() - start, event))
        return heard

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turn_module, "TURN_TIMEOUT_S", turn_s)
        patch.setattr(stt_module, "TIMEOUT_S", 60.0)
        patch.setattr(tts_module, "TIMEOUT_S", 60.0)
        return virtual_time.run(run())


def test_events_come_in_the_documented_order() -> None:
    heard = play()
    kinds = [type(event).__name__ for event in heard.events]
    assert kinds[:2] == ["TurnStarted", "TranscriptFinal"]
    assert kinds.count("SpeechStarted") == 1
    assert kinds.index("SpeechStarted") < kinds.index("SpeechChunk")
    assert kinds[-1] == "TurnCompleted"
    assert sum(kind in ("TurnCompleted", "TurnInterrupted", "TurnFailed") for kind in kinds) == 1


def test_reply_is_complete_and_every_word_is_spoken_once() -> None:
    tts = ScriptedTTS()
    heard = play(llm=ScriptedLLM(EIGHT), tts=tts)
    assert isinstance(heard.end, events.TurnCompleted)
    assert heard.end.reply == EIGHT
    assert "".join(event.text for event in heard.events if isinstance(event, events.ReplyDelta)) == EIGHT
    assert " ".join(tts.spoken).split() == EIGHT.split()
    assert heard.end.usage is not None
    assert heard.end.usage.output_tokens == len(EIGHT.split())


def test_chunks_have_the_span_of_their_text() -> None:
    heard = play(llm=ScriptedLLM(EIGHT))
    spans = list(dict.fromkeys(e.text_span for e in heard.events if isinstance(e, events.SpeechChunk)))
    assert " ".join(EIGHT[a:b].strip() for a, b in spans).split() == EIGHT.split()
    assert spans == sorted(spans)


def test_first_audio_comes_long_before_the_end_of_the_reply() -> None:
    # Transcript 80 ms, first token 120 ms, a few words at 20 a second, first audio of a clause 40 ms.
    heard = play(llm=ScriptedLLM(EIGHT, tokens_per_s=20.0))
    written = max(at for at, event in heard.at if isinstance(event, events.ReplyDelta))
    assert written > 3.4
    assert heard.first(events.SpeechChunk) < 0.08 + 0.12 + 10 / 20 + 0.04 + 0.001


def test_timings_are_in_the_order_of_the_turn() -> None:
    heard = play()
    assert isinstance(heard.end, events.TurnCompleted)
    marks = heard.end.timings_ms
    order = ["transcript", "first_token", "first_clause", "first_audio", "speech_done"]
    assert [marks[name] for name in order] == sorted(marks[name] for name in order)


def test_silence_gets_a_reply_without_the_language_model() -> None:
    llm, tts = ScriptedLLM(), ScriptedTTS()
    heard = play(ScriptedSTT(text="", language=None), llm, tts, language="pt")
    assert isinstance(heard.end, events.TurnCompleted)
    assert heard.end.reply == "Não ouvi nada."
    assert llm.asked == []
    assert tts.spoken == ["Não ouvi nada."]


def test_spoken_language_is_passed_to_the_model() -> None:
    llm = ScriptedLLM()
    play(ScriptedSTT("olá", language="pt"), llm)
    assert (llm.asked[0][-1].content, llm.asked[0][-1].language) == ("olá", "pt")


NOW = datetime(2026, 3, 1, 8, 5, tzinfo=ZoneInfo("America/Sao_Paulo"))


def test_the_model_gets_the_time_when_the_conversation_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only on another day a later one, so that servers keep the state of the prompt's beginning."""
    llm, now = ScriptedLLM(), NOW
    monkeypatch.setattr(history, "local_time", lambda: now)
    conversation = Conversation("sys", budget_tokens=1000)
    for hours in (0, 15, 17):
        now = NOW + timedelta(hours=hours)
        play(llm=llm, conversation=conversation)
    assert [with_date(asked, with_time=True)[0].content for asked in llm.asked] == [
        "sys\nIt is Sunday, 1 March 2026. The conversation began at 08:05.",
        "sys\nIt is Sunday, 1 March 2026. The conversation began at 08:05.",
        "sys\nIt is Monday, 2 March 2026. The conversation began at 01:05.",
    ]
    assert conversation.instructions == "sys"
    conversation.instruct("theirs", exact=True)
    play(llm=llm, conversation=conversation)
    assert with_date(llm.asked[-1], with_time=True)[0].content == "theirs"


@pytest.mark.parametrize(
    ("stt", "llm", "code"),
    [
        (ScriptedSTT(error=EngineError("no")), ScriptedLLM(), "stt_failed"),
        (ScriptedSTT(seconds=99), ScriptedLLM(), "timeout"),
        (ScriptedSTT(), ScriptedLLM(error=EngineError("away")), "llm_unavailable"),
        (ScriptedSTT(), ScriptedLLM(error=EngineError("broke off"), fail_after=9), "llm_unavailable"),
        (ScriptedSTT(), ScriptedLLM(error=EngineError("slow", code="timeout")), "timeout"),
        (ScriptedSTT(), ScriptedLLM(reply_text=""), "llm_unavailable"),
        (ScriptedSTT(error=RuntimeError("a bug")), ScriptedLLM(), "internal"),
        (ScriptedSTT(), ScriptedLLM(error=RuntimeError("a bug")), "internal"),
    ],
)
def test_failed_stage_ends_the_turn_with_its_code(stt: ScriptedSTT, llm: ScriptedLLM, code: str) -> None:
    heard = play(stt, llm)
    assert isinstance(heard.end, events.TurnFailed)
    assert heard.end.code == code
    assert "a bug" not in heard.end.message


@pytest.mark.parametrize(
    ("tts", "code"), [(ScriptedTTS(error=EngineError("no")), "tts_failed"), (ScriptedTTS(first_s=99), "timeout")]
)
def test_text_still_arrives_if_only_the_voice_fails(tts: ScriptedTTS, code: str) -> None:
    heard = play(tts=tts, llm=ScriptedLLM(EIGHT))
    assert isinstance(heard.end, events.TurnCompleted)
    assert heard.end.reply == EIGHT
    assert [event.code for event in heard.events if isinstance(event, events.StageError)] == [code]
    assert len(tts.spoken) == 1  # a broken voice is not retried for every clause


def test_halves_of_a_character_are_joined_for_any_model() -> None:
    class Halves(ScriptedLLM):
        async def reply(self, messages, *, tools=(), must_call=False, **_):  # type: ignore[no-untyped-def]
            for text in ("Good \ud83d", "\ude00 day", "", ", all \ud83d"):
                yield ReplyDelta(text)

    heard = play(ScriptedSTT("so \ud83d"), Halves())
    assert isinstance(heard.end, events.TurnCompleted)
    assert heard.end.reply == "Good 😀 day, all \ufffd"
    assert "".join(event.text for event in heard.events if isinstance(event, events.ReplyDelta)) == heard.end.reply
    assert [event.text for event in heard.events if isinstance(event, events.TranscriptFinal)] == ["so \ufffd"]


def test_turn_has_a_maximum_duration() -> None:
    heard = play(llm=ScriptedLLM(EIGHT, tokens_per_s=0.1), turn_s=20)
    assert isinstance(heard.end, events.TurnFailed)
    assert heard.end.code == "timeout"
    assert heard.at[-1][0] == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize(
    "enough",
    [
        lambda event: isinstance(event, events.TurnStarted),
        lambda event: isinstance(event, events.TranscriptFinal),
        lambda event: isinstance(event, events.ReplyDelta),
        lambda event: isinstance(event, events.SpeechChunk),
    ],
)
def test_closing_a_turn_cancels_its_stages(enough: Callable[[Event], bool]) -> None:
    async def run() -> None:
        running = Running()
        stages = Stages(ScriptedSTT(running=running), ScriptedLLM(EIGHT, running=running), ScriptedTTS(running=running))
        turn = Turn(stages, Settings(), voice=VOICE, language=None)
        async with aclosing(turn.run(UTTERANCE, Conversation("sys", budget_tokens=1000))) as happenings:
            async for event in happenings:
                if enough(event):
                    break
        assert running.now == []
        calls = len(running.calls)
        await asyncio.sleep(10)
        assert len(running.calls) == calls

    virtual_time.run(run())


def test_turn_does_not_change_the_history() -> None:
    conversation = Conversation("sys", budget_tokens=1000)
    conversation.record("hello", "en", "Hello to you.")
    llm = ScriptedLLM()
    play(llm=llm, conversation=conversation)
    assert [m.content for m in conversation.messages] == ["hello", "Hello to you."]
    assert [m.content for m in llm.asked[0][1:]] == ["hello", "Hello to you.", "what does the heron do"]


def test_markup_is_in_the_reply_but_not_spoken() -> None:
    tts = ScriptedTTS()
    heard = play(llm=ScriptedLLM("This is **very** good 🎉 news for you."), tts=tts)
    assert isinstance(heard.end, events.TurnCompleted)
    assert "**very**" in heard.end.reply
    assert " ".join(tts.spoken).split() == ["This", "is", "very", "good", "news", "for", "you."]


def test_change_of_alphabet_changes_the_spoken_language() -> None:
    tts = ScriptedTTS()
    reply = "You say it like this in Russian. Доброе утро, как ваши дела сегодня? And this is English again."
    play(llm=ScriptedLLM(reply), tts=tts, language="en")
    assert list(zip(tts.spoken, tts.languages, strict=True)) == [
        ("You say it like this in Russian.", "en"),
        ("Доброе утро, как ваши дела сегодня?", "ru"),
        ("And this is English again.", "en"),
    ]


def test_reply_that_changes_language_is_spoken_in_both() -> None:
    tts = ScriptedTTS()
    reply = "You can ask for it like this in French. Je voudrais un verre d'eau, s'il vous plaît. Then you wait for it."
    play(llm=ScriptedLLM(reply), tts=tts, language="en")
    assert tts.languages == ["en", "fr", "en"]


def test_set_language_is_kept_in_its_alphabet() -> None:
    tts = ScriptedTTS()
    reply = "You can ask for it like this in French. Je voudrais un verre d'eau, s'il vous plaît."
    play(llm=ScriptedLLM(reply), tts=tts, speech_language="en")
    assert tts.languages == ["en", "en"]


def test_reply_without_words_is_not_spoken() -> None:
    tts = ScriptedTTS()
    heard = play(llm=ScriptedLLM("😀 …"), tts=tts)
    assert isinstance(heard.end, events.TurnCompleted)
    assert tts.spoken == []

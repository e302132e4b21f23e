"""Turns over Realtime: spoken, manual, interrupted, cancelled; on scripted stages and virtual time."""

import asyncio
import base64
import json
from typing import Any

import numpy as np
import pytest

from bench.speaker import cut
from pipeline.audio.clip import Clip
from pipeline.audio.g711 import RATE_HZ as G711_HZ
from pipeline.audio.g711 import to_mulaw
from pipeline.errors import EngineError
from pipeline.listening.detector import SileroActivity
from tests.realtime.desk import Desk, ScriptedAssistant, hold
from tests.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS, ScriptedTurnEnd

LONG = " ".join(f"This is sentence number {n} of a long reply." for n in ("one", "two", "three", "four", "five"))
MANUAL: dict[str, Any] = {"audio": {"input": {"turn_detection": None}}}


async def to_the_middle_of_a_reply(d: Desk, ms: int = 5000) -> str:
    """Ask a question, and play this much of the reply; return its item."""
    await d.speak(600)
    await d.silence(600)
    await d.until("response.output_audio.delta", count=1)
    await d.silence(ms)
    item: str = d.of("response.output_item.added")[0]["item"]["id"]
    return item


def long() -> ScriptedLLM:
    return ScriptedLLM(LONG, tokens_per_s=1000)


def test_speech_times_refer_to_the_sent_sound() -> None:
    async def script(d: Desk) -> None:
        await d.silence(1000)
        await d.speak(1000)
        await d.silence(600)
        await d.until("response.done")

    d = hold(script)
    assert d.of("input_audio_buffer.speech_started")[0]["audio_start_ms"] == pytest.approx(1000, abs=50)
    assert d.of("input_audio_buffer.speech_stopped")[0]["audio_end_ms"] == pytest.approx(2000, abs=50)
    items = {event["item_id"] for event in d.of("input_audio_buffer.speech_started")}
    items |= {event["item_id"] for event in d.of("input_audio_buffer.committed")}
    assert len(items) == 1


def test_speech_in_g711_is_found_as_soon_as_at_full_band(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real detector hears a beginning that a telephone passes on badly."""
    monkeypatch.setattr(ScriptedAssistant, "activity", lambda _: SileroActivity())
    pause = Clip(np.zeros(48_000, np.float32), 16_000)
    question, command = (Clip(cut(text), 16_000) for text in ("what does the heron do all day", "turn off the light"))
    spoke = 0.0

    async def script(d: Desk) -> None:
        nonlocal spoke
        detection = {"type": "server_vad", "create_response": False}
        await d.update(audio={"input": {"format": {"type": "audio/pcmu"}, "turn_detection": detection}})
        for clip in (pause, question, pause, command):
            spoke = d.now
            data = to_mulaw(clip.at(G711_HZ).samples)
            for start in range(0, len(data), G711_HZ // 50):
                await asyncio.sleep(0.02)
                d.send(
                    "input_audio_buffer.append", audio=base64.b64encode(data[start : start + G711_HZ // 50]).decode()
                )

    d = hold(script)
    found = [at for at, event in d.log if event["type"] == "input_audio_buffer.speech_started"]
    assert len(found) == 2
    assert found[-1] - spoke < 0.16


def test_speech_during_a_response_cancels_it_and_keeps_the_heard_part() -> None:
    async def script(d: Desk) -> None:
        reply = await to_the_middle_of_a_reply(d)
        await d.speak(1000)
        cancelled = (await d.until("response.done", count=1))["response"]
        assert cancelled["status"] == "cancelled"
        assert cancelled["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        heard = await d.words(reply)
        assert LONG.startswith(heard)
        assert len(heard) * 0.06 == pytest.approx(5.2, abs=0.6)
        await d.silence(700)
        await d.until("response.created", count=2)
        assert ("assistant", f"{heard} …") in d.told

    d = hold(script, llm=long())
    kinds = d.kinds
    second = [i for i, kind in enumerate(kinds) if kind == "input_audio_buffer.speech_started"][1]
    assert kinds.index("response.done") > second  # clients stop their playback on the first of the two
    assert kinds[second - 1] == "response.output_audio.delta"


def test_nothing_of_a_cancelled_response_follows_its_end() -> None:
    async def script(d: Desk) -> None:
        await to_the_middle_of_a_reply(d)
        await d.speak(1000)
        await d.silence(700)
        await d.until("response.done", count=2)

    d = hold(script, llm=long())
    first = d.of("response.created")[0]["response"]["id"]
    kinds = [(event["type"], event.get("response_id")) for _, event in d.log]
    end = next(i for i, (kind, _) in enumerate(kinds) if kind == "response.done")
    assert not [kind for kind, response in kinds[end + 1 :] if response == first]


@pytest.mark.parametrize(("played_ms", "heard"), [(0, ""), (500, "This is"), (1000, "This is sentence")])
def test_a_client_truncation_is_exact_to_the_word(played_ms: int, heard: str) -> None:
    async def script(d: Desk) -> None:
        reply = await to_the_middle_of_a_reply(d)
        await d.speak(600)
        await d.until("response.done", count=1)
        d.send("conversation.item.truncate", item_id=reply, content_index=0, audio_end_ms=played_ms)
        truncated = await d.until("conversation.item.truncated")
        assert truncated["audio_end_ms"] == played_ms
        assert await d.words(reply) == heard
        await d.silence(700)
        await d.until("response.created", count=2)
        assert [content for role, content in d.told if role == "assistant"] == ([f"{heard} …"] if heard else [])

    hold(script, llm=long())


def test_a_truncation_during_a_response_stays_in_effect() -> None:
    async def script(d: Desk) -> None:
        reply = await to_the_middle_of_a_reply(d)
        d.send("conversation.item.truncate", item_id=reply, content_index=0, audio_end_ms=1000)
        await d.until("conversation.item.truncated")
        await d.silence(500)
        d.send("response.cancel")
        await d.until("response.done")
        assert await d.words(reply) == "This is sentence"

    hold(script, llm=long())


def test_a_finished_reply_can_be_truncated_too() -> None:
    """Clients play behind the sent sound: the user may not have heard the last words."""

    async def script(d: Desk) -> None:
        await d.speak(600)
        await d.silence(600)
        done = await d.until("response.done", count=1)
        reply = done["response"]["output"][0]["id"]
        whole = await d.words(reply)
        d.send("conversation.item.truncate", item_id=reply, content_index=0, audio_end_ms=2000)
        await d.until("conversation.item.truncated")
        assert whole.startswith(await d.words(reply))
        assert len(await d.words(reply)) < len(whole)

    hold(script)


def test_invalid_truncations_are_reported() -> None:
    async def script(d: Desk) -> None:
        reply = await to_the_middle_of_a_reply(d)
        await d.speak(600)
        await d.until("response.done", count=1)
        user = d.of("input_audio_buffer.committed")[0]["item_id"]
        for fields, code in [
            ({"item_id": reply, "content_index": 0, "audio_end_ms": 60_000}, "invalid_value"),
            ({"item_id": reply, "content_index": 0, "audio_end_ms": -1}, "invalid_value"),
            ({"item_id": reply, "content_index": 1, "audio_end_ms": 10}, "invalid_value"),
            ({"item_id": user, "content_index": 0, "audio_end_ms": 10}, "invalid_value"),
            ({"item_id": "item_nobody", "content_index": 0, "audio_end_ms": 10}, "item_truncate_invalid_item_id"),
            ({"item_id": reply, "content_index": 0}, "missing_required_parameter"),
        ]:
            error = await d.error(d.send("conversation.item.truncate", **fields))
            assert error["code"] == code, fields
            assert error["type"] == "invalid_request_error"

    hold(script, llm=long())


def test_a_client_cancels_a_response() -> None:
    async def script(d: Desk) -> None:
        await to_the_middle_of_a_reply(d, 1000)
        d.send("response.cancel")
        response = (await d.until("response.done"))["response"]
        assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        error = await d.error(d.send("response.cancel"))
        assert error["code"] == "response_cancel_not_active"
        await d.speak(600)
        await d.silence(600)
        await d.until("response.created", count=2)

    hold(script, llm=long())


def test_a_cancel_right_after_the_request_ends_it_once() -> None:
    async def script(d: Desk) -> None:
        d.send("response.create", response={"metadata": {"n": "1"}})
        d.send("response.cancel")
        response = (await d.until("response.done"))["response"]
        assert response["status_details"]["reason"] == "client_cancelled"
        await d.silence(1000)

    d = hold(script)
    assert d.kinds.count("response.created") == d.kinds.count("response.done") == 1


@pytest.mark.parametrize("ms", [100, 200])
def test_a_cough_does_not_cancel(ms: int) -> None:
    async def script(d: Desk) -> None:
        await to_the_middle_of_a_reply(d, 1000)
        await d.speak(ms)
        await d.silence(8000)

    d = hold(script)
    assert [event["response"]["status"] for event in d.of("response.done")] == ["completed"]
    assert d.kinds.count("input_audio_buffer.speech_started") == 1


def test_a_reply_without_interruption_is_played_to_the_end() -> None:
    async def script(d: Desk) -> None:
        await d.update(audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}})
        await to_the_middle_of_a_reply(d, 1000)
        await d.speak(1000)
        await d.until("response.done", count=2)

    d = hold(script)
    assert [event["response"]["status"] for event in d.of("response.done")] == ["completed", "completed"]
    started = [index for index, kind in enumerate(d.kinds) if kind == "input_audio_buffer.speech_started"]
    assert len(started) == 2
    assert "response.done" in d.kinds[: started[1]]  # speech during the response is transcribed after it


HELLO = {"type": "input_text", "text": "hello"}
REPORTED = {"type": "server_vad", "interrupt_response": False, "create_response": False}
CLIENT_DECIDES: dict[str, Any] = {"audio": {"input": {"turn_detection": REPORTED}}}


async def to_a_requested_reply(d: Desk) -> None:
    """Ask a question, request the response, and play a second of it."""
    await d.update(**CLIENT_DECIDES)
    await d.speak(600)
    await d.silence(600)
    await d.until("conversation.item.input_audio_transcription.completed", count=1)
    d.send("response.create")
    await d.until("response.output_audio.delta", count=1)
    await d.silence(1000)


def test_a_client_that_interrupts_by_itself_hears_of_the_speech() -> None:
    async def script(d: Desk) -> None:
        await to_a_requested_reply(d)
        await d.speak(1000)
        await d.silence(700)
        await d.until("conversation.item.input_audio_transcription.completed", count=2)
        assert "response.done" not in d.kinds
        d.send("response.cancel")
        cancelled = (await d.until("response.done", count=1))["response"]
        assert cancelled["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        d.send("response.create")
        await d.until("response.done", count=2)

    d = hold(script, llm=long())
    spoken = [kind.removeprefix("input_audio_buffer.") for kind in d.kinds if kind.startswith("input_audio_buffer.")]
    assert spoken == ["speech_started", "speech_stopped", "committed"] * 2
    assert [role for role, _ in d.told[1:]] == ["user", "assistant", "user"]
    assert d.of("response.done")[1]["response"]["status"] == "completed"


@pytest.mark.parametrize("ended_by", ["its last sound", "the client"])
def test_an_utterance_outlasts_the_response_that_it_did_not_interrupt(ended_by: str) -> None:
    async def script(d: Desk) -> None:
        await to_a_requested_reply(d)
        await d.speak(1500)
        await d.until("input_audio_buffer.speech_started", count=2)
        if ended_by == "the client":
            d.send("response.cancel")
        while "response.done" not in d.kinds:
            await d.speak(100)
        await d.speak(500)
        await d.silence(700)
        await d.until("conversation.item.input_audio_transcription.completed", count=2)

    d = hold(script, llm=ScriptedLLM(LONG[:120], tokens_per_s=1000))
    started = d.of("input_audio_buffer.speech_started")
    assert len(started) == 2
    assert d.of("input_audio_buffer.committed")[1]["item_id"] == started[1]["item_id"]
    assert d.of("conversation.item.input_audio_transcription.completed")[1]["item_id"] == started[1]["item_id"]
    assert "input_audio_buffer.committed" in d.kinds[d.kinds.index("response.done") :]


def test_a_backchannel_during_a_response_is_no_utterance_for_the_client() -> None:
    async def script(d: Desk) -> None:
        await to_a_requested_reply(d)
        d.stages.stt.text = "mhm"  # type: ignore[attr-defined]
        await d.speak(400)
        await d.until("response.done", count=1)

    assert hold(script, llm=long()).kinds.count("input_audio_buffer.speech_started") == 1


@pytest.mark.parametrize(("sent", "told"), [("commit", "committed"), ("clear", "cleared")])
def test_a_client_ends_an_utterance_during_a_response(sent: str, told: str) -> None:
    async def script(d: Desk) -> None:
        await to_a_requested_reply(d)
        await d.speak(1500)
        await d.until("input_audio_buffer.speech_started", count=2)
        before = len(d.kinds)
        d.send(f"input_audio_buffer.{sent}")
        await d.until(f"input_audio_buffer.{told}", count=2 if told == "committed" else 1)
        await d.until("response.done", count=1)
        assert d.kinds[before:].count("conversation.item.input_audio_transcription.completed") == (sent == "commit")
        assert "input_audio_buffer.speech_stopped" not in d.kinds[before:], "the client has ended it"

    hold(script, llm=long())


@pytest.mark.parametrize("interrupts", [True, False])
def test_an_utterance_during_a_response_is_answered_after_a_change_to_that(interrupts: bool) -> None:
    later = {"type": "server_vad", "interrupt_response": interrupts, "create_response": True}

    async def script(d: Desk) -> None:
        await to_a_requested_reply(d)
        await d.speak(1500)
        await d.until("input_audio_buffer.speech_started", count=2)
        await d.update(audio={"input": {"turn_detection": later}})
        await d.silence(900)
        await d.until("response.done", count=2)

    d = hold(script, llm=ScriptedLLM(LONG[:120], tokens_per_s=1000))
    assert [role for role, _ in d.told[1:]] == ["user", "assistant", "user"]
    assert [done["response"]["status"] for done in d.of("response.done")] == ["completed"] * 2
    assert len(d.of("conversation.item.input_audio_transcription.completed")) == 2


def test_the_client_controls_manual_turns() -> None:
    async def script(d: Desk) -> None:
        await d.update(**MANUAL)
        await d.speak(1000)
        await d.silence(3000)
        assert "input_audio_buffer.committed" not in d.kinds
        d.send("input_audio_buffer.commit")
        await d.until("conversation.item.input_audio_transcription.completed")
        await d.silence(2000)
        assert "response.created" not in d.kinds
        d.send("response.create")
        await d.until("response.done")

    d = hold(script)
    assert "input_audio_buffer.speech_started" not in d.kinds
    assert d.told[1:] == [("user", "what does the heron do")]
    assert d.of("response.done")[0]["response"]["status"] == "completed"


def test_a_manual_response_waits_for_the_transcript() -> None:
    async def script(d: Desk) -> None:
        await d.update(**MANUAL)
        d.append(1000)
        d.send("input_audio_buffer.commit")
        d.append(1000)
        d.send("input_audio_buffer.commit")
        d.send("response.create")
        await d.until("response.done")

    d = hold(script, stt=ScriptedSTT(seconds=0.5))
    assert d.told[1:] == [("user", "what does the heron do")] * 2
    kinds = d.kinds
    assert kinds.index("response.created") > kinds.index("input_audio_buffer.committed")
    assert kinds.count("conversation.item.input_audio_transcription.completed") == 2


def test_all_sound_since_the_last_commit_is_the_turn() -> None:
    seconds: list[float] = []

    class Measuring(ScriptedSTT):
        async def transcribe(self, clip, *, language, prompt, words):  # type: ignore[no-untyped-def]
            seconds.append(clip.seconds)
            return await super().transcribe(clip, language=language, prompt=prompt, words=words)

    async def script(d: Desk) -> None:
        await d.update(**MANUAL)
        d.append(2345)
        d.send("input_audio_buffer.commit")
        d.append(100, 0.0)
        d.send("input_audio_buffer.commit")
        d.append(2000)
        d.append(2000)
        d.send("input_audio_buffer.clear")
        await d.until("input_audio_buffer.cleared")
        d.append(300)
        d.send("input_audio_buffer.commit")
        await d.until("conversation.item.input_audio_transcription.completed", count=3)

    hold(script, stt=Measuring())
    assert seconds == pytest.approx([2.345, 0.1, 0.3], abs=0.04)


@pytest.mark.parametrize("session", [{}, MANUAL])
@pytest.mark.parametrize("ms", [0, 60])
def test_committing_nothing_is_an_error(session: dict[str, Any], ms: int) -> None:
    async def script(d: Desk) -> None:
        await d.update(**session)
        d.append(ms, 0.0)
        error = await d.error(d.send("input_audio_buffer.commit"))
        assert error["code"] == "input_audio_buffer_commit_empty"

    hold(script)


def test_an_uncommitted_buffer_is_limited() -> None:
    async def script(d: Desk) -> None:
        await d.update(**MANUAL)
        for _ in range(11):
            d.append(1000)
        await d.until("error")
        d.send("input_audio_buffer.commit")
        await d.until("input_audio_buffer.committed")

    d = hold(script, max_audio_seconds=10)
    assert d.of("error")[0]["error"]["code"] == "input_audio_buffer_too_long"


def test_a_second_concurrent_response_is_refused() -> None:
    async def script(d: Desk) -> None:
        await d.update(**MANUAL)
        d.send("response.create")
        await d.until("response.created")
        error = await d.error(d.send("response.create"))
        assert error["code"] == "conversation_already_has_active_response"
        await d.until("response.done")
        d.send("response.create")
        await d.until("response.done", count=2)

    hold(script)


def test_speech_without_automatic_responses_is_transcribed() -> None:
    async def script(d: Desk) -> None:
        await d.update(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})
        for _ in range(2):
            await d.speak(600)
            await d.silence(1000)
        assert d.kinds.count("conversation.item.input_audio_transcription.completed") == 2
        assert "response.created" not in d.kinds
        d.send("response.create")
        await d.until("response.done")

    d = hold(script)
    assert d.told[1:] == [("user", "what does the heron do")] * 2
    assert d.running.calls.count("llm") == 1


def test_noise_has_an_item_without_words_and_no_response() -> None:
    async def script(d: Desk) -> None:
        await d.speak(600)
        await d.silence(2000)

    d = hold(script, stt=ScriptedSTT(""))
    assert d.of("conversation.item.input_audio_transcription.completed")[0]["transcript"] == ""
    assert "response.created" not in d.kinds


def test_a_failed_transcription_is_reported() -> None:
    async def script(d: Desk) -> None:
        await d.speak(600)
        await d.silence(600)
        await d.until("response.done", count=1)
        await d.update(**MANUAL)
        d.append(500)
        d.send("input_audio_buffer.commit")
        await d.until("conversation.item.input_audio_transcription.failed", count=2)

    d = hold(script, stt=ScriptedSTT(error=EngineError("broken")))
    response = d.of("response.done")[0]["response"]
    assert response["status"] == "failed"
    assert response["status_details"]["error"]["code"] == "stt_failed"


@pytest.mark.parametrize("fail_after", [0, 3])
def test_a_failing_language_model_fails_the_response(fail_after: int) -> None:
    llm = ScriptedLLM(error=EngineError("away"), fail_after=fail_after)

    async def script(d: Desk) -> None:
        await d.speak(600)
        await d.silence(600)
        await d.until("response.done")
        llm.error = None
        await d.speak(600)
        await d.silence(600)
        await d.until("response.done", count=2)

    d = hold(script, llm=llm)
    first, second = (event["response"] for event in d.of("response.done"))
    assert (first["status"], first["status_details"]["error"]["code"]) == ("failed", "llm_unavailable")
    assert second["status"] == "completed"


def test_a_failing_voice_keeps_the_words() -> None:
    async def script(d: Desk) -> None:
        await d.speak(600)
        await d.silence(600)
        await d.until("response.done")

    d = hold(script, tts=ScriptedTTS(error=EngineError("mute")))
    assert d.of("error")[0]["error"]["code"] == "tts_failed"
    response = d.of("response.done")[0]["response"]
    assert response["output"][0]["content"][0]["transcript"] == ScriptedLLM().reply_text


def test_a_user_who_continues_before_the_transcript_gets_one_reply() -> None:
    async def script(d: Desk) -> None:
        await d.speak(600)
        await d.silence(700)
        assert d.kinds.count("input_audio_buffer.committed") == 1
        await d.speak(1000)
        await d.silence(1000)
        await d.until("response.done")

    d = hold(script, stt=ScriptedSTT(seconds=1.5))
    assert d.kinds.count("response.created") == 1
    (deleted,) = d.of("conversation.item.deleted")
    first, second = d.of("input_audio_buffer.committed")
    assert deleted["item_id"] == first["item_id"]
    assert second["previous_item_id"] is None


def test_eagerness_sets_the_endpointing_delay() -> None:
    def waited(eagerness: str) -> float:
        ended = 0.0

        async def script(d: Desk) -> None:
            nonlocal ended
            await d.update(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": eagerness}}})
            ended = await d.speak(600)
            await d.silence(3000)

        return hold(script, stt=ScriptedSTT("turn on the light")).at("input_audio_buffer.speech_stopped") - ended

    waits = [waited(eagerness) for eagerness in ("high", "auto", "medium", "low")]
    assert waits[0] < waits[1] == waits[2] < waits[3]


@pytest.mark.parametrize(
    ("detection", "finished", "wait_s"),
    [
        ({"type": "semantic_vad", "eagerness": "high"}, 0.9, 0.26),
        ({"type": "semantic_vad", "eagerness": "high"}, 0.1, 0.72),
        ({"type": "semantic_vad", "eagerness": "low"}, 0.9, 0.79),
        ({"type": "server_vad"}, 0.1, 0.5),
    ],
)
def test_semantic_vad_hears_whether_the_user_has_finished(
    detection: dict[str, str], finished: float, wait_s: float
) -> None:
    ended = 0.0

    async def script(d: Desk) -> None:
        nonlocal ended
        await d.update(audio={"input": {"turn_detection": detection}})
        ended = await d.speak(600)
        await d.silence(3000)

    hears = ScriptedTurnEnd((finished,), seconds=0.02)
    d = hold(script, stt=ScriptedSTT("turn on the light"), turn_end=hears)
    assert d.at("input_audio_buffer.speech_stopped") - ended == pytest.approx(wait_s, abs=0.06)
    assert len(hears.asked) == (detection["type"] == "semantic_vad")


def test_timings_are_sent_only_on_request() -> None:
    mine = {str(number): "x" for number in range(15)}

    async def script(d: Desk) -> None:
        await d.speak(800)
        await d.silence(800)
        await d.until("response.done", count=1)
        for metadata in (mine, {**mine, "one": "more"}):
            d.send("response.create", response={"conversation": "none", "input": [], "metadata": metadata})
            await d.until("response.done")
        d.send("response.create")
        await d.until("response.output_audio.delta")
        d.send("response.cancel")
        await d.until("response.done")

    d = hold(script, query="model=test&timings=1")
    spoken, aside, full, cut = (event["response"] for event in d.of("response.done"))
    told = json.loads(spoken["metadata"]["timings_ms"])
    assert set(told) >= {"endpoint", "transcript", "first_token", "first_audio", "first_sound", "speech_done"}
    order = ("transcript", "first_token", "first_audio", "first_sound")
    assert [told[name] for name in order] == sorted(told[name] for name in order)
    assert {name: aside["metadata"][name] for name in mine} == mine
    assert json.loads(aside["metadata"]["timings_ms"])["first_token"] >= 0
    assert full["metadata"] == {**mine, "one": "more"}
    assert json.loads(cut["metadata"]["timings_ms"])["first_sound"] >= 0
    assert all(len(response["metadata"].get("timings_ms", "")) <= 512 for response in (spoken, aside, full, cut))
    assert all("timings_ms" not in (event["response"]["metadata"] or {}) for event in d.of("response.created"))

    async def unasked(d: Desk) -> None:
        d.send("response.create")
        await d.until("response.done")

    [done] = hold(unasked).of("response.done")
    assert done["response"]["metadata"] is None


def test_after_a_long_silence_the_assistant_asks() -> None:
    async def script(d: Desk) -> None:
        await d.update(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 6000}}})
        await d.silence(8000)
        await d.until("response.done", count=1)

    d = hold(script)
    (idle,) = d.of("input_audio_buffer.timeout_triggered")
    assert idle["audio_end_ms"] - idle["audio_start_ms"] == pytest.approx(6000, abs=600)
    assert "still there" in d.of("response.done")[0]["response"]["output"][0]["content"][0]["transcript"]


def test_reply_that_was_cut_before_it_was_heard_can_be_truncated() -> None:
    """Open WebUI truncates at 0 what it has received and not played, and ends its call at an error."""

    async def script(d: Desk) -> None:
        await d.update(**CLIENT_DECIDES)
        d.send("conversation.item.create", item={"type": "message", "role": "user", "content": [HELLO]})
        d.send("response.create")
        item = (await d.until("response.output_audio.delta"))["item_id"]
        d.send("response.cancel")
        d.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=0)
        await d.until("conversation.item.truncated")

    assert "error" not in hold(script, llm=long()).kinds

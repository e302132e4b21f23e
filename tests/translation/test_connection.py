"""`/v1/realtime/translations` on virtual time: its events, its errors, and its end."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from pipeline.errors import EngineError
from pipeline.listening import noise
from server.realtime.translations import connection  # imported before: no thread moves the virtual clock
from server.realtime.translations.config import EVENTS
from server.realtime.translations.route import PATH, router
from tests.realtime.desk import Desk, hold_at
from tests.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS
from tests.translation.client import SERVER_EVENTS

CLOSE = "session.close"
CLOSED = "session.closed"
TEXT = "session.output_transcript.delta"
SOUND = "session.output_audio.delta"
SOURCE = "session.input_transcript.delta"
APPEND = "session.input_audio_buffer.append"


class TranslationDesk(Desk):
    path = PATH
    router = router
    server_events = SERVER_EVENTS
    appends = APPEND

    async def update(self, **audio: Any) -> dict[str, Any]:
        """Send session.update and return the updated session."""
        self.send("session.update", session={"audio": audio})
        session: dict[str, Any] = (await self.until("session.updated"))["session"]
        return session

    async def say(self, ms: int = 900) -> None:
        """Speak a sentence, and be silent until the next one is transcribed alone."""
        await self.speak(ms)
        await self.silence(2300)

    @property
    def translation(self) -> str:
        return "".join(event["delta"] for event in self.of(TEXT))


def translate(script: Callable[[TranslationDesk], Awaitable[None]], **options: Any) -> TranslationDesk:
    """Run a script with scripted stages: each utterance is "what does the heron do", in English."""
    options = {"llm": ScriptedLLM("¿Qué hace la garza?"), **options}
    return hold_at(TranslationDesk, script, **options)


def test_a_clause_becomes_text_and_sound() -> None:
    async def script(desk: TranslationDesk) -> None:
        session = await desk.update(output={"language": "es"}, input={"transcription": {"model": "any"}})
        assert session["audio"]["output"]["language"] == "es"
        await desk.say()
        desk.send(CLOSE)
        await desk.until(CLOSED)

    desk = translate(script)
    kinds = desk.kinds
    assert kinds[:3] == ["session.created", "session.updated", SOURCE]
    assert kinds[-1] == CLOSED
    assert set(kinds[3:-1]) == {TEXT, SOUND}
    assert desk.closed is not None
    assert desk.closed[0] == 1000
    assert "".join(event["delta"] for event in desk.of(SOURCE)) == "what does the heron do"
    assert desk.translation == "¿Qué hace la garza?"
    speech = np.frombuffer(b"".join(base64.b64decode(event["delta"]) for event in desk.of(SOUND)), "<i2")
    assert len(speech) / 24_000 == pytest.approx(len(desk.translation) * 0.06, abs=0.1)
    for event in desk.of(SOUND):
        assert (event["sample_rate"], event["channels"], event["format"]) == (24_000, 1, "pcm16")
        assert len(base64.b64decode(event["delta"])) <= 24_000 * 2 // 5 + 1000
    for event in (*desk.of(SOURCE), *desk.of(TEXT), *desk.of(SOUND)):
        assert event["elapsed_ms"] % 200 == 0
        assert 800 <= event["elapsed_ms"] <= 1400


def test_the_session_begins_with_its_defaults() -> None:
    async def script(desk: TranslationDesk) -> None:
        session = desk.of("session.created")[0]["session"]
        assert session["id"].startswith("sess_")
        assert session["type"] == "translation"
        assert session["model"] == "test"
        assert session["audio"] == {
            "input": {"transcription": None, "noise_reduction": None}, "output": {"language": "en"},
        }  # fmt: skip
        assert await desk.update(**session["audio"]) == session
        desk.send("session.update", session=session)
        assert (await desk.until("session.updated"))["session"] == session

    translate(script)


def test_source_words_are_sent_only_when_asked_for() -> None:
    async def script(desk: TranslationDesk) -> None:
        await desk.update(output={"language": "es"})
        await desk.say()
        assert not desk.of(SOURCE)
        await desk.update(input={"transcription": {"model": "any"}})
        await desk.say()
        count = len(desk.of(SOURCE))
        assert count
        session = await desk.update(input={"transcription": None})
        assert session["audio"]["input"] == {"transcription": None, "noise_reduction": None}
        assert session["audio"]["output"] == {"language": "es"}
        await desk.say()
        assert len(desk.of(SOURCE)) == count

    translate(script)


@pytest.mark.skipif(not noise.available(), reason="the extra noise is not installed")
def test_noise_reduction_keeps_its_strength_until_it_is_changed() -> None:
    async def script(desk: TranslationDesk) -> None:
        for wanted, strength in (({}, 1.0), ({"strength": 0.25}, 0.25), ({"type": "near_field"}, 0.25)):
            reduction = {"type": "far_field", **wanted}
            session = await desk.update(input={"noise_reduction": reduction}, output={"language": "es"})
            assert session["audio"]["input"]["noise_reduction"] == {**reduction, "strength": strength}
        error = await desk.error(
            desk.send("session.update", session={"audio": {"input": {"noise_reduction": {**reduction, "strength": 2}}}})
        )
        assert error["param"] == "session.audio.input.noise_reduction.strength"
        await desk.say()
        assert desk.translation == "¿Qué hace la garza?"
        session = await desk.update(input={"noise_reduction": None})
        assert session["audio"]["input"]["noise_reduction"] is None

    translate(script)


def test_noise_reduction_without_the_library_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "available", lambda: False)

    async def script(desk: TranslationDesk) -> None:
        session = await desk.update(input={"noise_reduction": {"type": "far_field"}})
        assert session["audio"]["input"]["noise_reduction"] is None

    translate(script)


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"audio": {"output": {"language": "klingon?"}}}, "invalid_value", "session.audio.output.language"),
        ({"audio": {"output": {"language": "auto"}}}, "invalid_value", "session.audio.output.language"),
        ({"audio": {"output": {"language": 7}}}, "invalid_type", "session.audio.output.language"),
        ({"audio": {"output": {"voice": "man"}}}, "unknown_parameter", "session.audio.output.voice"),
        ({"audio": {"input": {"transcription": {}}}}, "missing_required_parameter",
         "session.audio.input.transcription.model"),
        ({"audio": {"output": {"language": "es"}}, "instructions": "x"}, "unknown_parameter", "session.instructions"),
        ({"model": "another", "audio": {"output": {"language": "es"}}}, "invalid_value", "session.model"),
        ({"type": "realtime"}, "invalid_value", "session.type"),
    ],
)  # fmt: skip
def test_an_invalid_update_changes_nothing(session: dict[str, Any], code: str, param: str) -> None:
    async def script(desk: TranslationDesk) -> None:
        error = await desk.error(desk.send("session.update", session=session))
        assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
        assert await desk.update() == desk.of("session.created")[0]["session"]

    translate(script)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("not JSON", "unknown_or_invalid_event"),
        ("[]", "unknown_or_invalid_event"),
        ('{"type": "response.create"}', "unknown_or_invalid_event"),
        ('{"type": "input_audio_buffer.append", "audio": "AAAA"}', "unknown_or_invalid_event"),
        ('{"type": "session.input_audio_buffer.append"}', "missing_required_parameter"),
        ('{"type": "session.input_audio_buffer.append", "audio": "?"}', "invalid_value"),
        ('{"type": "session.input_audio_buffer.append", "audio": "AAAA", "rate": 8000}', "unknown_parameter"),
        ('{"type": "session.update"}', "missing_required_parameter"),
        ('{"type": "session.close", "event_id": 7}', "invalid_type"),
    ],
)
def test_a_malformed_event_is_an_error_and_the_session_goes_on(text: str, code: str) -> None:
    async def script(desk: TranslationDesk) -> None:
        await desk.update(output={"language": "es"})
        desk.text(text)
        assert (await desk.until("error"))["error"]["code"] == code
        await desk.say()
        assert desk.translation == "¿Qué hace la garza?"

    translate(script)


def test_bytes_are_refused() -> None:
    async def script(desk: TranslationDesk) -> None:
        desk.inbox.put_nowait({"type": "websocket.receive", "bytes": b"\0\0"})
        assert (await desk.until("error"))["error"]["code"] == "unknown_or_invalid_event"

    translate(script)


def test_every_client_event_has_a_meaning() -> None:
    assert set(EVENTS) == {"session.update", APPEND, CLOSE}


def test_a_close_translates_everything_first() -> None:
    async def script(desk: TranslationDesk) -> None:
        await desk.update(output={"language": "es"})
        await desk.speak(900)
        desk.send(CLOSE)
        desk.send(CLOSE)
        late = desk.send(APPEND, audio="AAAA")
        assert "closing" in (await desk.error(late))["message"]
        await desk.until(CLOSED)
        assert desk.translation == "¿Qué hace la garza?"

    desk = translate(script, llm=ScriptedLLM("¿Qué hace la garza?", first_token_s=3.0))
    assert desk.closed == (1000, "The session is closed.")


def test_a_drain_ends_the_session_after_the_translation() -> None:
    async def script(desk: TranslationDesk) -> None:
        await desk.update(output={"language": "es"})
        await desk.speak(900)
        desk.draining.begun.set()
        assert (await desk.until("error"))["error"]["code"] == "draining"
        assert desk.translation == "¿Qué hace la garza?"

    desk = translate(script, llm=ScriptedLLM("¿Qué hace la garza?", first_token_s=3.0))
    assert desk.closed is not None
    assert desk.closed[0] == 1012


def test_the_drain_deadline_ends_the_session_at_once() -> None:
    async def script(desk: TranslationDesk) -> None:
        await desk.update(output={"language": "es"})
        await desk.say()
        desk.draining.begun.set()
        await asyncio.sleep(1)
        desk.draining.cut.set()
        assert (await desk.until("error", within_s=1))["error"]["code"] == "draining"

    desk = translate(script, llm=ScriptedLLM(first_token_s=60.0))
    assert desk.closed is not None
    assert desk.closed[0] == 1012


def test_a_disconnect_in_the_middle_of_a_clause_stops_everything() -> None:
    async def script(desk: TranslationDesk) -> None:
        await desk.update(output={"language": "es"})
        await desk.say()
        assert desk.running.now == ["llm"]

    translate(script, llm=ScriptedLLM(first_token_s=60.0))


def test_a_session_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_SESSION_S", 60.0)

    async def script(desk: TranslationDesk) -> None:
        await asyncio.sleep(59)
        assert desk.closed is None
        assert (await desk.until("error"))["error"]["code"] == "session_expired"

    desk = translate(script)
    assert desk.closed is not None
    assert desk.closed[0] == 1001


@pytest.mark.parametrize("sending", [True, False])
def test_a_silent_session_times_out(sending: bool) -> None:
    async def script(desk: TranslationDesk) -> None:
        for _ in range(25):
            await (desk.silence(200) if sending else asyncio.sleep(0.2))
            assert desk.closed is None
        await (desk.silence(400) if sending else asyncio.sleep(0.4))
        assert (await desk.until("error", count=1))["error"]["code"] == "idle_timeout"

    translate(script, idle_timeout_s=5.2)


def test_a_client_that_does_not_read_loses_its_session() -> None:
    async def script(desk: TranslationDesk) -> None:
        await desk.update(output={"language": "es"})
        desk.reads.clear()
        await desk.say()
        await asyncio.sleep(90)
        desk.reads.set()
        await asyncio.sleep(1)
        assert desk.over

    translate(script, llm=ScriptedLLM("palabra " * 400, tokens_per_s=500.0))


def test_a_session_ends_when_the_models_take_no_more_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STUCK_S", 4.0)

    async def script(desk: TranslationDesk) -> None:
        await desk.speak(5000)
        assert desk.closed is None
        await desk.speak(5000)
        assert desk.of("error")[-1]["error"]["code"] == "overloaded"

    desk = translate(script, stt=ScriptedSTT(seconds=60.0))
    assert desk.closed is not None
    assert desk.closed[0] == 1013


def test_a_language_without_a_voice_gets_text_only() -> None:
    class English(ScriptedTTS):
        def speaks(self, language: str) -> bool:
            return language == "en"

    async def script(desk: TranslationDesk) -> None:
        await desk.update(output={"language": "es"})
        error = (await desk.until("error", count=1))["error"]
        assert (error["code"], error["param"]) == ("unsupported_language", "session.audio.output.language")
        await desk.say()
        assert desk.translation == "¿Qué hace la garza?"
        assert not desk.of(SOUND)

    translate(script, tts=English())


def test_a_failed_stage_is_reported() -> None:
    async def script(desk: TranslationDesk) -> None:
        await desk.update(output={"language": "es"})
        await desk.say()
        error = (await desk.until("error", count=1))["error"]
        assert (error["type"], error["code"]) == ("server_error", "llm_unavailable")
        assert desk.closed is None

    translate(script, llm=ScriptedLLM(error=EngineError("lost")))


def test_half_a_character_of_the_model_harms_nothing() -> None:
    async def script(desk: TranslationDesk) -> None:
        await desk.update(output={"language": "es"})
        await desk.say()
        assert desk.translation == "�"
        json.dumps(desk.of(TEXT)).encode()

    translate(script, llm=ScriptedLLM("\ud83d"))

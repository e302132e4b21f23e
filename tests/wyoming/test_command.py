"""The end of a spoken command, on virtual time, with the real voice activity detector and a scripted recogniser."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from wyoming.asr import VadSensitivity

from pipeline.assistant import Assistant
from pipeline.audio.clip import Samples
from pipeline.conversation.turn import Stages
from pipeline.errors import EngineError, ParleyError
from pipeline.listening.detector import RATE_HZ
from pipeline.settings import Settings
from pipeline.voices.catalogue import Voices
from server.access.limits import Budget, Share
from server.wyoming.command import NOTHING_S, Command, is_live, patience
from tests import virtual_time
from tests.questions import spoken
from tests.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS

STEP = 512


def silence(seconds: float) -> Samples:
    return np.zeros(int(seconds * RATE_HZ), np.float32)


@pytest.fixture(scope="module")
def speech() -> Samples:
    """A command without the silence around it."""
    return spoken("what time is it").samples[4_000:-4_000]


def heard(
    sound: Sequence[Samples], *, sensitivity: str | None = None, stt: ScriptedSTT | None = None, stops: bool = False
) -> tuple[list[str], float]:
    """Return the updates of a command, and when it was over, in seconds of its sound. stops: the client ends the
    sound."""
    settings = Settings(llm_engine="builtin", tts_engine="espeak", stt_engine="sphinx")
    updates: list[str] = []
    over_s = 0.0

    async def listen() -> None:
        nonlocal over_s
        stages = Stages(stt or ScriptedSTT("what time is it?"), ScriptedLLM(), ScriptedTTS())
        assistant = Assistant(settings, stages, Voices.load(settings), lambda: [])
        room = Share(Budget(10**9), None)
        async with Command(assistant, language="en", hint=None, patience=patience(sensitivity), room=room) as command:

            async def speak() -> None:
                nonlocal over_s
                samples = np.concatenate(sound)
                for start in range(0, len(samples), STEP):
                    await asyncio.sleep(STEP / RATE_HZ)
                    if command.over:
                        return
                    over_s = (start + STEP) / RATE_HZ
                    await command.hear(samples[start : start + STEP])
                if stops:
                    command.stop()

            async with asyncio.TaskGroup() as group:
                group.create_task(speak())
                updates.extend([update.text async for update in command.updates])

    virtual_time.run(listen())
    return updates, over_s


def test_a_command_is_over_after_a_short_silence(speech: Samples) -> None:
    updates, over_s = heard([silence(0.5), speech, silence(20)])
    assert updates[-1] == "what time is it?"
    spoke_until_s = 0.5 + len(speech) / RATE_HZ
    assert spoke_until_s - 0.3 < over_s < spoke_until_s + 0.8


def test_the_sensitivity_changes_the_silence_that_ends_a_command(speech: Samples) -> None:
    pause = silence(0.45)
    ends_s = {
        name: heard([speech, pause, speech, silence(20)], sensitivity=name)[1]
        for name in (VadSensitivity.AGGRESSIVE, None, "unheard of", VadSensitivity.RELAXED)
    }
    second_s = (len(speech) + len(pause)) / RATE_HZ
    assert ends_s[VadSensitivity.AGGRESSIVE] < second_s
    assert ends_s[VadSensitivity.RELAXED] > second_s + len(speech) / RATE_HZ
    assert ends_s[VadSensitivity.AGGRESSIVE] < ends_s[None] == ends_s["unheard of"]


@pytest.mark.parametrize(("stt", "speaks"), [(ScriptedSTT(), False), (ScriptedSTT(""), True)])
def test_sound_without_words_is_over_after_a_while(stt: ScriptedSTT, speaks: bool, speech: Samples) -> None:
    sound = speech if speaks else silence(0)
    updates, over_s = heard([sound, silence(40)], stt=stt)
    assert updates == []
    assert over_s == pytest.approx(NOTHING_S + len(sound) / RATE_HZ, abs=1.5)


def test_a_sound_that_the_client_ends_is_over_there(speech: Samples) -> None:
    assert heard([speech], stops=True)[0] == []  # and all of it is transcribed, in `Responses.follow`
    assert heard([speech, silence(0.2)], stops=True)[0] == ["what time is it?"]


def test_a_failure_of_the_recogniser_ends_the_command(speech: Samples) -> None:
    with pytest.raises(ExceptionGroup) as failed:
        heard([speech, silence(5)], stt=ScriptedSTT(error=EngineError("no model", code="no_model")))
    [error] = failed.value.exceptions
    assert isinstance(error, ParleyError)
    assert error.message == "no model"


@pytest.mark.parametrize(
    ("received_s", "passed_s", "live"),
    [(0.06, 0.06, False), (1.0, 1.0, True), (2.0, 1.0, True), (5.0, 1.0, False), (5.0, 3.5, True)],
)
def test_only_sound_at_the_pace_of_speech_is_live(received_s: float, passed_s: float, live: bool) -> None:
    """A wake word's detection can have delayed the beginning of a command."""
    assert is_live(received_s, passed_s) == live

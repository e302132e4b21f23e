"""The speaker lock on virtual time: only the voice that began the conversation interrupts and is answered."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.clip import Clip, Samples, encode_wav
from pipeline.conversation import events
from pipeline.conversation.speaker_lock import FIRST, Owner, SpeakerLock, slices, spoken
from pipeline.errors import BadInput, EngineError
from pipeline.stt import Spoken, Transcript
from tests.dialogue import RATE_HZ, Dialogue, hold
from tests.scripted import ScriptedLLM, ScriptedSTT

LONG = " ".join(f"This is sentence number {n} of a long reply." for n in ("one", "two", "three", "four", "five", "six"))
OWNER_HZ, TELEVISION_HZ = 400, 1500


def voice(hz: float, seconds: float) -> Samples:
    """Return the sound of a voice, which is known by its pitch."""
    return (0.2 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


@dataclass
class Pitch:
    """A speaker encoder that knows voices by their pitch; sound with two voices is like both."""

    error: Exception | None = None

    async def embed(self, clips: Sequence[Samples]) -> Samples:
        if self.error is not None:
            raise self.error
        found = []
        for clip in clips:
            power = np.abs(np.fft.rfft(clip, RATE_HZ))
            bands = np.array([power[at - 50 : at + 50].max() for at in (OWNER_HZ, TELEVISION_HZ)])
            found.append(bands / (np.linalg.norm(bands) + 1e-9))
        return np.array(found, np.float32)


@dataclass
class Heard(ScriptedSTT):
    """Writes down who speaks in a clip, and how long."""

    clips: list[Clip] = field(default_factory=list)

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: str | None, words: bool) -> Transcript:
        self.clips.append(clip)
        return await super().transcribe(clip, language=language, prompt=prompt, words=words)


@dataclass
class Alike:
    """A speaker encoder that knows from the pitch of a voice how similar it is to the owner's."""

    cosines: dict[int, float]

    async def embed(self, clips: Sequence[Samples]) -> Samples:
        found = []
        for clip in clips:
            hz = int(np.argmax(np.abs(np.fft.rfft(clip, RATE_HZ))))
            cosine = next((cosine for pitch, cosine in self.cosines.items() if abs(hz - pitch) < 20), 0.0)
            found.append((cosine, np.sqrt(1 - cosine**2)))
        return np.array(found, np.float32)


async def is_heard(lock: SpeakerLock, sound: Samples) -> bool:
    return bool((await lock.transcribe(Clip(sound, RATE_HZ), language="en", prompt=None, words=False)).text)


async def say(d: Dialogue, sound: Samples) -> float:
    for start in range(0, len(sound), 320):
        await asyncio.sleep(0.02)
        d.session.hear(sound[start : start + 320])
    return d.now


def test_television_neither_interrupts_nor_is_answered() -> None:
    async def script(d: Dialogue) -> None:
        await say(d, voice(OWNER_HZ, 1.5))
        await d.until(events.SpeechStarted)
        await say(d, voice(TELEVISION_HZ, 6.0))
        await d.until(events.TurnCompleted)
        await say(d, voice(TELEVISION_HZ, 3.0))
        await d.silence(3000)

    d = hold(script, llm=ScriptedLLM(LONG, tokens_per_s=1000), encoder=Pitch(), speaker_lock=FIRST)
    assert d.kinds.count("TurnStarted") == 1
    assert "TurnInterrupted" not in d.kinds
    assert "SpeechHeld" not in d.kinds


@pytest.mark.parametrize("seconds", [0.45, 0.8, 2.0])
def test_owner_interrupts(seconds: float) -> None:
    began_s = 0.0

    async def script(d: Dialogue) -> None:
        nonlocal began_s
        await say(d, voice(OWNER_HZ, 1.5))
        await d.until(events.SpeechStarted)
        await d.silence(1000)
        began_s = d.now
        await say(d, voice(OWNER_HZ, seconds))
        await d.until(events.TurnInterrupted)

    d = hold(
        script, llm=ScriptedLLM(LONG, tokens_per_s=1000), encoder=Pitch(), speaker_lock=FIRST, stt=ScriptedSTT("stop")
    )
    assert d.log[-1][0] - began_s <= 0.6 + 0.1 + 0.1


def test_television_before_and_after_the_owner_is_cut_off() -> None:
    stt = Heard()

    async def script(d: Dialogue) -> None:
        await say(d, voice(OWNER_HZ, 2.0))
        await d.until(events.TurnCompleted)
        await d.silence(1000)
        await say(d, voice(TELEVISION_HZ, 5.0))
        await say(d, voice(OWNER_HZ, 3.0))
        await say(d, voice(TELEVISION_HZ, 5.0))
        await d.until(events.TurnCompleted, count=2)

    d = hold(script, stt=stt, llm=ScriptedLLM("Yes."), encoder=Pitch(), speaker_lock=FIRST)
    assert d.kinds.count("TurnStarted") == 2
    assert 3.0 <= stt.clips[-1].seconds <= 3.0 + 2 * 1.6
    power = np.abs(np.fft.rfft(stt.clips[-1].samples, 10 * RATE_HZ))
    assert power[10 * OWNER_HZ] > power[10 * TELEVISION_HZ]


def test_short_first_utterance_is_answered_and_locks_nothing() -> None:
    async def script(d: Dialogue) -> None:
        await say(d, voice(TELEVISION_HZ, 0.6))
        await d.until(events.TurnCompleted)
        await d.silence(1000)
        await say(d, voice(OWNER_HZ, 1.5))
        await d.until(events.TurnCompleted, count=2)
        await d.silence(1000)
        await say(d, voice(TELEVISION_HZ, 2.0))
        await d.silence(2000)

    d = hold(script, llm=ScriptedLLM("Yes."), encoder=Pitch(), speaker_lock=FIRST)
    assert d.kinds.count("TurnStarted") == 2


def test_lock_can_be_switched_on_and_off_in_a_conversation() -> None:
    async def script(d: Dialogue) -> None:
        await say(d, voice(OWNER_HZ, 1.5))
        await d.until(events.TurnCompleted)
        await say(d, voice(TELEVISION_HZ, 1.5))
        await d.silence(2000)
        assert d.kinds.count("TurnStarted") == 1
        off = d.session.options.changed({"speaker_lock": "off"})
        d.session.configure(off, voice=d.session.voice, language=None)
        await say(d, voice(TELEVISION_HZ, 1.5))
        await d.until(events.TurnCompleted, count=2)

    hold(script, llm=ScriptedLLM("Yes."), encoder=Pitch(), speaker_lock=FIRST)


def test_conversation_keeps_its_owner_for_a_reconnection() -> None:
    async def script(d: Dialogue) -> None:
        await say(d, voice(OWNER_HZ, 1.5))
        await d.until(events.TurnCompleted)
        assert d.session.conversation.owner.vector is not None

    hold(script, llm=ScriptedLLM("Yes."), encoder=Pitch(), speaker_lock=FIRST)


def test_broken_encoder_fails_the_turn() -> None:
    async def script(d: Dialogue) -> None:
        await say(d, voice(OWNER_HZ, 1.5))
        await d.until(events.TurnFailed)

    d = hold(script, llm=ScriptedLLM("Yes."), encoder=Pitch(EngineError("deaf")), speaker_lock=FIRST)
    assert d.of(events.TurnFailed)[0].code == "stt_failed"


def test_lock_without_an_encoder_is_refused() -> None:
    with pytest.raises(BadInput, match="speaker lock"):
        hold(lambda d: asyncio.sleep(0), speaker_lock=FIRST)


async def test_voices_in_the_reply_and_its_echo_are_not_learned() -> None:
    lock = SpeakerLock(ScriptedSTT("The heron waits."), Pitch(), Owner())
    television, owner = (Clip(voice(hz, 2), RATE_HZ) for hz in (TELEVISION_HZ, OWNER_HZ))

    async def heard(recogniser: SpeakerLock, clip: Clip) -> str:
        return (await recogniser.transcribe(clip, language="en", prompt=None, words=False)).text

    assert await heard(lock.judging(), television), "there is no owner yet"
    lock.is_echo = lambda text: True
    assert await heard(lock, television)
    lock.is_echo = lambda text: False
    assert await heard(lock, owner)
    assert await heard(lock, television) == ""
    assert await heard(lock, owner)


async def test_quieter_voice_must_be_more_similar() -> None:
    """A voice that is similar to the owner's (0.78) is heard at the owner's level, but not 10 dB below."""
    similar_hz = 1000
    lock = SpeakerLock(ScriptedSTT(), Alike({OWNER_HZ: 1.0, similar_hz: 0.78}), Owner())
    assert await is_heard(lock, voice(OWNER_HZ, 2.0))
    judging, below = lock.judging(), 10 ** (-10 / 20)
    assert await is_heard(judging, voice(similar_hz, 2.0))
    assert not await is_heard(judging, below * voice(similar_hz, 2.0))
    assert await is_heard(judging, below * voice(OWNER_HZ, 2.0))


async def test_owner_who_moves_away_becomes_the_quieter_owner() -> None:
    owner = Owner()
    lock = SpeakerLock(ScriptedSTT(), Alike({OWNER_HZ: 1.0}), owner)
    for gain in [1.0] + 10 * [0.1]:
        assert await is_heard(lock, gain * voice(OWNER_HZ, 2.0))
    level_db = 10 * np.log10(0.02**2 / 2)
    assert owner.level_db == pytest.approx(level_db, abs=1.0)
    assert owner.caution(np.array([level_db]))[0] == pytest.approx(0.04, abs=0.001)


async def test_enrolled_recording_sets_no_level(tmp_path: Path) -> None:
    sample = tmp_path / "me.wav"
    sample.write_bytes(encode_wav(Clip(voice(OWNER_HZ, 5.0), RATE_HZ)))
    owner = Owner()
    lock = SpeakerLock(ScriptedSTT(), Alike({OWNER_HZ: 1.0}), owner, sample)
    await lock.prepare()
    assert (owner.level_db, owner.seconds >= 5) == (None, True)
    assert await is_heard(lock, 0.01 * voice(OWNER_HZ, 2.0))
    assert owner.level_db == pytest.approx(10 * np.log10(0.002**2 / 2), abs=0.5)


async def test_well_known_owner_is_told_from_more_similar_voices() -> None:
    """A mean of several sentences is more similar to every voice, so the owner's must be more similar, too."""
    similar_hz = 1000
    lock = SpeakerLock(ScriptedSTT(), Alike({OWNER_HZ: 1.0, similar_hz: 0.76}), Owner())
    assert await is_heard(lock, voice(OWNER_HZ, 2.0))
    assert await is_heard(lock.judging(), voice(similar_hz, 2.0))
    for _ in range(4):
        assert await is_heard(lock, voice(OWNER_HZ, 2.0))
    assert not await is_heard(lock.judging(), voice(similar_hz, 2.0))


def test_owner_who_has_interrupted_is_answered() -> None:
    """The start of the words was surely the owner's, and their rest only resembles them: all of it is replied to."""
    unsure_hz = 1000

    async def script(d: Dialogue) -> None:
        await say(d, voice(OWNER_HZ, 2.0))
        await d.until(events.SpeechStarted)
        await d.silence(1000)
        await say(d, np.concatenate([voice(OWNER_HZ, 0.7), voice(unsure_hz, 1.5)]))
        await d.until(events.TurnInterrupted)
        await d.until(events.TurnCompleted)

    encoder = Alike({OWNER_HZ: 1.0, unsure_hz: 0.5})
    d = hold(script, llm=ScriptedLLM(LONG, tokens_per_s=1000), encoder=encoder, speaker_lock=FIRST)
    assert d.kinds.count("TurnStarted") == 2


@pytest.mark.parametrize("length", [100, 25_600, 25_601, 30_000, 38_400, 38_401, 160_000])
def test_slices_cover_all_speech_and_are_whole(length: int) -> None:
    starts = slices(length)
    assert starts[0] == 0
    assert starts[-1] == max(0, length - 25_600)
    assert all(1 <= later - start <= 12_800 for start, later in pairwise(starts))


async def test_pauses_are_not_compared() -> None:
    quiet = np.zeros(RATE_HZ, np.float32)
    sound = np.concatenate([quiet, voice(OWNER_HZ, 1.0), quiet, voice(OWNER_HZ, 1.0), quiet])
    speech, places = spoken(sound)
    assert len(speech) == pytest.approx(2 * RATE_HZ, abs=1600)
    assert places[0] == pytest.approx(RATE_HZ, abs=320)
    owner = Owner()
    lock = SpeakerLock(ScriptedSTT(), Pitch(), owner)
    await lock.transcribe(Clip(sound, RATE_HZ), language=None, prompt=None, words=False)
    assert owner.seconds == pytest.approx(2.0, abs=0.1)

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
from pipeline.conversation.saved import restored, saved
from pipeline.conversation.speaker_lock import FIRST, MOVED, Owner, SpeakerLock, level, slices, spoken
from pipeline.errors import BadInput, EngineError
from pipeline.stt import Hinted, Spoken, Transcript
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

    async def transcribe(self, clip: Clip, *, language: Spoken, prompt: Hinted, words: bool) -> Transcript:
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


def said(hz: float, number: int, *, quieter_db: float = 0.0, seconds: float = 2.0) -> Samples:
    """Return an utterance of a voice. Utterances with different numbers differ, as all that a microphone hears."""
    rng = np.random.default_rng(number)
    noise = 1e-4 * rng.standard_normal(int(seconds * RATE_HZ)).astype(np.float32)
    return (10 ** (-quieter_db / 20) * voice(hz, seconds) + noise).astype(np.float32)


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


@pytest.mark.parametrize("quieter_db", [6.0, 12.0, 25.0])
@pytest.mark.parametrize(("cosine", "known_s"), [(0.8, 2.0), (0.8, 10.0), (0.86, 10.0)])
async def test_owner_who_has_moved_away_is_soon_answered_again(
    cosine: float, known_s: float, quieter_db: float
) -> None:
    far_hz = 1000
    owner = Owner()
    lock = SpeakerLock(ScriptedSTT(), Alike({OWNER_HZ: 1.0, far_hz: cosine}), owner)
    assert await is_heard(lock, said(OWNER_HZ, 0, seconds=known_s))
    heard = [await is_heard(lock, said(far_hz, number, quieter_db=quieter_db)) for number in range(1, 9)]
    assert heard[MOVED - 1 :] == [True] * (9 - MOVED)
    assert owner.level_db == pytest.approx(level(said(far_hz, 9, quieter_db=quieter_db)), abs=1.0)


async def test_quieter_utterance_that_is_heard_counts_as_those_that_are_refused() -> None:
    far_hz, lucky_hz = 1000, 700
    lock = SpeakerLock(ScriptedSTT(), Alike({OWNER_HZ: 1.0, far_hz: 0.8, lucky_hz: 0.9}), Owner())
    assert await is_heard(lock, said(OWNER_HZ, 0, seconds=10))
    heard = [
        await is_heard(lock, said(hz, number, quieter_db=16)) for number, hz in enumerate((far_hz, lucky_hz, far_hz), 1)
    ]
    assert heard == [False, True, True]


@pytest.mark.parametrize("cosine", [0.5, 0.72])
async def test_stranger_is_not_taken_for_the_owner_who_moved_away(cosine: float) -> None:
    stranger_hz = 1000
    lock = SpeakerLock(ScriptedSTT(), Alike({OWNER_HZ: 1.0, stranger_hz: cosine}), Owner())
    assert await is_heard(lock, said(OWNER_HZ, 0))
    for number in range(1, 30):
        assert not await is_heard(lock, said(stranger_hz, number, quieter_db=number / 2))


@pytest.mark.parametrize(("hz", "quieter_db"), [(OWNER_HZ, 0.0), (1500, 10.0)])
async def test_television_with_a_similar_voice_is_not_heard_between_others(hz: int, quieter_db: float) -> None:
    """The owner speaks, or another voice of the television, after each second sentence of the similar voice."""
    similar_hz = 1000
    lock = SpeakerLock(ScriptedSTT(), Alike({OWNER_HZ: 1.0, similar_hz: 0.8, 1500: 0.4}), Owner())
    assert await is_heard(lock, said(OWNER_HZ, 0))
    for number in range(1, 40, 3):
        assert not await is_heard(lock, said(similar_hz, number, quieter_db=10))
        assert not await is_heard(lock, said(similar_hz, number + 1, quieter_db=10))
        assert await is_heard(lock, said(hz, number + 2, quieter_db=quieter_db)) == (hz == OWNER_HZ)


async def test_utterance_that_grows_counts_once_by_its_last_transcript() -> None:
    similar_hz = 1000
    lock = SpeakerLock(ScriptedSTT(), Alike({OWNER_HZ: 1.0, similar_hz: 0.8, TELEVISION_HZ: 0.3}), Owner())
    assert await is_heard(lock, said(OWNER_HZ, 0))

    async def hears_growing(utterance: Samples) -> list[bool]:
        return [await is_heard(lock, utterance[:end]) for end in range(2 * RATE_HZ, len(utterance) + 1, RATE_HZ)]

    assert not any(await hears_growing(said(similar_hz, 1, quieter_db=12, seconds=8)))
    both = [said(similar_hz, 2, quieter_db=12, seconds=3), said(TELEVISION_HZ, 3, quieter_db=12, seconds=5)]
    assert not any(await hears_growing(np.concatenate(both)))
    assert not any(await hears_growing(said(similar_hz, 4, quieter_db=12, seconds=8)))
    assert not any(await hears_growing(said(similar_hz, 5, quieter_db=12, seconds=8)))
    assert all(await hears_growing(said(similar_hz, 6, quieter_db=12, seconds=8)))


@pytest.mark.parametrize("partial_ms", [0, 400])
def test_user_who_walks_away_gets_replies_again(partial_ms: int) -> None:
    far_hz = 1000

    async def script(d: Dialogue) -> None:
        await say(d, said(OWNER_HZ, 0))
        await d.until(events.TurnCompleted)
        for number in range(1, MOVED):
            await say(d, said(far_hz, number, quieter_db=12))
            await d.silence(2500)
        assert d.kinds.count("TurnCompleted") == 1
        await say(d, said(far_hz, MOVED, quieter_db=12))
        await d.until(events.TurnCompleted, count=2)
        await say(d, said(far_hz, MOVED + 1, quieter_db=12))
        await d.until(events.TurnCompleted, count=3)

    encoder = Alike({OWNER_HZ: 1.0, far_hz: 0.8})
    hold(script, llm=ScriptedLLM("Yes."), encoder=encoder, speaker_lock=FIRST, partial_ms=partial_ms)


def test_resumed_conversation_keeps_the_voice_but_not_its_level() -> None:
    """The client can come back with another microphone."""

    async def script(d: Dialogue) -> None:
        await say(d, said(OWNER_HZ, 0))
        await d.until(events.TurnCompleted)
        owner = d.session.conversation.owner
        assert owner.level_db is not None
        other = restored(saved(d.session.conversation), budget_tokens=1000).owner
        assert (other.level_db, other.seconds) == (None, owner.seconds)
        d.resumed()
        assert (owner.level_db, owner.seconds) == (None, other.seconds)
        lock = SpeakerLock(ScriptedSTT(), encoder, owner)
        assert await is_heard(lock, said(far_hz, 1, quieter_db=12))

    far_hz = 1000
    encoder = Alike({OWNER_HZ: 1.0, far_hz: 0.8})
    hold(script, llm=ScriptedLLM("Yes."), encoder=encoder, speaker_lock=FIRST)


async def test_short_recording_is_as_cautious_as_it_is_long(tmp_path: Path) -> None:
    sample = tmp_path / "me.wav"
    sample.write_bytes(encode_wav(Clip(voice(OWNER_HZ, 2.0), RATE_HZ)))
    similar_hz, owner = 1000, Owner()
    lock = SpeakerLock(ScriptedSTT(), Alike({OWNER_HZ: 1.0, similar_hz: 0.76}), owner, sample)
    await lock.prepare()
    vector = owner.vector
    assert owner.known_caution == 0.0
    for number in range(10):
        assert await is_heard(lock, said(similar_hz, number))
    assert (owner.vector is vector, owner.seconds) == (True, pytest.approx(2.0, abs=0.1))


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
